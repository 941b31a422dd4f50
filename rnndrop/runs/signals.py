"""Leaving cleanly: Ctrl-C, SIGTERM, SIGHUP and SIGUSR2 become an exception at a moment when the state is whole."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from rnndrop.store.progress import Progress, RunObserver

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """A run was asked to leave; it has kept what it needs to go on."""

    def __init__(self, signum: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Stop(RunObserver):
    """Notes a signal and raises Interrupted where the program says that it can be raised.

    A second one changes nothing: a Ctrl-C reaches a sweep's processes and the sweep, which sends a signal of its own.
    The third does not wait: it raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._signals = 0
        self._anywhere = False

    def progress(self, progress: Progress) -> None:
        """Leave after a step if a signal has come."""
        self.check()

    def evaluated(self, progress: Progress) -> None:
        """Leave after an epoch if a signal has come."""
        self.check()

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    @contextmanager
    def anywhere(self) -> Iterator[None]:
        """Within, a signal raises at once: for work that changes nothing, such as an evaluation."""
        self.check()
        self._anywhere = True
        try:
            yield
        finally:
            self._anywhere = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch the signals, but those that are ignored (by `nohup`, or in a sweep's workers).

        Outside the main thread, where Python cannot, nothing is caught.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before: dict[int, Any] = {number: signal.signal(number, self._caught) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _caught(self, signum: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals == 1:
            self.signum = signum
            if self._anywhere:
                raise Interrupted(signum)
        elif self._signals == 2:
            if signum == signal.SIGINT:
                with suppress(OSError):  # whoever read it has got the signal too
                    os.write(2, b"Stopping as soon as the work is safe. Press Ctrl-C once more to stop at once.\n")
        else:
            raise KeyboardInterrupt
