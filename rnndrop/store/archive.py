"""Runs in one file and back: a plain tar of their files, and a list of their checksums.

What comes in is checked as a whole before anything is written: names, kinds, sizes and checksums, the records and whose
they are, and that each file is what its name says. Names are matched, never joined to a path unread; only plain files
are taken, and nothing is executed, unpickled or decompressed. A run is then written as its own training would write it
(`records.place`): whenever a crash comes, it is there as a whole or not at all. No torch here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from rnndrop.errors import RequestError, shorten
from rnndrop.store import checkpoint, files, nll_blocks, records
from rnndrop.store.files import DamagedRecordError, UnreadableError
from rnndrop.store.lock import BusyError
from rnndrop.store.ownership import run_id_of
from rnndrop.store.records import CONFIG, HISTORY, OUTPUTS, RECORD, TEST_NLL, WEIGHTS, Record, worth
from rnndrop.store.status import Standing

MANIFEST = "rnndrop-runs.json"
VERSION = 1
_NAME = re.compile(
    r"(?P<run>[0-9a-f]{16}|[0-9a-f]{8})/seed-(?P<seed>0|[1-9][0-9]{0,18})/"
    rf"(?P<file>{'|'.join(map(re.escape, (RECORD, *OUTPUTS)))})"
)
_BLOCK = tarfile.BLOCKSIZE
_LATEST = 1 << 33  # a time, in seconds: the year 2242
_CHUNK = 1 << 20


# ---- out ---------------------------------------------------------------------------------------------------------


@dataclass
class Exported:
    """What went into an archive: how many runs; how many run or have no record yet; what is wrong with others."""

    runs: int = 0
    unfinished: int = 0
    damaged: list[str] = field(default_factory=list)


def export(runs: Iterable[Standing], path: Path, weights: bool) -> Exported:
    """Write the records of runs and the files that belong to them into `path`; with their weights, if asked.

    What runs, has no record yet, or does not agree with its record is left out. Where nothing is left, and
    where it raises OSError, the file stays as it was.
    """
    path = Path(os.path.realpath(path))  # a link stays, and what it leads to is written
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    done, sums = Exported(), {}
    try:
        with temporary.open("xb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for run in runs:
                if run.state == "running" or (run.record is None and not run.problem):
                    done.unfinished += 1
                    continue
                try:
                    name, time, contents = _snapshot(run, weights)
                    if f"{name}/{RECORD}" in sums:
                        raise DamagedRecordError(f"an archive has one place for {name}, and another run is there")
                except (DamagedRecordError, UnreadableError) as problem:
                    done.damaged.append(f"{run.folder}: {_reason(problem)}")
                    continue
                for part, content in contents.items():
                    _add(tar, f"{name}/{part}", content, time)
                    sums[f"{name}/{part}"] = hashlib.sha256(content).hexdigest()
                done.runs += 1
            _add(tar, MANIFEST, json.dumps({"version": VERSION, "files": sums}, indent=1).encode(), 0)
            tar.close()
            file.flush()
            os.fsync(file.fileno())
        if not done.runs:
            temporary.unlink()
            return done
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    files.sync(path.absolute().parent)
    return done


def _snapshot(run: Standing, weights: bool) -> tuple[str, int, dict[str, bytes]]:
    """A run's name in an archive, when its record was written, and its files. Raises as reading them does."""
    content = files.read_file(run.folder / RECORD)
    if content is None:
        raise DamagedRecordError(f"{RECORD} is gone")
    record, time = records.parsed(content, run.folder / RECORD), int((run.folder / RECORD).stat().st_mtime)
    name = f"{record.run_id}/seed-{record.seed}"
    if not _NAME.fullmatch(f"{name}/{RECORD}"):
        raise DamagedRecordError(f"its run id {record.run_id!r} is none")
    found = {RECORD: content}
    for part in OUTPUTS:
        if part == WEIGHTS and not weights:
            continue
        own = files.read_file(run.folder / part)
        if own is None and part in record.files and part != WEIGHTS:
            raise DamagedRecordError(f"{part} is gone")
        if own is not None and not record.names(part, own):
            raise DamagedRecordError(f"{part} does not have the sha256 that the record names")
        if own is not None:
            try:
                _CHECKS[part](own)  # else the whole archive would be refused
            except ValueError as problem:
                raise DamagedRecordError(str(problem)) from None
            found[part] = own
    return name, min(max(0, time), _LATEST - 1), found


