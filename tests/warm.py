"""The command in forks of one warm process, which has imported torch and the rest before: a process, but a cheap one.

A call has its own process, streams, folder and environment, as if the shell had started it. It lacks what comes before
and after `main`: the start of the interpreter, the imports, and Python's leaving. Tests of those start a real one.
"""

from __future__ import annotations

import json
import logging
import os
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
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent
_LATE = ("matplotlib.pyplot", "optuna", "pandas", "plotext", "scipy.stats", "tabulate")  # what the commands import late
_OURS = ("rnndrop.cli.ablate", "rnndrop.cli.masks", "rnndrop.cli.reproduce", "rnndrop.cli.tune", "rnndrop.sweeps.tuning")


class Warm:
    """The warm process; to be used in a `with`."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.communicate()  # it leaves at the end of its input

    def call(
        self, arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run the command in a folder; raises TimeoutExpired as `subprocess.run` does."""
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] and pipes[1]
        asked = {"arguments": arguments, "folder": str(folder), "environment": dict(environment), "timeout": timeout}
        print(json.dumps(asked), file=pipes[0], flush=True)
        code, stdout, stderr = json.loads(pipes[1].readline())
        if code == -signal.SIGALRM:
            raise subprocess.TimeoutExpired(arguments, timeout, stdout, stderr)
        return subprocess.CompletedProcess(arguments, code, stdout, stderr)


def _import() -> None:
    """Everything that a command may import."""
    from scripts.forked import warm_up

    from rnndrop.data import synthetic

    warm_up()
    for name in _OURS:
        import_module(name)
    for name in _LATE:
        with suppress(ImportError):
            import_module(name)
    synthetic.default_corpus()


class _Forks:
    """What a sweep starts its workers with, in place of `multiprocessing.get_context("spawn")`: forks, as bare as those."""

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
    from scripts.forked import command

    from rnndrop.sweeps import workers

    _import()
    assert workers._SPAWN.get_start_method() == "spawn"
    workers._SPAWN = _Forks()  # type: ignore[assignment]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)

        def begin(folder: str = asked["folder"], environment: dict[str, str] = asked["environment"]) -> None:
            os.chdir(folder)
            os.environ.clear()
            os.environ |= environment

        done = command(asked["arguments"], before=begin, limit=asked["timeout"])
        print(json.dumps([done.code, done.stdout, done.stderr]), file=answers, flush=True)
    os._exit(0)  # Python would look for cycles among all that was imported: seconds


if __name__ == "__main__":
    _serve()
