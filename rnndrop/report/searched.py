"""What `rnndrop tune` has found in a folder, of each plan: what the best of so many trials is expected to be."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from rnndrop.config.tasks import task_by_metric
from rnndrop.display.foreign import cleaned
from rnndrop.errors import RequestError
from rnndrop.store.files import DamagedRecordError, UnreadableError, read_file

FOLDER = "searches"

log = logging.getLogger("rnndrop")


@dataclass(frozen=True)
class Searched:
    """A search: `curves` has for each plan the expected best valid score of n trials, from n = 1; NaN: infinite."""

    name: str
    curves: dict[str, list[float]]


@dataclass(frozen=True)
class _Plan:
    name: str
    expected_best: list[float | None]


@dataclass(frozen=True)
class _File:
    """The parts of the file of a search that are drawn."""

    metric: str
    plans: list[_Plan]


@cache
def _adapter() -> TypeAdapter[_File]:
    return TypeAdapter(_File)


def searches(path: str | Path) -> list[Searched]:
    """The searches of an output folder that have come to a score; one that cannot be read is named."""
    found = []
    for file in sorted((Path(path) / FOLDER).glob("[!.]*.json")):
        try:
            made = _adapter().validate_python(cleaned(json.loads((read_file(file) or b"").decode())))
            name = task_by_metric(f"valid_{made.metric}").title
        except (DamagedRecordError, UnreadableError, RequestError, ValueError, RecursionError) as problem:
            log.warning("left out %s: %s", file, str(problem).partition("\n")[0])
            continue
        curves = {plan.name: [math.nan if value is None else value for value in plan.expected_best]
                  for plan in made.plans if any(value is not None for value in plan.expected_best)}  # fmt: skip
        if curves:
            found.append(Searched(name, curves))
    return found
