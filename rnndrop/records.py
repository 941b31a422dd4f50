"""The run folder and its documented schema (docs/record.md). No torch here: reports read records by the thousand."""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rnndrop.errors import RequestError
from rnndrop.lock import held
from rnndrop.task import task_of

SCHEMA = 1  # of the record
STATUSES = ("finished", "failed", "diverged", "interrupted")
RECORD = "record.json"
HISTORY = "history.jsonl"
CONFIG = "config.yaml"
WEIGHTS = "weights.safetensors"
LOCK = ".lock"
HISTORY_TIMING = ("seconds", "tokens_per_second")
"""The keys of a history row that say how long it took: like a record's `timing`, they differ from run to run."""

log = logging.getLogger("rnndrop")


class DamagedRecordError(ValueError):
    """A record that cannot be read: truncated, edited by hand, or written by something else."""


class NotWrittenError(OSError):
    """A record could not be written; the message says what to do."""


@dataclass
class Record:
    """What one run was and what came of it; the keys of `record.json`."""

    schema: int
    run_id: str
    seed: int
    status: str
    overrides: list[str]
    config: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def to_json(self) -> str:
        """The record as one JSON object; NaN and infinity, which JSON lacks, are refused."""
        return json.dumps(asdict(self), indent=1, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read a record. Raises DamagedRecordError."""
        try:
            content = json.loads(text)
            if isinstance(content, dict) and content.get("schema") != SCHEMA:
                raise DamagedRecordError(
                    f"its schema is {content.get('schema')!r}, and this version of rnndrop reads {SCHEMA}"
                )
            record = cls(**{item.name: content[item.name] for item in fields(cls) if item.name in content})
        except DamagedRecordError:
            raise
        except (ValueError, TypeError) as error:
            raise DamagedRecordError(f"not a whole record: {error}") from None
        if record.status not in STATUSES or not all(isinstance(part, dict) for part in record._parts()):
            raise DamagedRecordError(f"not a record: status {record.status!r}")
        if record.status == "finished":
            metric = task_of(record.config).metric
            for name in (f"valid_{metric}", f"test_{metric}"):
                if not isinstance(record.metrics.get(name), int | float):
                    raise DamagedRecordError(f"not a whole record: metrics.{name} is {record.metrics.get(name)!r}")
        return record

    def _parts(self) -> Iterable[object]:
        return self.config, self.data, self.model, self.metrics, self.timing, self.environment


def run_folder(output: str | Path, run_id: str, seed: int) -> Path:
    """Where a run's files are."""
    return Path(output) / run_id / f"seed-{seed}"


@contextmanager
def locked(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the lock of a run folder: one process at a time works in it. Wait for another, or raise BusyError."""
    with held(folder / LOCK, wait):
        yield


def write_atomically(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file that is, whatever happens, either the old one or the whole new one, with the umask's mode.

    `durable`: after a power failure too; costs a wait for the disk.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name.lstrip('.')}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # mkstemp would say 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def sync(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can: without them no file is found."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # may be written to, not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def read_record(folder: Path) -> Record | None:
    """The record in a run folder, or None where there is none. Raises DamagedRecordError."""
    try:
        return Record.from_json((folder / RECORD).read_bytes().decode())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedRecordError(str(error)) from None


def settled(folder: Path, statuses: Collection[str], owned: Callable[[Record], bool]) -> Record | None:
    """The record of a run, if its status is one of `statuses`, so that the run need not run again.

    `owned` says whether a record is of this run. One that is not, or that cannot be used, is named in a warning and
    kept beside its successor as `record.json.damaged`.
    """
    try:
        record = read_record(folder)
        if record and not owned(record):
            raise DamagedRecordError(f"it is the record of another run, {record.run_id} seed {record.seed}")
    except DamagedRecordError as error:
        aside = folder / f"{RECORD}.damaged"
        log.warning("%s: %s. It is kept as %s, and the run is run again.", folder / RECORD, error, aside.name)
        (folder / RECORD).replace(aside)
        return None
    return record if record and record.status in statuses else None


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write one JSON line for each epoch."""
    write_atomically(folder / HISTORY, "".join(json.dumps(row) + "\n" for row in history), durable=False)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The epochs of a run, oldest first; empty where there are none yet."""
    path = folder / HISTORY
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def run_folders(output: str | Path) -> list[Path]:
    """Every run folder below `output`, `seed-<n>` or a copy of one that holds a record, in a fixed order.

    Links are not followed: what they lead to is found at its own place, or lies outside, which a warning says.
    """
    found: list[str] = []
    folders = [str(output)]
    while folders:  # os.scandir, not Path.glob: ten thousand runs are found in a sixth of the time
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not entry.name.startswith("seed-"):
                            folders.append(entry.path)
                        elif entry.name[5:].isdigit() or os.path.exists(f"{entry.path}/{RECORD}"):  # noqa: PTH110
                            found.append(entry.path)
                    elif entry.is_symlink() and entry.is_dir() and not _inside(entry.path, output):
                        log.warning("%s is a link to another folder and is not followed.", entry.path)
        except OSError:
            continue  # not there, or not ours to read
    return [Path(path) for path in sorted(found)]


def _inside(link: str, output: str | Path) -> bool:
    return Path(link).resolve().is_relative_to(Path(output).resolve())


def find_runs(output: str | Path) -> list[Path]:
    """Every run folder below `output` that holds a record, in a fixed order."""
    return [folder for folder in run_folders(output) if os.path.lexists(f"{folder}/{RECORD}")]


def rank(record: Record, folder: Path) -> tuple[bool, bool, int, str]:
    """Sorts the records of one run and seed: a finished one first, then the one that lies at its own place."""
    at_home = (folder.parent.name, folder.name) == (record.run_id, f"seed-{record.seed}")
    return record.status != "finished", not at_home, len(folder.parts), str(folder)


def prepare(folder: Path) -> None:
    """Create a run folder. Raises RequestError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RequestError(f"Cannot write to {folder}: {error.strerror}. Choose another with output=FOLDER.") from None
