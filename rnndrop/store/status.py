"""Where the runs of a folder stand, whoever runs them and wherever: read from their folders. No torch here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rnndrop.config.tasks import TaskSpec, score, task_of_row
from rnndrop.errors import RequestError, unknown
from rnndrop.store import checkpoint, heartbeat, records
from rnndrop.store.files import DamagedRecordError, UnreadableError
from rnndrop.store.ownership import run_id_of
from rnndrop.store.records import Record, rank

SETTLED = 2.0  # seconds


@dataclass(frozen=True)
class Standing:
    """One run: `state` is new, resumable, running, damaged (its record is none), unreadable or its record's status.

    `problem` says why where it is damaged or unreadable.
    """

    folder: Path
    state: str
    record: Record | None
    beat: dict[str, Any]
    problem: str = ""

    @property
    def name(self) -> str:
        """`<run id>/seed-<n>`."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def lost(self) -> bool:
        """Whether its process has left without a word: it is to go on, and its last beat is there."""
        return self.state in ("new", "resumable") and bool(self.beat)

    @property
    def overrides(self) -> list[str] | None:
        """What it was started with, where its record or its heartbeat says so."""
        return self.record.overrides if self.record else self.beat.get("overrides")

    @property
    def key(self) -> tuple[str, str]:
        """Run id and seed: what two copies of a run have in common."""
        if self.record:
            return run_id_of(self.record), str(self.record.seed)
        return self.folder.parent.name, self.folder.name.removeprefix("seed-")

    @property
    def rank(self) -> tuple[bool, bool, int, str]:
        """The copy with the lowest rank stands for all."""
        return (
            rank(self.record, self.folder) if self.record else (True, False, len(self.folder.parts), str(self.folder))
        )

    def named(self, run: str, seed: str) -> bool:
        """Whether the run id, the one of today or its folder's, begins with `run`, and the seed is `seed` if given."""
        begins = any(own.startswith(run) for own in (self.key[0], self.folder.parent.name))
        return begins and seed.removeprefix("seed-") in ("", self.key[1])

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The epochs so far; empty where they cannot be read."""
        try:
            return records.read_history(self.folder, self.record)
        except ValueError:
            return []

    @cached_property
    def valid(self) -> list[float]:
        """The valid score of each epoch so far."""
        try:
            return [score(row, "valid") for row in self.history]
        except KeyError:
            return []


def task(run: Standing) -> TaskSpec:
    """What a run's scores are, as far as its history shows."""
    return task_of_row(next(iter(run.history), {}))


def standing(folder: Path) -> Standing:
    """Where a run stands. One that was interrupted or killed is resumable if it has a checkpoint, else new."""
    try:
        folder.lstat()
    except FileNotFoundError:
        return Standing(folder, "new", None, {})
    except OSError:
        pass  # reading it will say why
    record, problem = None, ""
    try:
        record = records.read_record(folder)
        state = record.status if record and record.status != "interrupted" else unfinished(folder)
    except DamagedRecordError as error:
        state, problem = "damaged", str(error)
    except UnreadableError as error:
        state, problem = "unreadable", str(error)
    beat = heartbeat.read(folder)
    if state != "unreadable" and heartbeat.fresh(beat):
        state = "running"
    return Standing(folder, state, record, beat or {}, problem)


def unfinished(folder: Path) -> str:
    """Whether a run that is to go on has a checkpoint: resumable, or new. Raises UnreadableError."""
    return "resumable" if checkpoint.paths(folder) else "new"


def standings(folders: Iterable[Path], look: Callable[[Path], Standing] = standing) -> list[Standing]:
    """Where the runs in these folders stand, in their order; the copies of a run are one. `look` reads a folder."""
    found: dict[tuple[str, str], Standing] = {}
    for each in map(look, folders):
        if each.key not in found or each.rank < found[each.key].rank:
            found[each.key] = each
    return list(found.values())


class Looker:
    """`standing` of the same folders again and again: one in which nothing has changed is not read again.

    A run with a heartbeat always is. So is what has changed within `SETTLED` seconds: file systems' clocks are coarse.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Any, Standing]] = {}

    def __call__(self, folder: Path) -> Standing:
        """Where the run stands now."""
        stamps = _stamps(folder)
        known = self._known.get(folder)
        if known and known[0] == stamps:
            return known[1]
        found = standing(folder)
        if found.beat or not stamps or max(stamps)[0] > (time.time() - SETTLED) * 1e9:
            self._known.pop(folder, None)
        else:
            self._known[folder] = stamps, found
        return found


def _stamps(folder: Path) -> list[tuple[int, int, int]]:
    """What changes with a run folder, with the files that come into it or leave it, and with its record."""
    found = []
    for path in (str(folder), f"{folder}/{records.RECORD}"):
        with suppress(OSError):
            status = os.stat(path)  # noqa: PTH116 (thousands of them, every few seconds)
            found.append((status.st_ctime_ns, status.st_size, status.st_ino))
    return found


def find(name: str, output: str | Path) -> Path:
    """The folder of a run, named by its folder, by `<run id>/seed-<n>`, or by the run id (then the lowest seed).

    A run id may be shortened. Raises RequestError, with the runs that there are.
    """
    if Path(name).is_dir() and Path(name).name.startswith("seed-"):
        return Path(name)
    run, _, seed = name.partition("/")
    there = records.run_folders(output)
    near = [folder for folder in there if folder.parent.name.startswith(run)]
    found = [each for each in standings(near or there) if each.named(run, seed)] if run else []
    if not found:
        raise unknown(f"run in {output}", name, [f"{folder.parent.name}/{folder.name}" for folder in there])
    if len(runs := {each.key[0] for each in found}) > 1:
        raise RequestError(f"{name!r} names several runs: {' '.join(sorted(runs))}")
    chosen, *others = sorted(found, key=lambda each: int(each.key[1]))
    if others:
        also = " ".join(each.name for each in others)
        records.log.info("%s has %d seeds; this is seed %s. The others: %s", name, len(found), chosen.key[1], also)
    return chosen.folder
