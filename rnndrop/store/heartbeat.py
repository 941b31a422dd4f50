"""A sign of life in the run folder, for `rnndrop watch` and for sweeps, here or on another host of the file system."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rnndrop.display.foreign import cleaned
from rnndrop.store.files import read_file, write_atomically
from rnndrop.store.progress import Progress, RunObserver, measuring

HEARTBEAT = "heartbeat.json"
EVERY = 2.0  # seconds between two beats
ALIVE = 20.0  # seconds after which a run that has not beaten is taken for dead
AHEAD = 3600.0  # seconds by which the clocks of two hosts may differ; a beat further ahead is of no process


class Heartbeat(RunObserver):
    """Writes where a run stands every `EVERY` seconds, from a thread of its own: evaluations are silent otherwise.

    Use as a context manager. A beat that cannot be written is skipped: it must never hurt the run.
    """

    def __init__(self, folder: Path, overrides: Sequence[str] = ()) -> None:
        self.path = folder / HEARTBEAT
        self.state: dict[str, Any] = {"host": platform.node(), "pid": os.getpid(), "started": time.time()}
        self.state["overrides"] = list(overrides)  # what the run is: it has no record yet
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def progress(self, progress: Progress) -> None:
        """Say where the run stands; the next beat carries it."""
        self.state = {**self.state, **progress.brief()}

    def evaluated(self, progress: Progress) -> None:
        """Say so after an epoch too."""
        self.progress(progress)

    def measuring(self, what: str, fraction: float) -> None:
        """Say what is being read to measure the run, and how much of it has been."""
        self.state = measuring(self.state, what, fraction)

    def __enter__(self) -> Heartbeat:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        with suppress(OSError):  # it goes stale by itself
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._over.wait(EVERY):
            self._write()

    def _write(self) -> None:
        try:
            write_atomically(self.path, json.dumps(self.state), durable=False)
        except OSError:  # of a full disk, on which the run goes on: the last beat is made younger, which takes no room
            with suppress(OSError):
                os.utime(self.path)


def read(folder: Path) -> dict[str, Any] | None:
    """The last beat of a run and its `age` in seconds; None where there is none, or something else."""
    from rnndrop.store import record_schema

    path = folder / HEARTBEAT
    try:
        if not (content := read_file(path)):
            return None
        record_schema.check_beat(content)
        age = time.time() - path.stat().st_mtime
        return {**cleaned(json.loads(content)), "age": abs(age) if age < -AHEAD else max(0.0, age)}
    except (OSError, ValueError):
        return None


def bury(folder: Path) -> None:
    """Remove the last beat of a run on which no process works any more, where that can be done."""
    if os.path.lexists(folder / HEARTBEAT) and not fresh(read(folder)):
        with suppress(OSError):
            (folder / HEARTBEAT).unlink(missing_ok=True)


def fresh(beat: dict[str, Any] | None) -> bool:
    """Whether this beat of a run is one of a process that works on it."""
    return beat is not None and bool(beat["age"] < ALIVE)
