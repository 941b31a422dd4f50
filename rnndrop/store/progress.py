"""Where a run stands, for whoever watches. No torch here: displays and the sweep's client are light."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnndrop.store.records import Record


@dataclass(frozen=True)
class Progress:
    """Where a training stands, after a step or after an epoch and its valid score.

    `metric` is the task's (`rnndrop.config.metrics`): what `train` is, and `train_<metric>` in `history`.
    """

    epoch: int
    epochs: int
    fraction: float  # of the epoch's steps
    train: float
    tokens_per_second: float
    history: list[dict[str, Any]]
    step: int = 0
    metric: str = "perplexity"

    @property
    def left(self) -> float | None:
        """Seconds until the training ends, from the mean time of its epochs; None before the first has ended."""
        seconds = [row["seconds"] for row in self.history]
        return (self.epochs - self.epoch + 1 - self.fraction) * sum(seconds) / len(seconds) if seconds else None

    def brief(self) -> dict[str, Any]:
        """The numbers of now and the valid scores so far, for other processes."""
        now = {name: getattr(self, name) for name in _NOW}
        return {**now, "valid": [row[f"valid_{self.metric}"] for row in self.history]}


def measuring(now: dict[str, Any], what: str, fraction: float) -> dict[str, Any]:
    """What `Progress.brief` said last, once the training is over and `fraction` of `what` has been read."""
    return {**now, "measuring": what, "measured": fraction, "left": None}


_NOW = ("epoch", "epochs", "fraction", "train", "metric", "tokens_per_second", "step", "left")


@dataclass(frozen=True)
class Outline:
    """What a run works with, once its corpus is read and its model built; `data` is as in its record."""

    data: dict[str, Any]
    parameters: int
    machine: str  # the device, and a CPU's threads


class RunObserver:
    """Told of a run as it goes. Override what matters; what is raised ends the run, as Ctrl-C would.

    `started` comes before the first step, also of a run that goes on from a checkpoint; `ended` last, with the record
    that was written, or None where none could be.
    """

    def started(self, outline: Outline) -> None:
        """The training begins, or goes on."""

    def progress(self, progress: Progress) -> None:
        """A step has been taken."""

    def evaluated(self, progress: Progress) -> None:
        """An epoch has ended, and its valid score is the last of the history."""

    def measuring(self, what: str, fraction: float) -> None:
        """The training is over, and `fraction` of `what` has been read, as `mc test`, to measure the run."""

    def ended(self, record: Record | None) -> None:
        """The run is over, for now or for good."""


class Watching(RunObserver):
    """Calls one function after every step and every epoch."""

    def __init__(self, watch: Callable[[Progress], None]) -> None:
        self.watch = watch

    def progress(self, progress: Progress) -> None:
        """Call it."""
        self.watch(progress)

    def evaluated(self, progress: Progress) -> None:
        """Call it."""
        self.watch(progress)


class Observers(RunObserver):
    """Several as one, told in their order."""

    def __init__(self, observers: Iterable[RunObserver]) -> None:
        self.observers = list(observers)

    def started(self, outline: Outline) -> None:
        """Tell all."""
        for each in self.observers:
            each.started(outline)

    def progress(self, progress: Progress) -> None:
        """Tell all."""
        for each in self.observers:
            each.progress(progress)

    def evaluated(self, progress: Progress) -> None:
        """Tell all."""
        for each in self.observers:
            each.evaluated(progress)

    def measuring(self, what: str, fraction: float) -> None:
        """Tell all."""
        for each in self.observers:
            each.measuring(what, fraction)

    def ended(self, record: Record | None) -> None:
        """Tell all."""
        for each in self.observers:
            each.ended(record)
