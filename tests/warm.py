"""The command in forks of one warm process, which has imported torch and the rest before: a process, but a cheap one.

A call has its own process, streams, folder and environment, as if a shell had started it. It lacks what comes before
and after `main`: the start of the interpreter, the imports, and Python's leaving. Tests of those start a real one.
"""

from __future__ import annotations

import json
import logging
import os
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent
_LATE = (
    "itables", "matplotlib.pyplot", "optuna", "pandas", "plotext", "plotly.io", "rich.progress", "scipy.stats",
    "tabulate", "torch._dynamo", "typer.main",
)  # fmt: skip
"""What the commands import late, or an optimizer of torch."""


class Warm:
    """The warm process; to be used in a `with`."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # it leaves at the end of its input

    def call(
        self,
        arguments: tuple[str, ...],
        folder: Path,
        environment: Mapping[str, str],
        timeout: float,
        streams: Mapping[int, str],
    ) -> subprocess.CompletedProcess[str]:
        """Run the command in a folder; `streams` are files that stand for some of the standard ones, by number.

        Raises TimeoutExpired as `subprocess.run` does.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        print(json.dumps([arguments, str(folder), dict(environment), timeout, dict(streams)]), file=stdin, flush=True)
        code, out, err = json.loads(stdout.readline())
        if code == -signal.SIGALRM:
            raise subprocess.TimeoutExpired(arguments, timeout, out, err)
        return subprocess.CompletedProcess(arguments, code, out, err)


# ---- in the warm process -----------------------------------------------------------------------------------------


def _import() -> None:
    """What a command may import, but for the commands themselves: those look at their environment as they are."""
    import rnndrop
    from rnndrop.config.compose import compose
    from rnndrop.data import synthetic

    for name in (*_LATE, *(module.name for module in pkgutil.walk_packages(rnndrop.__path__, "rnndrop."))):
        with suppress(ImportError):  # an extra that is not there
            import_module(name)
    compose([])
    synthetic.default_corpus()


class _Forks:
    """What a sweep starts workers with, in place of `multiprocessing.get_context("spawn")`: forks, as bare as those."""

    def __init__(self) -> None:
        self._context = get_context("fork")
        self._held: list[Connection[Any, Any]] = []  # by this process alone, had the worker been spawned

    def Pipe(self) -> tuple[Connection[Any, Any], Connection[Any, Any]]:  # noqa: N802
        mine, theirs = self._context.Pipe()
        self._held.append(mine)
        return mine, theirs

    def Process(self, target: Callable[..., None], args: tuple[Any, ...], daemon: bool) -> BaseProcess:  # noqa: N802
        return self._context.Process(target=self._begin, args=(target, *args), daemon=daemon)

    def _begin(self, target: Callable[..., None], *arguments: Any) -> None:
        for end in self._held:
            end.close()
        logging.getLogger("rnndrop").handlers.clear()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_DFL)
        target(*arguments)


def _serve() -> None:
    """Answer each line of standard input, a call, with a line: its exit code and what it said."""
    from rnndrop.sweeps import workers
    from scripts.forked import command

    _import()
    assert workers._SPAWN.get_start_method() == "spawn"
    workers._SPAWN = _Forks()  # type: ignore[assignment]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        arguments, folder, environment, timeout, streams = json.loads(line)

        def begin(folder: str = folder, environment: Any = environment, streams: Any = streams) -> None:
            os.chdir(folder)
            os.environ.clear()
            os.environ |= environment
            for number, path in streams.items():
                os.dup2(os.open(path, os.O_RDWR | os.O_NOCTTY), int(number))
            sys.stdout = open(1, "w", 1 if os.isatty(1) else -1, "utf-8", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115

        done = command(arguments, before=begin, limit=timeout)
        print(json.dumps([done.code, done.stdout, done.stderr]), file=answers, flush=True)
    os._exit(0)  # Python would look for cycles among all that was imported: seconds


if __name__ == "__main__":
    _serve()
