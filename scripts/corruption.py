"""Files of runs that are damaged, replaced or edited: no command stumbles, and no number of theirs is used."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnndrop.store import checkpoint, heartbeat, records
from scripts import crashes
from scripts.forked import Outcome, command

Dice = random.Random


def flip_bit(path: Path, dice: Dice) -> None:
    """One bit, as a disk loses it."""
    content = bytearray(path.read_bytes())
    if content:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def cut_off(path: Path, dice: Dice) -> None:
    """The end is missing."""
    os.truncate(path, dice.randrange(max(1, path.stat().st_size)))


def zeros(path: Path, dice: Dice) -> None:
    """The size is there and the content is not, as after a power failure."""
    start = dice.choice((0, dice.randrange(max(1, path.stat().st_size))))
    content = path.read_bytes()
    path.write_bytes(content[:start] + bytes(len(content) - start))


def noise(path: Path, dice: Dice) -> None:
    """Other bytes."""
    path.write_bytes(dice.randbytes(dice.choice((1, 100, 100_000))))


def longer(path: Path, dice: Dice) -> None:
    """Something is written behind the end."""
    with path.open("ab") as file:
        file.write(dice.choice((b"\n", b"{}", bytes(1000), path.read_bytes(), dice.randbytes(50))))


def enormous(path: Path, dice: Dice) -> None:
    """A hole behind the end makes it 64 GiB long; it takes no room."""
    os.truncate(path, 1 << 36)


def of_another_run(path: Path, dice: Dice) -> None:
    """The file of the same name of another run, or another file."""
    others = sorted(other for other in path.parents[2].rglob("*") if other.is_file() and other != path)
    namesakes = [other for other in others if other.name == path.name]
    shutil.copyfile(dice.choice(namesakes or others), path)


def folder_instead(path: Path, dice: Dice) -> None:
    """A folder of that name."""
    path.unlink()
    path.mkdir()


def pipe_instead(path: Path, dice: Dice) -> None:
    """A pipe, whose reader waits for ever."""
    path.unlink()
    os.mkfifo(path)


def link_instead(path: Path, dice: Dice) -> None:
    """A link to nowhere, to itself, to a device without end, or to a file outside the folder."""
    path.unlink()
    path.symlink_to(dice.choice(("nowhere", path.name, "/dev/zero", "/dev/tty", "/etc/passwd")))


def deep(path: Path, dice: Dice) -> None:
    """JSON that is nested more deeply than anyone reads."""
    depth = dice.choice((200, 2000, 100_000))
    path.write_text(dice.choice(('{"a":' * depth + "1" + "}" * depth, "[" * depth + "]" * depth)), encoding="utf-8")


DAMAGES = (
    flip_bit, cut_off, zeros, noise, longer, enormous, of_another_run, folder_instead, pipe_instead, link_instead, deep,
)  # fmt: skip

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**30, 1e308, float("nan"), float("inf"), "", "0.5", "x", "\x1b]0;title\x07", "[/red]",
    "<img src=x onerror=alert(1)>", "\udcff", "=HYPERLINK(1)", "../../..", "\0", [], {}, [[]], [1, "a"], {"": {}},
    {"a": {"b": [None]}}, "9" * 5000,
)  # fmt: skip
"""Values that somebody's own program may write where another is expected."""


def edit(path: Path, dice: Dice) -> None:
    """Change, remove or add some keys of a record, a heartbeat or a row of a history; with a checksum that is right."""
    text = path.read_text(encoding="utf-8")
    rows = [json.loads(line) for line in (text.splitlines() if path.suffix == ".jsonl" else [text])]
    for _ in range(dice.choice((1, 1, 1, 3))):
        _edit_one(dice.choice(rows), dice)
    if path.name == records.RECORD:
        for row in rows:
            row.pop(records.SUM, None)
            if dice.random() < 0.5:
                row[records.SUM] = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8", errors="surrogateescape")


def _edit_one(tree: dict[str, Any], dice: Dice) -> None:
    """Go down at random and change what is found there."""
    key = dice.choice(sorted(tree))
    while isinstance(tree[key], dict) and tree[key] and dice.random() < 0.8:
        tree = tree[key]
        key = dice.choice(sorted(tree))
    match dice.randrange(4):
        case 0:
            del tree[key]
        case 1:
            tree[str(dice.choice(ODD))] = tree[key]
        case _:
            tree[key] = dice.choice(ODD)


