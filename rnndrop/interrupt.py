"""Leaving cleanly: Ctrl-C, SIGTERM and SIGUSR2 become an exception at a moment when the state is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """A run was asked to leave; it has kept what it needs to go on."""

    def __init__(self, signum: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Stop:
    """Notes a signal and raises Interrupted where the program says that it can be raised.

    A second signal does not wait: it raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._anywhere = False

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
        """Catch the signals; outside the main thread, where Python cannot, nothing is caught."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {number: signal.signal(number, self._caught) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _caught(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            raise KeyboardInterrupt
        self.signum = signum
        if self._anywhere:
            raise Interrupted(signum)
