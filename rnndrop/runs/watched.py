"""The user's own observer of a run, whose mistakes are not the run's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnndrop.runs.signals import Interrupted
from rnndrop.store.progress import Outline, Progress, RunObserver
from rnndrop.store.records import Record


class Watched(RunObserver):
    """Tells another one, and keeps what that raises in `error`; the run is interrupted then, after a checkpoint."""

    def __init__(self, observer: RunObserver) -> None:
        self.observer = observer
        self.error: Exception | None = None

    def _tell(self, what: Callable[..., None], *about: Any) -> None:
        try:
            what(*about)
        except Exception as error:
            self.error = error
            raise Interrupted from error

    def started(self, outline: Outline) -> None:
        """Tell it."""
        self._tell(self.observer.started, outline)

    def progress(self, progress: Progress) -> None:
        """Tell it."""
        self._tell(self.observer.progress, progress)

    def evaluated(self, progress: Progress) -> None:
        """Tell it."""
        self._tell(self.observer.evaluated, progress)

    def measuring(self, what: str, fraction: float) -> None:
        """Tell it."""
        self._tell(self.observer.measuring, what, fraction)

    def ended(self, record: Record | None) -> None:
        """Tell it; the record is written."""
        self.observer.ended(record)
