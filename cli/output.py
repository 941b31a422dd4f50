"""Standard output that says so where it cannot be written: on a full disk, say."""

from __future__ import annotations

import io
import os
import sys


class OutputError(OSError):
    """Standard output cannot be written."""


class _Output(io.TextIOWrapper):
    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:  # whoever read it has left: no fault
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None


def guard() -> None:
    """Have failures of standard output raise OutputError."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        line_buffering = sys.stdout.line_buffering
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        sys.stdout = _Output(sys.stdout.detach(), encoding, errors, line_buffering=line_buffering)


def discard() -> None:
    """Send what is left to nowhere: Python flushes once more as it leaves."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
