"""What a search has come to, from its trials' records: it is written as the file that reports read. No torch here."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

from rnndrop.config.identity import of_identity, run_id, untracked
from rnndrop.config.tasks import score
from rnndrop.stats import expected_best
from rnndrop.store import documents
from rnndrop.sweeps.scheduler import Job
from rnndrop.sweeps.search_file import FOLDER, SCHEMA, FreshEntry, PlanEntry, SearchFile, TrialEntry
from rnndrop.sweeps.tuning import SETTLED, Search, Study, command, spelled


def path_of(search: Search) -> Path:
    """Where the file of a search is."""
    return search.output / FOLDER / f"{search.id}.json"


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
