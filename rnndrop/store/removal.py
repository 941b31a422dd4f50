"""Deleting runs, and parts of them that nobody needs: what may go, and its going, under the lock of the run.

A run folder is first renamed, so that nobody takes what is left of it for a run, whenever a crash comes; the next
removal deletes the rest. What runs is never touched, nor are files that rnndrop did not write. No torch here.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from rnndrop.errors import RequestError
from rnndrop.store import checkpoint, files, heartbeat, records
from rnndrop.store.lock import HELD, BusyError
from rnndrop.store.status import Standing, standing

_OWN = (
    *records.OUTPUTS, records.RECORD, f"{records.RECORD}.damaged", records.LOCK, records.LOCK + HELD,
    heartbeat.HEARTBEAT, records.TICKET, f".{records.TICKET}.????????", records.TENSORBOARD, checkpoint.PATTERN,
    ".nfs*", ".DS_Store",
)  # fmt: skip
"""The names of what may lie in a run folder beside parts of files; the last two are those of file systems."""

log = logging.getLogger("rnndrop")


@dataclass(frozen=True)
class Garbage:
    """What may go of one run: `files`, or the `whole` folder, whose files these are. `kind` is one of `KINDS`."""

    folder: Path
    kind: str
    files: tuple[Path, ...]
    whole: bool
    size: int  # bytes


@dataclass(frozen=True)
class Removed:
    """What came of a folder: what has gone, or why it stays. `busy`: a process works there."""

    folder: Path
    gone: Sequence[Garbage] = ()
    problem: str = ""
    busy: bool = False


def _checkpoints(run: Standing) -> Iterable[Path]:
    """Those of a run that has come to its end."""
    return checkpoint.paths(run.folder) if _settled(run) else ()


def _weights(run: Standing) -> Iterable[Path]:
    """Those of a finished run."""
    return [run.folder / records.WEIGHTS] if run.state == "finished" and records.whole(run.folder) else ()


def _pruned(run: Standing) -> Iterable[Path]:
    """All of a run that a search has given up, unless somebody has gone on with it."""
    if run.record is None or run.state not in ("new", "resumable") or not records.pruned(run.record):
        return ()
    given_up = run.record.metrics.get("pruned_step", 0)
    gone_on = any(checkpoint.step_of(path) > given_up for path in checkpoint.paths(run.folder))
    return () if gone_on or records.label_of(run.folder) not in (None, records.TRIAL) else _files_in(run.folder)


def _refused(run: Standing) -> Iterable[Path]:
    """All of a run that has failed before it could begin, or of a folder in which nothing has been written."""
    there = _names(run.folder)
    if records.TICKET in there or checkpoint.paths(run.folder):
        return ()
    if run.record:
        return () if run.state != "failed" or records.begun(run.record) else _files_in(run.folder)
    empty = run.state == "new" and all(name.startswith(".") or name == heartbeat.HEARTBEAT for name in there)
    return _files_in(run.folder) if empty else ()


def _leftovers(run: Standing) -> Iterable[Path]:
    """What dead writers have left of a run that has come to its end."""
    return records.litter(run.folder) if _settled(run) else ()


KINDS: dict[str, tuple[Callable[[Standing], Iterable[Path]], bool, str]] = {
    "refused": (_refused, True, "runs that failed before they could begin, and empty folders"),
    "pruned": (_pruned, True, "runs that a search pruned"),
    "checkpoints": (_checkpoints, False, "checkpoints of finished and diverged runs"),
    "weights": (_weights, False, "weights of finished runs"),
    "leftovers": (_leftovers, False, "files that killed commands left behind"),
}
"""What is found, whether the whole folder goes with it, and what it is in words."""


def _settled(run: Standing) -> bool:
    return run.state in ("finished", "diverged") and records.whole(run.folder)


def garbage(run: Standing, kinds: Collection[str]) -> list[Garbage]:
    """What of a run is of these `KINDS`; nothing of one that runs, or that cannot be read."""
    found = []
    try:
        for kind, (find, whole, _) in KINDS.items():
            if kind in kinds and (own := tuple(path for path in find(run) if whole or path.is_file())):
                found.append(_of(run.folder, kind, own, whole))
                if whole:
                    break
    except (OSError, files.UnreadableError):
        return []
    return found


def everything(run: Standing) -> list[Garbage]:
    """All of a run, whatever it is; nothing while it runs."""
    return [] if run.state == "running" else [_of(run.folder, "runs", _files_in(run.folder), whole=True)]


def set_aside(output: str | Path) -> list[Garbage]:
    """What removals that were killed have left below a folder; `discard` deletes it."""
    return [_of(folder, "leftovers", _files_in(folder), whole=True) for folder in records.set_aside(output)]


def _of(folder: Path, kind: str, there: Iterable[Path], whole: bool) -> Garbage:
    paths = tuple(path for path in there if path != folder)
    return Garbage(folder, kind, paths, whole, sum(map(_size, paths)))


def remove(folders: Iterable[Path], find: Callable[[Standing], list[Garbage]]) -> Iterator[Removed]:
    """Delete what `find` finds of the runs in these folders, each under its lock and as it stands then."""
    for folder in folders:
        try:
            yield _remove(folder, find)
        except BusyError:
            yield Removed(folder, busy=True)
        except (RequestError, OSError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else str(problem)
            yield Removed(folder, problem=f"{folder} stays: {reason}")


def _remove(folder: Path, find: Callable[[Standing], list[Garbage]]) -> Removed:
    aside = folder.with_name(f"{records.ASIDE}{folder.name}.{secrets.token_hex(4)}")
    if not folder.is_dir():  # somebody else has removed it
        return Removed(folder)
    with records.locked(folder, wait=False):
        run = standing(folder)
        if run.state == "running":  # on a host whose locks are not seen here
            raise BusyError
        found = find(run)
        whole = any(each.whole for each in found)
        if whole:
            if others := foreign(folder):
                raise RequestError(f"it holds what rnndrop did not write: {' '.join(others)}. Move that away first.")
            folder.rename(aside)
        for path in () if whole else [path for each in found for path in each.files]:
            path.unlink(missing_ok=True)
    if whole:  # the lock is let go before: some file systems keep an open file
        files.sync(folder.parent)
        discard(aside)
    return Removed(folder, found)


def discard(aside: Path) -> None:
    """Delete a folder that was set aside, and the one of its run id if that is empty then. What stays is named."""
    try:
        shutil.rmtree(aside)
    except FileNotFoundError:  # another process does the same
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        log.warning("%s cannot be deleted: %s. `rnndrop gc` tries again.", aside, error.strerror)
    with suppress(OSError):  # other seeds are there
        aside.parent.rmdir()


def foreign(folder: Path) -> list[str]:
    """The names in a run folder that rnndrop does not give."""
    return sorted(
        name for name in _names(folder) if not (records.is_part(name) or any(fnmatch(name, own) for own in _OWN))
    )


def _names(folder: Path) -> list[str]:
    return os.listdir(folder)  # noqa: PTH208


def _files_in(folder: Path) -> list[Path]:
    """The files in a folder and below it; the folder itself where there are none."""
    return [Path(place) / name for place, _, names in os.walk(folder) for name in names] or [folder]


def _size(path: Path) -> int:
    try:
        return 0 if path.is_dir() else path.lstat().st_size
    except OSError:
        return 0
