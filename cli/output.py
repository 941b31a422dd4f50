"""Standard output and error: what cannot be written is said, and nothing in a text steers the terminal."""

from __future__ import annotations

import io
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rnndrop.display.foreign import lines
from rnndrop.display.terminal import width

if TYPE_CHECKING:
    from rich.console import Console


class OutputError(OSError):
    """Standard output cannot be written."""


class _Output(io.TextIOWrapper):
    """A stream of text alone; `steer` writes what colours or moves, too.

    What cannot be written is an error where it is `needed`. On stderr it is not: whoever read it may have left, or the
    disk of the log is full, and what was begun goes on.
    """

    needed = True

    def write(self, text: str) -> int:
        return self.steer(lines(text))

    def steer(self, text: str) -> int:
        with self._checked():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._checked():
            super().flush()

    @contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self.needed:
                return
            if isinstance(error, BrokenPipeError):  # whoever read it has left: no fault
                raise
            raise OutputError(error.errno, error.strerror) from None


class _Steered:
    """The stream that has a name in `sys` now, for those who know what they write to a terminal."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def rich_proxied_file(self) -> _Steered:
        """What rich writes to while it draws: then the stream in `sys` is a proxy of its own."""
        return self

    @property
    def _stream(self) -> Any:
        stream = getattr(sys, self._name)
        return getattr(stream, "rich_proxied_file", stream)

    def write(self, text: str) -> int:
        stream = self._stream
        written: int = stream.steer(text) if isinstance(stream, _Output) else stream.write(text)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Messages(logging.Handler):
    """Writes messages to what stderr is at the time: while rich draws there, above what it draws."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        print(lines(self.format(record)), file=sys.stderr)


def console(stream: str = "stdout") -> Console:
    """A console of rich's on stdout or stderr, for which text is text: neither markup nor an emoji's name."""
    from rich.console import Console

    class Folding(Console):
        """A line that is to stay whole does so where a program reads it; on a terminal it is folded between words."""

        def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
            super().print(*objects, soft_wrap=bool(soft_wrap) and not self.is_terminal, **options)

    return Folding(file=_Steered(stream), markup=False, emoji=False, highlight=False)  # type: ignore[arg-type]


def entry(name: str, about: str) -> str:
    """A line of a list: a name, padded, and what it is; folded beside the name on a terminal."""
    line = name + about
    if sys.stdout.isatty():
        line = textwrap.fill(line, width(), subsequent_indent=" " * len(name))
    return line


def show(text: str) -> None:
    """Print a text that may be coloured, and whose foreign parts are harmless already, on stdout."""
    _Steered("stdout").write(f"{text}\n")


def _pager() -> list[str]:
    """The words of $PAGER, else less; none where its quotation marks do not match."""
    try:
        return shlex.split(os.environ.get("PAGER", "less"))
    except ValueError:
        return []


def paged(text: str) -> None:
    """As `show`, but by a pager where the terminal has fewer lines or columns than the text: $PAGER, else less."""
    from rich.text import Text

    columns, height = shutil.get_terminal_size()
    lines = Text.from_ansi(text).split()
    fits = len(lines) < height and all(line.cell_len <= columns for line in lines)
    pager = [] if fits or not sys.stdout.isatty() else _pager()
    if not pager or not shutil.which(pager[0]):
        return show(text)
    sys.stdout.flush()
    options = {"LESS": "FRSX", "LESSCHARSET": "utf-8", **os.environ}
    with subprocess.Popen(pager, stdin=subprocess.PIPE, env=options) as process, suppress(BrokenPipeError):
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the pager's
        try:
            process.communicate(f"{text}\n".encode())
        finally:
            signal.signal(signal.SIGINT, previous)


def _reopen() -> None:
    """Open what the shell has closed (`>&-`), to nowhere: else a record would be the next file with its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123 (as long as the process lives)
            os.set_inheritable(stream.fileno(), stream.fileno() < 3)
            setattr(sys, name, stream)


def guard() -> None:
    """Have both streams write text alone, a mark for what their encoding lacks; stdout says where it cannot write."""
    _reopen()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, _Output):
            encoding, buffering = stream.encoding, stream.line_buffering
            own = _Output(stream.detach(), encoding, "replace", line_buffering=buffering)
            own.needed = name == "stdout"
            setattr(sys, name, own)
            setattr(sys, f"__{name}__", own)  # which Python asks how wide the terminal is; what it had is detached


def discard() -> None:
    """Send what is left to nowhere: Python flushes once more as it leaves."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
