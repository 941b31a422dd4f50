"""The command in forks of one warm process, which has imported torch and the rest before: a process, but a cheap one.

A call has its own process, streams, folder and environment, as if a shell had started it. It lacks what comes before
and after `main`: the start of the interpreter, the imports, and Python's leaving. Tests of those start a real one.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent


class Warm:
    """The warm process; to be used in a `with`."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # it leaves at the end of its input

    def ask(self, *question: Any) -> Any:
        """Ask the warm process to do something: `_start` or `_poll`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        print(json.dumps(question), file=stdin, flush=True)
        return json.loads(stdout.readline())

    @contextmanager
    def running(
        self,
        arguments: Sequence[object],
        folder: Path,
        streams: Mapping[int, str] | None = None,
        before: str = "",
        **environment: str,
    ) -> Iterator[Running]:
        """The command at work, in a process group of its own, which is killed at the end, however that comes about.

        `streams` are files that stand for standard streams, by number; `before` names a function that the process calls
        first, as `package.module:name`.
        """
        with tempfile.TemporaryDirectory() as place:
            given = {0: os.devnull, **{number: f"{place}/{number}" for number in (1, 2)}, **(streams or {})}
            for number in (1, 2):
                Path(place, str(number)).touch()
            words = [str(argument) for argument in arguments]
            pid = self.ask("start", words, str(folder), {**os.environ, **environment}, given, before)
            process = Running(self, pid, Path(place))
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                process.wait()

    def call(
        self, arguments: Sequence[object], folder: Path, timeout: float = 120, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the command in a folder, with the options of `running`; raises TimeoutExpired when it takes longer."""
        with self.running(arguments, folder, **options) as process:
            code = process.wait(timeout)
            return subprocess.CompletedProcess(arguments, code, *process.said())


class Running:
    """A fork of the warm process at work."""

    def __init__(self, warm: Warm, pid: int, place: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._warm, self._place = warm, place

    def poll(self) -> int | None:
        """Its exit code, or minus the number of the signal that killed it; None while it is at work."""
        if self.returncode is None:
            self.returncode = self._warm.ask("poll", self.pid)
        return self.returncode

    def wait(self, timeout: float = 120) -> int:
        """Wait for its end."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("rnndrop", timeout, *self.said())
            time.sleep(0.005)
        return code

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """Wait for its end; what it has said on stdout and stderr."""
        self.wait(timeout)
        return self.said()

    def said(self) -> tuple[str, str]:
        """What it has said by now on stdout and stderr."""
        return (self._place / "1").read_text("utf-8", "replace"), (self._place / "2").read_text("utf-8", "replace")

    def send_signal(self, signum: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, signum)

    def kill(self) -> None:
        """Kill it alone."""
        self.send_signal(signal.SIGKILL)


# ---- in the warm process -----------------------------------------------------------------------------------------


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


def _start(arguments: list[str], folder: str, environment: dict[str, str], streams: dict[str, str], before: str) -> int:
    """Start the command; its process number."""
    from scripts import forked

    def begin() -> None:
        os.chdir(folder)
        os.environ.clear()
        os.environ |= environment
        for number, path in streams.items():
            os.dup2(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_APPEND), int(number))
        if before:
            module, _, name = before.partition(":")
            getattr(import_module(module), name)()
        encoding = environment.get("PYTHONIOENCODING", "utf-8")
        sys.stdout = open(1, "w", 1 if os.isatty(1) else -1, encoding, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, encoding, "backslashreplace", closefd=False)  # noqa: SIM115

    return forked.start(arguments, (2, 2), begin)


def _poll(pid: int) -> int | None:
    """The exit code of a process that was started, once it has ended."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _serve() -> None:
    """Answer each line of standard input, a question, with a line."""
    from rnndrop.sweeps import workers
    from scripts.forked import warm_up

    warm_up()
    assert workers.SPAWN.get_start_method() == "spawn"
    workers.SPAWN = _Forks()  # type: ignore[assignment]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        name, *given = json.loads(line)
        print(json.dumps({"start": _start, "poll": _poll}[name](*given)), file=answers, flush=True)
    os._exit(0)  # Python would look for cycles among all that was imported: seconds


if __name__ == "__main__":
    _serve()