class Folder:
    """Runs to be damaged: two seeds of two plans, one that was killed, a search; and what the commands say of them."""

    def __init__(self, scratch: Path) -> None:
        self.sound, self.runs = scratch / "sound", scratch / "runs"
        self._reports: dict[Path | None, list[dict[str, Any]]] = {}
        text = crashes.write_text(scratch / "words.txt")
        self.request = [*crashes.SMALL, f"data.file={text}", "trainer.epochs=2"]
        for overrides in (["dropout=none"], ["dropout=none", "seed=1"], [], ["seed=1"]):
            self._make(overrides)
        for limit in (3, 6, 12, 24, 48):  # a busy machine takes longer to come to a checkpoint
            self._make(["seed=2", "trainer.epochs=300", "trainer.checkpoint_seconds=0"], limit)
            if any(self.sound.rglob(checkpoint.PATTERN)):
                break
        assert any(self.sound.rglob(heartbeat.HEARTBEAT)), "it was to be killed in the middle"
        command(["tune", *self.request, "dropout.recurrent.p=0.2,0.3", "--seeds", "0", f"output={self.sound}"])
        assert list((self.sound / "searches").iterdir())
        self.files = [path for path in sorted(self.sound.rglob("*")) if path.is_file()]

    def _make(self, overrides: list[str], limit: float = 120) -> None:
        command(["run", *self.request, *overrides, f"output={self.sound}"], limit=limit)

    @contextmanager
    def copy(self) -> Iterator[Path]:
        """The folder, always under the same name; removed afterwards."""
        shutil.copytree(self.sound, self.runs)
        try:
            yield self.runs
        finally:
            shutil.rmtree(self.runs)

    def rows_without(self, path: Path) -> list[dict[str, Any]]:
        """The rows that a report may have where a file is damaged: all, those without its run, or without the file."""
        run = path.parent if path.parent.name.startswith("seed-") else path
        return [row for without in (None, run, path) for row in self._report(without)]

    def _report(self, without: Path | None) -> list[dict[str, Any]]:
        """The rows of a report on the folder without one file or folder."""
        if without in self._reports:
            return self._reports[without]
        with self.copy() as folder:
            if without:
                path = folder / without
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            self._reports[without] = _rows(_report(folder))
        return self._reports[without]


def _report(folder: Path) -> Outcome:
    return command(["report", folder, "--format", "json", "--bootstrap"])


def _rows(outcome: Outcome) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(outcome.stdout) if outcome.code == 0 else []
    return rows


def corrupt(scratch: Path, count: int, dice: Dice) -> Iterator[tuple[str, int, list[str]]]:
    """Each kind of damage, how often it was done, and what went wrong; `count` in all, and a quarter of it edits."""
    folder = Folder(scratch)
    edits = count // 4
    for number, damage in enumerate((*DAMAGES, edit)):
        times = edits if damage is edit else crashes.share(count - edits, number, len(DAMAGES))
        wrong = [f"{path}: {problem}" for _ in range(times) for path, problem in _try(folder, damage, dice)]
        yield damage.__name__.replace("_", " "), times, wrong


def _try(folder: Folder, damage: Callable[[Path, Dice], None], dice: Dice) -> Iterator[tuple[Path, str]]:
    """Damage one file; what goes wrong. What an edit of another program says may be used: nobody can know better."""
    files = [path for path in folder.files if damage is not edit or path.suffix in (".json", ".jsonl")]
    own = dice.choice(files).relative_to(folder.sound)
    allowed = None if damage is edit else folder.rows_without(own)
    with folder.copy() as runs:
        damage(runs / own, dice)
        for problem in _problems(folder, runs, runs / own, allowed, dice):
            yield own, problem


def _problems(folder: Folder, runs: Path, path: Path, allowed: list[Any] | None, dice: Dice) -> Iterator[str]:
    """What goes wrong where a file is damaged. `allowed`: the only rows that a report may have."""
    report = _report(runs)
    yield from _disorder("report --format json", report)
    if allowed is not None and report.orderly:
        yield from (f"a report has {row}" for row in _rows(report) if row not in allowed)
    run = path.parent if path.parent.name.startswith("seed-") else next(iter(runs.glob("*/seed-*")))
    again = [*folder.request, "dropout=none,variational", "seed=range(2)", f"output={runs}"]
    commands: dict[str, list[Any]] = {
        "report": ["report", runs, "--published"],
        "html": ["report", runs, "--html", runs / "page.html"],
        "watch": ["watch", runs, "--once"],
        "watch json": ["watch", runs, "--json"],
        "show": ["show", run],
        "show json": ["show", run, "--json"],
        "plot": ["plot", "curves", runs],
        "doctor": ["doctor", runs],
        "plan": ["sweep", *again, "--dry-run"],
        "eval": ["eval", run, "--mc", "2"],
    }
    chosen = dice.sample(sorted(commands), 4)
    if path.parent.name == "searches":
        chosen.append("tune")
        commands["tune"] = ["tune", *folder.request, "dropout.recurrent.p=0.2,0.3", "--seeds", "0", f"output={runs}"]
    for name in chosen:
        yield from _disorder(name, command(commands[name]))
    if allowed is not None and path.parent.parent.parent == runs:
        yield from _after_again(folder, runs, path)


def _after_again(folder: Folder, runs: Path, path: Path) -> Iterator[str]:
    """The command for the damaged run again: it ends as it did, or says why it cannot."""
    run = path.relative_to(runs).parent
    sound = records.read_record(folder.sound / run)
    if sound is None:
        return
    again = [override for override in sound.overrides if not override.startswith("output=")]
    outcome = command(["run", *again, f"output={runs}"])
    yield from _disorder("run", outcome)
    if outcome.code == 0:
        try:
            found = records.read_record(runs / run)
        except ValueError as problem:
            yield f"the same command ended with 0 and left a record that is none: {problem}"
            return
        if found is None or not _within(sound.metrics, found.metrics):
            yield f"the same command ended with {found and found.metrics}"


def _within(part: dict[str, Any], whole: dict[str, Any]) -> bool:
    """`eval` may have added to the metrics."""
    return {name: whole.get(name) for name in part} == part


def _disorder(name: str, outcome: Outcome) -> Iterator[str]:
    if not outcome.orderly:
        lines = outcome.stderr.strip().splitlines()
        yield f"{name} ended with {outcome.code}: {' | '.join(lines[-4:])}"
