"""Processes that a test starts and that never outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

RNNDROP = Path(sys.executable).parent / "rnndrop"


@contextmanager
def running(arguments: Sequence[object], folder: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, which is killed at the end, however that comes about."""
    process = subprocess.Popen(
        [str(RNNDROP), *map(str, arguments)], cwd=folder, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for a condition; fail with its source line if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


BROKEN = 1e20
"""From this `trainer.init` on a step of training raises an exception, after `break_training`."""


def break_training() -> None:
    """Have this process, and what it forks, raise where `BROKEN` says."""
    from rnndrop.training import trainer

    step = trainer.Training._step

    def broken(self: trainer.Training, *arguments: Any) -> Any:
        if self.settings.init >= BROKEN:
            raise RuntimeError("the roof fell in")
        return step(self, *arguments)

    trainer.Training._step = broken  # type: ignore[method-assign, assignment]
