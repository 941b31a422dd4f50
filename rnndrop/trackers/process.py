"""The process of a tracker. What happens to it happens to no run: it may fail, hang, exit, or be killed.

The run writes lines of JSON to its stdin, and reads from its stdout what came of them (`rnndrop.trackers.observer`).
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

from rnndrop.config.trackers import tracker_named
from rnndrop.errors import RequestError
from rnndrop.trackers.base import TrackedRun, Tracker

LINGER = 30.0  # seconds that are left to it after the run's process has gone

Message = dict[str, Any]
Answer = Callable[[Message], None]


def main(name: str) -> None:
    """Serve the tracker of that name until the end of stdin. The streams are kept from what the tracker prints."""
    said, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)

    def answer(message: Message) -> None:
        try:
            print(json.dumps(message), file=answers, flush=True)
        except BrokenPipeError:  # nobody waits for it any more
            os.dup2(nothing, answers.fileno())

    messages: SimpleQueue[Message | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(said, messages), daemon=True).start()
    try:
        make = tracker_named(name).load()
    except RequestError as error:
        answer({"absent": str(error)})
    except Exception as error:
        answer({"absent": f"tracker={name} cannot be imported: {_reason(error)}"})
    else:
        answer({"ready": True})
        _Serving(make, answer).serve(messages)


def _listen(said: Any, messages: SimpleQueue[Message | None]) -> None:
    """Hand on what is said; at its end see to it that this process ends too."""
    try:
        for line in said:
            messages.put(json.loads(line))
    except ValueError:
        pass  # half a line: the run was killed
    messages.put(None)
    time.sleep(LINGER)
    os.killpg(0, signal.SIGKILL)


class _Serving:
    """Tells a tracker what the run says, what it did not take once more with what comes next."""

    def __init__(self, make: Callable[[TrackedRun], Tracker], answer: Answer) -> None:
        self.make, self.answer = make, answer
        self.run: TrackedRun | None = None
        self.tracker: Tracker | None = None
        self.rows: list[dict[str, float]] = []
        self.taken = 0
        self.end: tuple[str, dict[str, float]] | None = None

    def serve(self, messages: SimpleQueue[Message | None]) -> None:
        for message in _together(messages):
            self._note(message)
            try:
                self._tell()
            except (Exception, SystemExit) as error:
                self.answer({"failed": _reason(error)})

    def _note(self, messages: list[Message]) -> None:
        for message in messages:
            if "run" in message:
                self.run = TrackedRun(**message["run"])
            self.rows += message.get("rows", [])
            if "status" in message:
                self.end = message["status"], message["metrics"]

    def _tell(self) -> None:
        if self.run is None:
            return
        self.tracker = self.tracker or self.make(self.run)
        if rows := self.rows:
            self.tracker.epochs(rows)
            self.rows = []
            self.taken += len(rows)
            self.answer({"taken": self.taken})
        if self.end:
            self.tracker.ended(*self.end)
            self.answer({"ended": True})


def _together(messages: SimpleQueue[Message | None]) -> Iterator[list[Message]]:
    """What is there, as soon as there is something; a run that leaves without a word was killed."""
    ended = False
    while not ended:
        found = [messages.get()]
        while not messages.empty():
            found.append(messages.get())
        told = [message for message in found if message is not None]
        ended = any("status" in message for message in told)
        if None in found and not ended:
            told.append({"status": "killed", "metrics": {}})
            ended = True
        yield told


def _reason(error: BaseException) -> str:
    """An exception in one line."""
    first = (str(error).strip() or repr(error)).splitlines()[0]
    return f"{type(error).__name__}: {first}"
