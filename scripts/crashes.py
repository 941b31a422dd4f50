"""Variants of a command that are killed, or meet an error of the disk, at each of their calls to the system."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from rnndrop.errors import RequestError
from rnndrop.store import checkpoint, heartbeat
from rnndrop.store.audit import Verdict, audit
from rnndrop.store.records import read_record
from scripts import calls, objects
from scripts.forked import Outcome, command
from scripts.kills import essences
from tests import reviews

SMALL = [
    "data=text",
    "model.hidden=8",
    "trainer.epochs=3",
    "trainer.batch_size=8",
    "trainer.checkpoint_seconds=null",
    "trainer.device=cpu",
    "trainer.threads=1",
    "dropout=variational",
]
"""A run of a fraction of a second, but for `data.file`; it takes a checkpoint at the end of each epoch."""
ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES)


@dataclass
class Variant:
    """A command and the folder that it finds: `before` are the commands that made it."""

    name: str
    arguments: list[str]
    before: list[list[str]] = field(default_factory=list)
    cut: int = 0  # the call at which the last of `before` was killed
    plant: Callable[[Path], object] = lambda folder: None  # what else lies there

    def prepare(self, folder: Path) -> None:
        """Make the folder that the command finds."""
        folder.mkdir()
        for arguments in self.before[:-1]:
            _give(arguments, folder)
        for arguments in self.before[-1:]:
            _give(arguments, folder, self.cut)
        assert not self.cut or any(folder.rglob(checkpoint.PATTERN)), f"call {self.cut} comes before a checkpoint"
        self.plant(folder)


def variants(folder: Path) -> list[Variant]:
    """Every variant; what they read lies in `folder`."""
    run = ["run", *SMALL, f"data.file={write_text(folder / 'words.txt')}"]
    rating = ["run", *reviews.SMALL, "trainer.checkpoint_seconds=null"]
    rating += [f"data.file={reviews.write(folder / 'reviews.tsv')}"]
    return [
        Variant("run", run),
        Variant("run, resumed", run, [run], cut=60),
        Variant("run --force on a finished one", [*run, "--force"], [run]),
        Variant("eval --mc", ["eval", "RUN", "--mc", "2"], [run]),
        Variant("run task=sentiment", rating),
        Variant("gc", objects.GC, plant=lambda runs: objects.plant(runs, objects.write(runs, 8)[1])),
        Variant("import", ["import", str(_archive(folder))], plant=lambda runs: objects.write(runs, 1)),
    ]


def _archive(folder: Path) -> Path:
    """Three runs in a file."""
    objects.write(folder / "source", 3)
    done = command(["export", "-o", folder / "runs.tar", "--weights", "--output", folder / "source"])
    assert done.code == 0, done
    return folder / "runs.tar"


def write_text(path: Path, count: int = 4000) -> Path:
    """A text of `count` words, each likely after the one before it."""
    source, word, words = random.Random(0), 0, []
    for _ in range(count):
        word = (word + source.choice((1, 2, 5))) % 30
        words.append("\n" if word == 0 else f"w{word}")
    path.write_text(" ".join(words), encoding="utf-8")
    return path


def _give(
    arguments: list[str], folder: Path, at: int = 0, error: int = 0, lasting: bool = False, limit: float = 120
) -> Outcome:
    """Give a command for the runs in `folder`, armed; the names of its calls are left in `folder.calls`."""
    if arguments[0] == "eval":
        arguments = ["eval", str(next(iter(folder.glob("*/seed-*")))), *arguments[2:]]
    else:
        arguments = [*arguments, f"output={folder}"]

    def tell() -> None:
        names = "\n".join(calls.seen())
        calls.arm(folder, 0)
        folder.with_suffix(".calls").write_text(names, encoding="utf-8")

    def begin() -> None:
        heartbeat.EVERY = 1e6  # one beat: the number of calls must not depend on the time
        calls.arm(folder, at, error, lasting)

    return command(arguments, begin, tell, limit)


def finished(output: Path) -> dict[str, Any]:
    """What came of the finished runs in a folder."""
    return {name: run for name, run in essences(output).items() if run["status"] == "finished"}


def names(output: Path) -> list[str]:
    """The names of the files below a folder."""
    return sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())


def unsound(output: Path) -> list[Verdict]:
    """What `rnndrop doctor` finds wrong, or unfinished, in a folder."""
    return [verdict for verdict in audit(output) if verdict.state != "sound"]


class Trial:
    """A variant in the folder `scratch`: what it finds there, and how it ends where nothing disturbs it."""

    def __init__(self, variant: Variant, scratch: Path) -> None:
        self.variant, self.found, self.folder = variant, scratch / "found", scratch / "runs"
        variant.prepare(self.found)
        self.before = finished(self.found)
        with self.copy() as folder:
            start = time.monotonic()
            spared = _give(variant.arguments, folder)
            self.seconds = time.monotonic() - start
            assert spared.code == 0, spared
            self.calls = folder.with_suffix(".calls").read_text(encoding="utf-8").split()
            self.expected, self.files, self.unsound = finished(folder), names(folder), unsound(folder)

    @contextmanager
    def copy(self) -> Iterator[Path]:
        """What the command finds, always under the same name; removed afterwards."""
        shutil.copytree(self.found, self.folder)
        try:
            yield self.folder
        finally:
            shutil.rmtree(self.folder)

    def crash(self, at: int) -> str:
        """Kill the command at a call and give it again; what is wrong then, or nothing."""
        with self.copy() as folder:
            first = _give(self.variant.arguments, folder, at)
            if first.code != -signal.SIGKILL:
                return f"it was not killed: {first}"
            return self._wrong(folder)

    def kill(self, dice: random.Random) -> tuple[int, str]:
        """Kill the command at random moments, one to five times; how often that hit, and what is wrong then."""
        hit = 0
        with self.copy() as folder:
            for _ in range(dice.randint(1, 5)):
                first = _give(self.variant.arguments, folder, limit=dice.uniform(0, self.seconds))
                hit += first.code < 0
                if first.code == 0:
                    break
            return hit, self._wrong(folder)

    def fail(self, at: int, error: int, lasting: bool) -> str:
        """Let the call fail, and those after it where that is `lasting`; what is wrong then, or nothing."""
        with self.copy() as folder:
            first = _give(self.variant.arguments, folder, at, error, lasting)
            if not first.orderly:
                return f"it ended with {first}"
            return self._wrong(folder)

    def _wrong(self, folder: Path) -> str:
        """What is wrong with a folder after the command was disturbed, or after it was given again."""
        try:
            for name, run in self.before.items():
                record = read_record(folder / name)
                if record is None or record.metrics not in (run["metrics"], self.expected[name]["metrics"]):
                    return f"a finished run was lost or changed: {record}"
            for beat in folder.rglob(heartbeat.HEARTBEAT):  # somewhat later
                os.utime(beat, (0, 0))
            second = _give(self.variant.arguments, folder)
            if second.code != 0:
                return f"the same command ended with {second}"
            if finished(folder) != self.expected:
                return "the run differs from the spared one"
            if names(folder) != self.files:
                return f"other files are there: {set(names(folder)) ^ set(self.files)}"
        except (ValueError, OSError, RequestError) as problem:
            return f"the folder cannot be read: {problem!r}"
        return f"not sound: {found}" if (found := unsound(folder)) != self.unsound else ""


@cache
def trials(scratch: Path) -> list[Trial]:
    """Every variant in a folder of its own, made once for all that disturbs it."""
    found = []
    for number, variant in enumerate(variants(scratch)):
        (place := scratch / f"variant-{number}").mkdir()
        found.append(Trial(variant, place))
    return found


def crash_everywhere(scratch: Path, most: int, dice: random.Random) -> Iterator[tuple[str, int, list[str]]]:
    """Each variant, how often it was killed, and what was wrong; at each of its calls, or at `most`."""
    for trial in trials(scratch):
        points = range(1, len(trial.calls) + 1)
        chosen = sorted(dice.sample(points, min(most, len(points))))
        wrong = [f"call {at} ({trial.calls[at - 1]}): {problem}" for at in chosen if (problem := trial.crash(at))]
        yield trial.variant.name, len(chosen), wrong


def kill_at_random(scratch: Path, count: int, dice: random.Random) -> Iterator[tuple[str, int, list[str]]]:
    """The same with `count` kills at random moments, several in a row, divided among the variants."""
    found = trials(scratch)
    for number, trial in enumerate(found):
        hit, wrong = 0, []
        while hit < share(count, number, len(found)):
            more, problem = trial.kill(dice)
            hit += more
            wrong += [f"after {more} kills: {problem}"] if problem else []
        yield trial.variant.name, hit, wrong


def share(whole: int, number: int, parts: int) -> int:
    """How much of a whole number goes to one of its parts."""
    return whole // parts + (number < whole % parts)


def fail_everywhere(scratch: Path, count: int, dice: random.Random) -> Iterator[tuple[str, int, list[str]]]:
    """The same with `count` errors, divided among the variants: once, or from there on."""
    found = trials(scratch)
    for number, trial in enumerate(found):
        choices = list(product(range(1, len(trial.calls) + 1), ERRORS, (False, True)))
        chosen = dice.sample(choices, min(len(choices), share(count, number, len(found))))
        wrong = []
        for at, error, lasting in chosen:
            if problem := trial.fail(at, error, lasting):
                what = f"{errno.errorcode[error]} {'from' if lasting else 'at'} call {at} ({trial.calls[at - 1]})"
                wrong.append(f"{what}: {problem}")
        yield trial.variant.name, len(chosen), wrong
