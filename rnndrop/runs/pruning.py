"""Leaving a trial of a search early: where its valid score is worse than that of half of the other trials.

Every trial looks into the folders of the others, so it makes no difference which process runs which.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

from rnndrop.config.tasks import score
from rnndrop.runs.signals import Interrupted
from rnndrop.store import files, records
from rnndrop.store.progress import Progress, RunObserver

LEAST = 4  # others that must have come as far
SHARE = 1 / 3  # of the epochs that nothing is pruned in: high rates begin slowly


class Pruned(Interrupted):
    """A trial has fallen behind; `metrics` is what its record says of that."""

    def __init__(self, metrics: dict[str, Any]) -> None:
        super().__init__()
        self.metrics = metrics


@dataclass(frozen=True)
class Rival:
    """Another trial: its valid scores so far, and whether it is over."""

    valid: Sequence[float]
    over: bool = False


def behind(valid: Sequence[float], epochs: int, rivals: Sequence[Rival]) -> bool:
    """Whether the best of the valid scores so far is worse than the median of the others' best by the same epoch.

    One that has ended before counts as it stood then, and without any score as the worst.
    """
    now = len(valid)
    if not max(1, SHARE * epochs) < now < epochs:
        return False
    theirs = [min(each.valid[:now], default=inf) for each in rivals if each.over or len(each.valid) >= now]
    return len(theirs) >= LEAST and min(valid) > median(theirs)


class Pruning(RunObserver):
    """Raises Pruned after an epoch where a run is behind those in the folders `rivals`."""

    def __init__(self, rivals: Sequence[Path]) -> None:
        self.rivals = rivals

    def evaluated(self, progress: Progress) -> None:
        """Look at the others."""
        valid = [score(row, "valid") for row in progress.history]
        if behind(valid, progress.epochs, [found for folder in self.rivals if (found := _rival(folder))]):
            came_to = {"epochs": len(valid), f"valid_{progress.metric}": min(valid)}
            raise Pruned({"pruned": len(valid), "pruned_step": progress.step, **came_to})


def _rival(folder: Path) -> Rival | None:
    """What can be seen of another trial; None where nothing can be read."""
    with suppress(files.DamagedRecordError, files.UnreadableError, KeyError):
        record = records.read_record(folder)
        over = record is not None and (record.status != "interrupted" or records.pruned(record))
        return Rival([score(row, "valid") for row in records.read_history(folder, record)], over)
    return None
