"""A search as a file, `OUTPUT/searches/<id>.json`: what was asked, every trial, what was chosen, what came of it.

It follows from the request and the runs' records, whoever searched and however often he was stopped; docs/record.md has
its keys. Reports and plots read it; `rnndrop.sweeps.search_outcome` writes it. No torch here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rnndrop.config.metrics import columns
from rnndrop.store import documents
from rnndrop.store.files import DamagedRecordError, UnreadableError

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
