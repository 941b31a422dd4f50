"""What `rnndrop tune` has found in a folder, of each plan: what the best of so many trials is expected to be."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

from rnndrop.config.tasks import task_by_metric
from rnndrop.errors import RequestError
from rnndrop.store.files import DamagedRecordError, UnreadableError
from rnndrop.sweeps import search_file

log = logging.getLogger("rnndrop")


@dataclass(frozen=True)
class Searched:
    """A search: `curves` has for each plan the expected best valid score of n trials, from n = 1; NaN: infinite."""

    name: str
    curves: dict[str, list[float]]


def searches(output: str | Path) -> list[Searched]:
    """The searches of an output folder that have come to a score; one that cannot be read is named."""
    found = []
    for path in search_file.paths(output):
        try:
            made = search_file.read(path)
            name = task_by_metric(f"valid_{made.metric}").title if made else ""
        except (DamagedRecordError, UnreadableError, RequestError, KeyError) as problem:
            log.warning("left out %s: %s", path, str(problem).partition("\n")[0])
            continue
        curves = {
            plan.name: [math.nan if value is None else value for value in plan.expected_best]
            for plan in (made.plans if made else ())
            if any(value is not None for value in plan.expected_best)
        }
        if curves:
            found.append(Searched(name, curves))
    return found
