"""Where the runs of a folder stand, whoever runs them and wherever: read from their folders. No torch here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rnndrop.config.tasks import TaskSpec, score, task_of_row
from rnndrop.errors import RequestError, unknown
from rnndrop.store import checkpoint, heartbeat, records
from rnndrop.store.files import DamagedRecordError, UnreadableError
from rnndrop.store.ownership import run_id_of
from rnndrop.store.pieces import Pieces
from rnndrop.store.records import Record, best

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
    def corpus(self) -> str | None:
        """The sha256 of what it has read, as far as its record says."""
        return self.record.data.get("sha256") if self.record else None

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


def standing(folder: Path, known: Pieces | None = None) -> Standing:
    """Where a run stands. One that was interrupted or killed is resumable if it has a checkpoint, else new.

    `known`: as for `records.read_record`.
    """
    try:
        folder.lstat()
    except FileNotFoundError:
        return Standing(folder, "new", None, {})
    except OSError:
        pass  # reading it will say why
    record, problem = None, ""
    try:
        record = records.read_record(folder, known)
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


def standings(folders: Iterable[Path], look: Callable[[Path], Standing] | None = None) -> list[Standing]:
    """Where the runs in these folders stand, in their order; the copies of a run are one. `look` reads a folder."""
    look = look or partial(standing, known=Pieces())
    found: dict[tuple[str, str], list[Standing]] = {}
    for each in map(look, folders):
        found.setdefault(each.key, []).append(each)
    return [run for copies in found.values() for run in _of_copies(copies)]


def _of_copies(copies: list[Standing]) -> list[Standing]:
    """One for each corpus: `data=pydoc` is another text in another Python. What has no record may be of any."""
    corpora: dict[str, list[Standing]] = {}
    unread: list[Standing] = []
    for each in copies:
        (corpora.setdefault(each.corpus, []) if each.corpus else unread).append(each)
    return [_best(own) for own in corpora.values()] if len(corpora) > 1 else [_best(copies)]


def _best(copies: list[Standing]) -> Standing:
    """The copy that stands for all: of those with a record as `records.best` has it."""
    recorded = {number: each.record for number, each in enumerate(copies) if each.record}
    if not recorded:
        return min(copies, key=lambda each: (len(each.folder.parts), str(each.folder)))
    places = [copies[number].folder for number in recorded]
    rows = zip(recorded.values(), places, (len(place.parts) for place in places), strict=True)
    return copies[list(recorded)[best(list(rows))]]


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
    chosen, *others = found = seeds(name, output)
    if others:
        also = " ".join(each.name for each in others)
        records.log.info("%s has %d seeds; this is seed %s. The others: %s", name, len(found), chosen.key[1], also)
    return chosen.folder


def seeds(name: str, output: str | Path) -> list[Standing]:
    """The runs of a run id, which may be shortened, by seed; with `/seed-<n>` that one. Raises RequestError."""
    run, _, seed = name.partition("/")
    there = records.run_folders(output)
    near = [folder for folder in there if folder.parent.name.startswith(run)]
    found = [each for each in standings(near or there) if each.named(run, seed)] if run else []
    if not found:
        raise unknown(f"run in {output}", name, [f"{folder.parent.name}/{folder.name}" for folder in there])
    if len(runs := {each.key[0] for each in found}) > 1:
        raise RequestError(f"{name!r} names several runs: {' '.join(sorted(runs))}")
    if len({each.key for each in found}) < len(found):
        places = " ".join(str(each.folder) for each in found)
        raise RequestError(f"{name!r} names runs on different data. Name the folder of one: {places}")
    return sorted(found, key=lambda each: (not each.key[1].isdecimal(), each.key[1].zfill(20)))  # a copy's may be none


def _link(path: Path, own: bool) -> Path | None:
    """What of a path is a link to a run or to the runs of an id; the folder of all runs may be one."""
    if own:
        return next((each for each in (path, path.parent) if each.is_symlink()), None)
    return path if path.is_symlink() and any(path.glob("seed-*")) else None


def _home() -> Path:
    """The user's own folder; the root where none is known."""
    try:
        return Path.home().resolve()
    except RuntimeError:
        return Path("/").resolve()


def below(names: Sequence[str], output: str | Path) -> list[Standing]:
    """The runs that are named: by a folder of one or of many, by a run id (all its seeds) or by `<run id>/seed-<n>`.

    Without names all below `output`, each copy by itself. Raises RequestError for a name without a run, for a link to
    runs of another place, and for a folder that holds more than runs: / or one above the user's own.
    """
    if not names:
        return list(map(standing, records.run_folders(output)))
    found: dict[Path, Standing] = {}
    for name in names:
        path = Path(name)
        if not name:
            raise RequestError("'' names no run.")
        own = path.name.startswith("seed-")
        if link := _link(path, own):
            raise RequestError(f"{link} is a link. Name what it leads to: {path.resolve()}")
        if path.is_dir():
            if _home().is_relative_to(path.resolve()):
                raise RequestError(f"{name} holds more than runs. Name the folder of the runs.")
            runs = list(map(standing, [path] if own else records.run_folders(path)))
        else:
            runs = seeds(name, output)
        if not runs:
            raise RequestError(f"No runs in {name}.")
        found |= {each.folder.resolve(): each for each in runs}
    return list(found.values())
