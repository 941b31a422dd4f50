"""Commands of rnndrop in forks of this process: torch is imported once, a run of a tiny model takes half a second."""

from __future__ import annotations

import gc
import os
import pkgutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import IO

from rnndrop.cli.main import main

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.data import synthetic

_FAULTY = 70  # exit code where not the command but what is around it fails


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, or minus the number of the signal that killed it, and what it said."""

    code: int
    stdout: str
    stderr: str

    @property
    def orderly(self) -> bool:
        """Whether it ended by itself, with a result, a failure or a message; a traceback is none."""
        return self.code in (0, 1, 2) and "Traceback" not in self.stderr


LATE = (
    "itables", "jinja2", "matplotlib.figure", "pandas", "plotext", "plotly.io",
    "rich.progress", "scipy.stats", "tabulate", "torch._dynamo", "typer.rich_utils",
)  # fmt: skip
"""What the commands import late; `torch._dynamo` is what every optimizer of torch imports."""


def warm_up() -> None:
    """Import what the commands need, but for the commands: those look at the environment in which they are given.

    Nothing may compute here: threads of torch do not survive a fork.
    """
    modules = (module.name for module in pkgutil.walk_packages(rnndrop.__path__, "rnndrop."))
    for name in (*LATE, *(name for name in modules if not name.startswith("rnndrop.trackers."))):  # each has a process
        with suppress(ImportError):  # an extra that is not there
            import_module(name)
    compose([])
    synthetic.default_corpus()
    gc.collect()
    gc.freeze()  # or every fork looks for cycles among all of this, and copies it as it does


def nothing() -> None:
    """Do nothing."""


def command(
    arguments: Sequence[object],
    before: Callable[[], None] = nothing,
    after: Callable[[], None] = nothing,
    limit: float = 120,
) -> Outcome:
    """Run `rnndrop` with these arguments in a fork, which calls `before` first and `after` last.

    It is killed after `limit` seconds; what it has started, when it has ended.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = start(arguments, (stdout.fileno(), stderr.fileno()), before, after)
        code = _wait(child, limit)
        _kill(child)
        return Outcome(code, _text(stdout), _text(stderr))


def start(
    arguments: Sequence[object],
    streams: tuple[int, int],
    before: Callable[[], None] = nothing,
    after: Callable[[], None] = nothing,
) -> int:
    """Start `rnndrop` in a fork whose stdout and stderr are the open files `streams`; return its process number."""
    child = os.fork()
    if child == 0:
        code = _FAULTY
        try:
            code = _run([str(argument) for argument in arguments], before, after, streams)
        finally:  # the fork must never come to what its parent does next
            os._exit(code)
    return child


def _run(arguments: list[str], before: Callable[[], None], after: Callable[[], None], streams: tuple[int, int]) -> int:
    """What the fork does: the command with its own standard streams, in a process group of its own."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
    sys.argv = ["rnndrop", *arguments]
    code = 1
    try:
        before()
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    for said in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            said.flush()
    after()
    return code


def _wait(child: int, limit: float) -> int:
    deadline = time.monotonic() + limit
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -signal.SIGALRM
        time.sleep(0.005)


def _kill(group: int) -> None:
    """Kill what is left of a process group, if there was one."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
