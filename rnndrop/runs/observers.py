"""TensorBoard, if asked for (`trainer.tensorboard=true`). A tracker that fails is named once and left out: it can never
hurt a run, whose numbers are in `history.jsonl` anyhow."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

from rnndrop.store.progress import Progress, Watcher

FOLDER = "tensorboard"
log = logging.getLogger("rnndrop")


class Tracker:
    """Writes each epoch's row to TensorBoard; after the first failure, and where it is off, it does nothing."""

    def __init__(self, on: bool, folder: Path) -> None:
        self.writer: Any = None
        self.shown = 0
        if on:
            self._guarded(self._open, folder)

    def watching(self, watch: Watcher) -> Watcher:
        """A watcher that tells `watch` and then tracks."""

        def both(progress: Progress) -> None:
            watch(progress)
            if self.writer is not None and progress.fraction == 1.0:
                self._guarded(self._add, progress)

        return both

    def close(self) -> None:
        """Flush and close."""
        if self.writer is not None:
            self._guarded(self.writer.close)

    def _open(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / FOLDER))

    def _add(self, progress: Progress) -> None:
        for row in progress.history[self.shown :]:
            for name, value in row.items():
                self.writer.add_scalar(name, value, row["epoch"])
        self.shown = len(progress.history)
        self.writer.flush()

    def _guarded(self, act: Any, *arguments: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                act(*arguments)
        except Exception as error:  # whatever it is, the run is worth more
            self.writer = None
            advice = ": pip install 'rnndrop[tensorboard]'" if isinstance(error, ImportError) else ""
            log.warning("TensorBoard is left out: %s%s", error, advice)