def _add(tar: tarfile.TarFile, name: str, content: bytes, time: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(content), time
    tar.addfile(entry, io.BytesIO(content))


# ---- in ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A file in an archive: where its bytes are, their sha256, and when it was written."""

    start: int
    size: int
    sha256: str
    time: int


@dataclass(frozen=True)
class Packed:
    """A run in an archive: its record, as bytes too, and where its files are."""

    name: str
    record: Record
    content: bytes
    members: Mapping[str, Member]


class Archive:
    """An archive that was checked as a whole. Raises RequestError for one that is refused, and UnreadableError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise RequestError(
                f"{path} is a folder, and import takes an archive. To make one of its runs: rnndrop export --output"
                f" {path} -o runs.tar. A report reads the folder as it is: rnndrop report {path}"
            )
        if not path.is_file():
            raise RequestError(f"{path} is not there, or not a file. To make one: rnndrop export -o {path}")
        try:
            with path.open("rb") as file:
                self.runs = list(_checked(file))
        except ValueError as problem:  # UnreadableError too: of a later version
            raise RequestError(f"{path} is refused, and nothing was changed: {_reason(problem)}.") from None
        except OSError as error:
            raise RequestError(f"Cannot read {path}: {error.strerror}.") from None

    def bring(self, output: Path) -> Iterator[tuple[Path, str, str]]:
        """Write the runs that are not there yet below `output`; yields their folders, what came of each, and why.

        It is new, there (as it is in the archive; files that were missing are added), replaced (what was there had not
        come to its end), kept (another record is there), busy (a process works there) or unreadable. Raises
        RequestError and OSError.
        """
        with self.path.open("rb") as file:
            for run in self.runs:
                folder = output / run.name
                try:
                    yield folder, *_bring(file, run, folder)
                except BusyError:
                    yield folder, "busy", "it runs"
                except UnreadableError as problem:
                    yield folder, "unreadable", str(problem).partition("\n")[0]
                except ValueError as problem:  # somebody writes it
                    raise RequestError(
                        f"{self.path}: {problem}. Once it is whole, the same command does the rest."
                    ) from None


def _reason(problem: Exception) -> str:
    text = str(problem.reason) if isinstance(problem, UnreadableError) else str(problem)
    return (text or type(problem).__name__).rstrip(".")


_OTHER = "it is no archive as `rnndrop export` writes it"


def _members(file: BinaryIO) -> Iterator[tuple[str, Member]]:
    """The plain files of a tar that has nothing else; the content of each is read for its checksum."""
    length = file.seek(0, io.SEEK_END)
    place = file.seek(0)
    while block := file.read(_BLOCK):
        if not block.strip(b"\0"):
            if any(rest.strip(b"\0") for rest in iter(lambda: file.read(_CHUNK), b"")):
                raise ValueError("something lies behind its end")
            return
        try:
            entry = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except tarfile.TarError as problem:
            raise ValueError(f"it is damaged after {place} bytes ({problem})" if place else _OTHER) from None
        name = shorten(repr(entry.name), 100)
        if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise ValueError(f"{name} is a link, a folder or something else that is no plain file")
        if not (entry.name == MANIFEST or _NAME.fullmatch(entry.name)):
            raise ValueError(f"{name} is no file of a run")
        if not 0 <= entry.size <= length - place - _BLOCK:
            raise ValueError(f"it ends in the middle of {name}")
        if not 0 <= entry.mtime < _LATEST:
            raise ValueError(f"{name} has a time that no file has")
        if entry.size > files.LARGEST and not entry.name.endswith(WEIGHTS):
            raise ValueError(f"{name} is {entry.size} bytes long, and cannot be")
        start, left, digest = place + _BLOCK, entry.size, hashlib.sha256()
        while left and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
        place = file.seek(start + -(-entry.size // _BLOCK) * _BLOCK)
        yield entry.name, Member(start, entry.size, digest.hexdigest(), int(entry.mtime))
    raise ValueError("it has no end: cut off, or not a tar as `rnndrop export` writes it")


def _checked(file: BinaryIO) -> Iterator[Packed]:
    """The runs of an archive. Raises ValueError for one that is not as it ought to be."""
    found: dict[str, Member] = {}
    for name, member in _members(file):
        if name in found:
            raise ValueError(f"{name} is there twice")
        found[name] = member
    if MANIFEST not in found:
        raise ValueError(f"it has no {MANIFEST}")
    named = _manifest(_read(file, found.pop(MANIFEST)))
    for name in sorted({*named, *found}):
        if name not in found or name not in named:
            raise ValueError(f"{shorten(repr(name), 100)} is not {'there' if name in named else f'in {MANIFEST}'}")
        if named[name] != found[name].sha256:
            raise ValueError(f"{name} does not have the sha256 that {MANIFEST} names")
    runs: dict[str, dict[str, Member]] = {}
    for name, member in found.items():
        folder, _, part = name.rpartition("/")
        runs.setdefault(folder, {})[part] = member
    for folder, members in runs.items():
        try:
            yield _packed(file, folder, members)
        except (ValueError, UnreadableError) as problem:
            raise ValueError(f"{folder}: {_reason(problem)}") from None


def _manifest(content: bytes) -> dict[str, str]:
    try:
        tree = json.loads(content)
        version, sums = tree["version"], tree["files"]
        if version == VERSION and all(isinstance(value, str) for value in sums.values()):
            return dict(sums)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{MANIFEST} is not a list of checksums") from None
    raise ValueError(f"{MANIFEST} is of version {version!r}, and this rnndrop reads {VERSION}")


def _packed(file: BinaryIO, folder: str, members: dict[str, Member]) -> Packed:
    """A run whose record is its own and names each of its files. Raises ValueError."""
    if RECORD not in members:
        raise ValueError(f"it has no {RECORD}")
    content = _read(file, members[RECORD])
    record = records.parsed(content, Path(folder, RECORD))
    run, _, seed = folder.partition("/seed-")
    if run not in (record.run_id, run_id_of(record)) or int(seed) != record.seed:
        raise ValueError(f"its record is that of another run, {record.run_id} seed {record.seed}")
    for name in sorted({*record.files, *members} - {RECORD}):
        if name in members:
            if record.files.get(name) not in (None, members[name].sha256):
                raise ValueError(f"{name} does not have the sha256 that its record names")
            _CHECKS[name](_read(file, members[name]))
        elif name != WEIGHTS:
            raise ValueError(f"{name} is missing")
    return Packed(folder, record, content, members)


def _read(file: BinaryIO, member: Member) -> bytes:
    """The content of a file in an archive. Raises ValueError where it has changed since it was checked."""
    file.seek(member.start)
    content = file.read(member.size)
    if hashlib.sha256(content).hexdigest() != member.sha256:
        raise ValueError("the archive changes while it is read")
    return content


def _check_config(content: bytes) -> None:
    if records.settings_of(content) is None:
        raise ValueError(f"{CONFIG} holds no settings")


def _check_nll(content: bytes) -> None:
    if nll_blocks.of_bytes(content) is None:
        raise ValueError(f"{TEST_NLL} holds no array of two rows")


def _check_weights(content: bytes) -> None:
    if files.tensors_end(content) != len(content):
        raise ValueError(f"{WEIGHTS} is no file of tensors")


_CHECKS: dict[str, Callable[[bytes], object]] = {
    CONFIG: _check_config, HISTORY: records.epochs_of, TEST_NLL: _check_nll, WEIGHTS: _check_weights
}  # fmt: skip
"""What a file has to be, by its name; each raises ValueError."""


def _bring(file: BinaryIO, run: Packed, folder: Path) -> tuple[str, str]:
    """What came of a run, and why; the folder is only made and locked where something is to be written."""
    outcome, reason, parts = _compared(run, folder)
    if not parts:
        return outcome, reason
    with records.claimed(folder, wait=False):
        outcome, reason, parts = _compared(run, folder)
        contents = {name: _read(file, run.members[name]) for name in parts if name != RECORD}
        if RECORD in parts:
            records.place(folder, run.content, contents, run.members[RECORD].time, _still_there(run, folder))
        else:
            for name, content in contents.items():
                files.write_atomically(folder / name, content)
    return outcome, reason


def _still_there(run: Packed, folder: Path) -> list[str]:
    """The files that the record names, and the archive lacks, that the folder holds: its weights, most often."""
    there = []
    for name in run.record.files.keys() - run.members.keys():
        with suppress(DamagedRecordError, UnreadableError):
            if run.record.names(name, files.read_file(folder / name) or b""):
                there.append(name)
    return there


def _compared(run: Packed, folder: Path) -> tuple[str, str, list[str]]:
    """What is to come of a run beside what is in its folder, why, and which files are to be written."""
    try:
        there = records.read_record(folder)
    except DamagedRecordError as problem:
        return "kept", f"the record there is damaged ({problem})", []
    if there == run.record:
        missing = [name for name in run.members if name != RECORD and not os.path.lexists(folder / name)]
        return "there", "", missing if records.whole(folder) else []
    ended = worth(run.record) < worth(there) and run.record.status in ("finished", "diverged")
    if there is None and (ended or not checkpoint.paths(folder)):
        return "new", "", list(run.members)
    if there is None:
        return "kept", "the run there is to go on from its checkpoint", []
    if ended:
        return "replaced", f"what was there was {there.status}", list(run.members)
    return "kept", f"a {there.status} run is there, with another {', '.join(records.unlike(there, run.record))}", []
