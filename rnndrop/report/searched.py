"""What `rnndrop tune` has found in a folder, of each plan: what the best of so many trials is expected to be."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

from rnndrop.config.identity import of_identity
from rnndrop.config.tasks import task_by_metric
from rnndrop.errors import RequestError
from rnndrop.store.files import DamagedRecordError, UnreadableError
from rnndrop.sweeps import search_file
from rnndrop.sweeps.search_file import SearchFile

log = logging.getLogger("rnndrop")


@dataclass(frozen=True)
class Searched:
    """A search: `curves` has for each plan the expected best valid score of n trials, from n = 1; NaN: infinite.

    `name` is what is scored, `about` what was searched and what tells it from the other searches.
    """

    name: str
    about: str
    curves: dict[str, list[float]]


def searches(output: str | Path) -> list[Searched]:
    """The searches of an output folder that have come to a score; one that cannot be read is named."""
    found: list[tuple[SearchFile, Searched]] = []
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
        if made and curves:
            found.append((made, Searched(name, ", ".join(made.ranges), curves)))
    fixed = [_fixed(made) for made, _ in found]
    common = set(fixed[0]).intersection(*fixed) if fixed else set()
    return [
        replace(search, about=" · ".join(filter(None, [search.about, *(each for each in own if each not in common)])))
        for own, (_, search) in zip(fixed, found, strict=True)
    ]


def _fixed(search: SearchFile) -> list[str]:
    """The settings that all plans of a search have in common."""
    first, *others = search.plans
    return [each for each in of_identity(first.overrides) if all(each in plan.overrides for plan in others)]
