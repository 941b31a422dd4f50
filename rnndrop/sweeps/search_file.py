"""A search as a file, `OUTPUT/searches/<id>.json`: what was asked, every trial, what was chosen, what came of it.

It follows from the request and the runs' records, whoever searched and however often he was stopped; docs/record.md has
its keys. Reports and plots read it. No torch here.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rnndrop.config.identity import of_identity, run_id, untracked
from rnndrop.config.metrics import columns
from rnndrop.config.tasks import score
from rnndrop.stats import expected_best
from rnndrop.store import documents
from rnndrop.store.files import DamagedRecordError, UnreadableError
from rnndrop.sweeps.scheduler import Job
from rnndrop.sweeps.tuning import SETTLED, Search, Study, command, spelled

SCHEMA = 1
FOLDER = "searches"

log = logging.getLogger("rnndrop")


@dataclass(frozen=True)
class TrialEntry:
    """A trial. `state`: finished, pruned, diverged, failed or open; `valid` of a pruned one is its best so far."""

    number: int
    params: dict[str, Any]
    run_id: str
    state: str
    valid: float | None
    epochs: int | None


@dataclass(frozen=True)
class FreshEntry:
    """What the chosen settings came to at a seed that chose nothing."""

    seed: int
    state: str
    valid: float | None
    test: float | None


@dataclass(frozen=True)
class PlanEntry:
    """A plan. `expected_best`: the mean of the best valid score of n trials, from n = 1; null where it is infinite.

    `ranges`: the names of those that change something in it. `chosen`: the number of a trial, null while there is none.
    """

    name: str
    overrides: list[str]
    ranges: list[str]
    trials: list[TrialEntry]
    expected_best: list[float | None]
    chosen: int | None
    chosen_overrides: list[str]
    measure: str | None
    fresh: list[FreshEntry]


@dataclass(frozen=True)
class SearchFile:
    """All that a file has. `trials`: the budget of each plan."""

    schema: int
    id: str
    metric: str
    ranges: dict[str, dict[str, Any]]
    trials: int
    search_seed: int
    fresh_seeds: list[int]
    plans: list[PlanEntry]

    def to_json(self) -> str:
        """One JSON object, in ASCII."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> SearchFile:
        """Read a search. Raises DamagedRecordError."""
        search = documents.parsed(text, _adapter(), SCHEMA, "search")
        if f"valid_{search.metric}" not in columns():
            raise DamagedRecordError("not a whole search: of no known metric")
        return search


@cache
def _adapter() -> TypeAdapter[SearchFile]:
    return TypeAdapter(SearchFile)


def path_of(search: Search) -> Path:
    """Where the file of a search is."""
    return search.output / FOLDER / f"{search.id}.json"


def paths(output: str | Path) -> list[Path]:
    """The files of searches in an output folder, in a fixed order."""
    return documents.paths(output, FOLDER)


def read(path: Path) -> SearchFile | None:
    """The search in a file, None where there is none. Raises DamagedRecordError and UnreadableError."""
    text = documents.read(path)
    return None if text is None else SearchFile.from_json(text)


def sound(output: str | Path) -> Iterator[SearchFile]:
    """The searches of an output folder that can be read; the others are named in a warning."""
    for path in paths(output):
        try:
            if made := read(path):
                yield made
        except (DamagedRecordError, UnreadableError) as problem:
            log.warning("left out %s: %s", path, str(problem).partition("\n")[0])


def best_of(plan: PlanEntry) -> TrialEntry | None:
    """The trial that a search chose from several; None while there is none."""
    several = plan.trials if len(plan.trials) > 1 else []
    return next((trial for trial in several if trial.number == plan.chosen), None)


def write(search: Search) -> SearchFile:
    """Write the file of a search as it stands, and return what it says. Raises RequestError and NotWrittenError."""
    made = described(search)
    documents.write(path_of(search), made.to_json())
    return made


def described(search: Search) -> SearchFile:
    """What a search has come to."""
    ranges = {key: spelled(values) for key, values in search.ranges.items()}
    plans = [_plan(study, search) for study in search.studies]
    return SearchFile(SCHEMA, search.id, search.task.metric, ranges, search.budget, search.seed, search.seeds, plans)


def _plan(study: Study, search: Search) -> PlanEntry:
    best = study.best
    chosen = untracked(best.job.overrides) if best else []
    seeds = search.seeds or [search.seed + 1, search.seed + 2, search.seed + 3]
    return PlanEntry(
        study.name,
        of_identity(study.overrides),
        list(study.ranges),
        [
            TrialEntry(trial.number, trial.params, run_id(trial.job.config), *_came_to(trial.job))
            for trial in study.trials
        ],
        _curve(study, search.budget),
        best.number if best else None,
        of_identity(chosen),
        command(chosen, seeds) if best else None,
        [
            FreshEntry(job.config.seed, _came_to(job)[0], _score(job, "valid"), _score(job, "test"))
            for job in study.fresh
        ],
    )


def _came_to(job: Job) -> tuple[str, float | None, int | None]:
    """State, valid score and epochs of a run."""
    state = job.state if job.state in SETTLED else "open"
    epochs = job.record.metrics.get("epochs") if job.record and state in ("finished", "pruned") else None
    return state, _score(job, "valid"), epochs


def _score(job: Job, split: str) -> float | None:
    if job.record is None or job.state not in ("finished", "pruned") or (job.state == "pruned" and split != "valid"):
        return None
    return score(job.record.metrics, split)


@lru_cache(maxsize=64)
def _expected_best(values: tuple[float, ...]) -> list[float]:
    """Once for a plan none of whose trials has ended since: the file is written with each trial of any."""
    return expected_best(values)


def _curve(study: Study, budget: int) -> list[float | None]:
    """The expected best of n of the trials that are over; of a plan with fewer runs than trials the last one stays."""
    values = [_score(trial.job, "valid") for trial in study.trials if trial.job.state in SETTLED]
    found = [*_expected_best(tuple(math.inf if value is None else value for value in values))]
    if found and study.over == len(study.trials):
        found += [found[-1]] * (budget - len(found))
    return [value if math.isfinite(value) else None for value in found]
