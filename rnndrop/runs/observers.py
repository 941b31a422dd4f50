"""Who watches a run besides its display: TensorBoard, if asked for (`trainer.tensorboard=true`)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnndrop.config.schema import Config
from rnndrop.extras import need
from rnndrop.store.progress import Progress, RunObserver
from rnndrop.store.records import TENSORBOARD, Record

log = logging.getLogger("rnndrop")


class TensorBoard(RunObserver):
    """Writes each epoch's row, also those from before a run went on, below its folder."""

    def __init__(self, folder: Path) -> None:
        self.writer: Any = need("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(folder / TENSORBOARD))
        self.shown = 0

    def evaluated(self, progress: Progress) -> None:
        """Write what is new."""
        for row in progress.history[self.shown :]:
            for name, value in row.items():
                self.writer.add_scalar(name, value, row["epoch"])
        self.shown = len(progress.history)
        self.writer.flush()

    def ended(self, record: Record | None) -> None:
        """Close."""
        self.writer.close()


OBSERVERS: dict[str, Callable[[Config, Path], RunObserver | None]] = {
    "TensorBoard": lambda config, folder: TensorBoard(folder) if config.trainer.tensorboard else None,
}
"""By name, what makes the observer of a run from its configuration and folder; None where it is not asked for."""


def observers_of(config: Config, folder: Path) -> list[RunObserver]:
    """Those that a configuration asks for."""
    return [Guarded(name, lambda make=make: make(config, folder)) for name, make in OBSERVERS.items()]  # type: ignore[misc]


class Guarded(RunObserver):
    """An observer that can never hurt the run, whose numbers are in its history anyhow: one that fails is named once
    and left out."""

    def __init__(self, name: str, make: Callable[[], RunObserver | None]) -> None:
        self.name = name
        self.observer: RunObserver | None = self._guarded(make)

    def started(self) -> None:
        """Tell it, if it is still there."""
        self._tell("started")

    def progress(self, progress: Progress) -> None:
        """Tell it, if it is still there."""
        self._tell("progress", progress)

    def evaluated(self, progress: Progress) -> None:
        """Tell it, if it is still there."""
        self._tell("evaluated", progress)

    def ended(self, record: Record | None) -> None:
        """Tell it, if it is still there."""
        self._tell("ended", record)

    def _tell(self, event: str, *arguments: Any) -> None:
        if self.observer is not None:
            self._guarded(getattr(self.observer, event), *arguments)

    def _guarded(self, act: Callable[..., Any], *arguments: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return act(*arguments)
        except Exception as error:  # whatever it is, the run is worth more
            self.observer = None
            log.warning("%s failed and is left out of the run: %s", self.name, error)
