"""An observer: a diary of the run."""

from __future__ import annotations

from pathlib import Path

from rnndrop.config.schema import Config
from rnndrop.store.progress import Progress, RunObserver
from rnndrop.store.records import Record


class Diary(RunObserver):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps = 0

    def started(self) -> None:
        self.write("started")

    def progress(self, progress: Progress) -> None:
        self.steps += 1

    def evaluated(self, progress: Progress) -> None:
        self.write(f"epoch {progress.epoch} after {self.steps} steps")

    def ended(self, record: Record | None) -> None:
        self.write(f"ended: {record.status if record else 'no record'}")

    def write(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


ROW = ("toy diary", lambda config, folder: make(config, folder))


def make(config: Config, folder: Path) -> RunObserver | None:
    return Diary(folder / "diary.txt") if config.label == "diary" else None
