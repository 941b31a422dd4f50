"""The run's side of its trackers: each is told through a pipe that is never waited for, but for a while at the end."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rnndrop.config.identity import canonical
from rnndrop.config.schema import Config
from rnndrop.display.foreign import plain
from rnndrop.errors import shorten
from rnndrop.store.progress import Progress, RunObserver
from rnndrop.store.records import Record
from rnndrop.trackers.process import LINGER

START = 15.0  # seconds after the end of a run in which a tracker must have imported its package …
GRACE = 5.0  # … and those in which it must then have taken what is left
MOST = 2**22  # bytes that wait for a tracker which takes nothing; what comes then is lost to it

_BOOT = "import sys; name, *sys.path = sys.argv[1:]; from rnndrop.trackers.process import main; main(name)"
_LEFT: list[_Process] = []  # they end by themselves

log = logging.getLogger("rnndrop")


class _Process(subprocess.Popen[bytes]):
    """A process that may outlive this one, of which Python would warn."""

    def __del__(self) -> None: ...


class Tracked(RunObserver):
    """Tells the trackers that a configuration asks for of its run. Nothing that happens to them comes to the run."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.sent = 0  # rows of the history
        self.pipes = [_Pipe(name, folder) for name in config.tracker]

    def begin(self, attempt: str, history: list[dict[str, Any]]) -> None:
        """Say which run it is, and what there is of it already; `attempt` names what goes on from its checkpoints."""
        if self.pipes:
            self._tell(run=_run(self.config, self.folder, attempt))
            self._rows(history)

    def progress(self, progress: Progress) -> None:
        """Hear whether one has failed."""
        for pipe in self.pipes:
            pipe.exchange()

    def evaluated(self, progress: Progress) -> None:
        """Tell the new row."""
        self._rows(progress.history)

    def ended(self, record: Record | None) -> None:
        """Say how it ended, and wait for a while; where no record was written, do not wait."""
        try:
            if record is not None:
                metrics = dict(_numbers(record.metrics)) if record.status == "finished" else {}
                self._tell(status=record.status, metrics=metrics)
                _wait(self.pipes)
        finally:
            for pipe in self.pipes:
                pipe.close(late=record is not None)

    def _rows(self, history: list[dict[str, Any]]) -> None:
        if rows := [dict(_numbers(row)) for row in history[self.sent :]]:
            self._tell(rows=rows)
        self.sent = len(history)

    def _tell(self, **message: Any) -> None:
        for pipe in self.pipes:
            pipe.say(message)


def _run(config: Config, folder: Path, attempt: str) -> dict[str, Any]:
    """A `TrackedRun` as JSON. Of rules that do nothing the kind alone is said."""
    settings = {
        name: value
        for name, value in canonical(config.model_dump(mode="json")).items()
        if value is not None and not (name.startswith("dropout.") and name.endswith(".p") and value == 0)
    }
    return {
        "run_id": folder.parent.name,
        "seed": config.seed,
        "attempt": attempt,
        "folder": str(folder.absolute()),
        "label": config.label,
        "settings": {**settings, "seed": config.seed},
        "version": version("rnndrop"),
    }


def _numbers(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a row or in metrics, by name; below a group as `mc/samples`."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + name, value


def _wait(pipes: list[_Pipe]) -> None:
    """Until all have taken all, or have had their time."""
    end = time.monotonic()
    while busy := [pipe for pipe in pipes if pipe.owes and time.monotonic() < pipe.deadline(end)]:
        soonest = min(pipe.deadline(end) for pipe in busy) - time.monotonic()
        poll = select.poll()
        for pipe in busy:
            pipe.register(poll)
        poll.poll(max(0.0, min(soonest, 1.0)) * 1000)
        for pipe in busy:
            pipe.exchange()


class _Pipe:
    """The process of one tracker, and what it has not been told yet."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.unsent, self.heard = b"", b""
        self.rows = self.taken = 0
        self.ready: float | None = None  # when it was
        self.begun = self.ended = self.failed = False
        self.process: _Process | None = None
        try:
            self.process = _Process(
                [sys.executable, "-P", "-c", _BOOT, name, *sys.path], bufsize=0, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            log.warning("tracker=%s cannot be started: %s. The run goes on without it.", name, error.strerror)
            return
        for stream in self._streams:
            os.set_blocking(stream, False)

    @property
    def owes(self) -> bool:
        """Whether something is to come of it yet."""
        return self.process is not None and self.begun and not self.ended

    def deadline(self, end: float) -> float:
        """Until when a run that ended at `end` waits for it."""
        return end + START if self.ready is None else max(end, self.ready) + GRACE

    def say(self, message: dict[str, Any]) -> None:
        """Write it, or have it wait."""
        if self.process is None:
            return
        line = json.dumps(message).encode() + b"\n"
        self.begun = True
        self.rows += len(message.get("rows", ()))
        if len(self.unsent) + len(line) <= MOST:
            self.unsent += line
        self.exchange()

    def register(self, poll: select.poll) -> None:
        """Have `poll` wake up when there is something to do."""
        into, out = self._streams
        poll.register(out, select.POLLIN)
        if self.unsent:
            poll.register(into, select.POLLOUT)

    def exchange(self) -> None:
        """Write and read what can be without waiting."""
        if self.process is None:
            return
        into, out = self._streams
        try:
            while self.unsent:
                self.unsent = self.unsent[os.write(into, self.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.unsent = b""  # it has gone: what it said last says why
        try:
            while heard := os.read(out, 2**16):
                *lines, self.heard = (self.heard + heard).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
                if self.process is None:
                    return
        except BlockingIOError:
            return
        self._gone()

    def close(self, late: bool) -> None:
        """Leave it to itself, with a word if it is `late`. It is not killed: it may be in the middle of something."""
        if self.process is None:
            return
        if late and self.owes:
            seconds = GRACE if self.ready else START
            self._say_lost(f"It did not take the rest within {seconds:g} s, and has {LINGER:g} s more by itself.")
        self._leave()

    @property
    def _streams(self) -> tuple[int, int]:
        assert self.process and self.process.stdin and self.process.stdout
        return self.process.stdin.fileno(), self.process.stdout.fileno()

    def _hear(self, answer: dict[str, Any]) -> None:
        self.taken = answer.get("taken", self.taken)
        self.ended = self.ended or "ended" in answer
        if "ready" in answer:
            self.ready = time.monotonic()
        if "absent" in answer:
            self._leave()
            log.warning("%s. The run goes on without it.", _foreign(answer["absent"]))
        if "failed" in answer and not self.failed:
            self.failed = True
            log.warning(
                "tracker=%s failed: %s. It is tried again with each epoch.", self.name, _foreign(answer["failed"])
            )

    def _gone(self) -> None:
        """It has left, at its end or too early."""
        assert self.process is not None
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(0.2)  # what it can say ends a little before it does
        owes, code = self.owes, self._leave()
        if owes and self.failed and not code:
            self._say_lost("What failed is said above.")
        elif owes:
            how = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
            log.warning("tracker=%s has died (%s). The run goes on without it.", self.name, how)

    def _leave(self) -> int | None:
        """Close its streams, at which it ends soon; its exit code, if it has ended."""
        assert self.process is not None
        process, self.process = self.process, None
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()
        _LEFT[:] = [each for each in (*_LEFT, process) if each.poll() is None]
        return process.returncode

    def _say_lost(self, why: str) -> None:
        log.warning(
            "%s: tracker=%s has %d of %d epochs%s. %s", self.folder, self.name, self.taken, self.rows,
            "" if self.ended else ", and not how the run ended", why,
        )  # fmt: skip


def _foreign(text: str) -> str:
    """What a package says, in one line of a message."""
    return shorten(plain(text), 200).rstrip(".")
