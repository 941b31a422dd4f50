"""The run folder and its documented schema (docs/record.md). No torch here: reports read records by the thousand."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnndrop.config.tasks import task_of
from rnndrop.display.foreign import cleaned
from rnndrop.errors import RequestError
from rnndrop.store.files import DamagedRecordError as DamagedRecordError
from rnndrop.store.files import NewerError as NewerError
from rnndrop.store.files import UnreadableError as UnreadableError
from rnndrop.store.files import read_file, sync, write_atomically, write_new
from rnndrop.store.lock import GoneError, held

if TYPE_CHECKING:
    from rnndrop.store.pieces import Pieces

SCHEMA = 1  # of the record
RECORD = "record.json"
SUM = "sha256"  # the key under which a record has the checksum of its other keys; one of before has none
HISTORY = "history.jsonl"
CONFIG = "config.yaml"
WEIGHTS = "weights.safetensors"
LOCK = ".lock"
TEST_NLL = "test_nll.npy"
TICKET = "job.json"
"""Which job of a cluster's scheduler works on a run."""
TENSORBOARD = "tensorboard"
OUTPUTS = (CONFIG, HISTORY, TEST_NLL, WEIGHTS)
"""The files that belong to a record."""
HISTORY_TIMING = ("seconds", "tokens_per_second")
"""The keys of a history row that say how long it took: like a record's `timing`, they differ from run to run."""
TRIAL = "trial"
"""The `label` of the trials of a search, of a reproduction's before its name: `trial-low_data`. Reports leave them out;
a run that is asked for otherwise loses it."""

ASIDE = ".removed."
"""Before the name of a run folder that is about to be deleted: nobody takes it for a run any more."""

_TRIES = 5  # to lock a folder that others remove
_NEXT = ".next"  # added to the name of a file that will take its place
_LITTER = re.compile(  # what a writer that died has left; the names are those of `files.write_atomically`
    r"\.(record\.json|history\.jsonl|config\.yaml|weights\.safetensors|test_nll\.npy|heartbeat\.json"
    rf"|checkpoint-\d+-\w+\.safetensors)(\{_NEXT})?\.\w{{8}}"
)

log = logging.getLogger("rnndrop")


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
    files: dict[str, str] = field(default_factory=dict)  # name → sha256 of those that belong to it

    def names(self, name: str, content: bytes) -> bool:
        """Whether this is the content of the file of that name that belongs to the record; one of before names none."""
        return self.files.get(name) in (None, hashlib.sha256(content).hexdigest())

    def to_json(self) -> str:
        """The record and its checksum as one JSON object, in ASCII; NaN and infinity, which JSON lacks, are refused."""
        content = asdict(self)
        return json.dumps({**content, SUM: _sum(content)}, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, known: Pieces | None = None) -> Record:
        """Read a record. Raises DamagedRecordError. `known`: of other records; those with it share what they have."""
        try:
            shown = text.isascii() and "\\u" not in text and "\x7f" not in text  # else with signs that a terminal obeys
            content = known.content(text, SUM) if known and shown else None
            content = content or _checked(text, shown)
            record = cls(**{name: content[name] for name in _KEYS if name in content})
        except DamagedRecordError:
            raise
        except (ValueError, TypeError, RecursionError) as error:
            raise DamagedRecordError(f"not a whole record: {error}") from None
        if record.status == "finished":
            metric = task_of(record.config).metric
            for name in (f"valid_{metric}", f"test_{metric}"):
                if not isinstance(record.metrics.get(name), int | float):
                    raise DamagedRecordError(f"not a whole record: metrics.{name} is {record.metrics.get(name)!r}")
        return record


_KEYS = tuple(item.name for item in fields(Record))


def _checked(text: str, shown: bool) -> dict[str, Any]:
    """What the JSON of a record holds. Raises ValueError."""
    from rnndrop.store import record_schema  # which knows the settings, whose identity is told from records

    content: dict[str, Any] = json.loads(text)
    if isinstance(content, dict) and content.pop(SUM, None) not in (None, _sum(content)):
        raise DamagedRecordError(f"its content does not have the {SUM} that it names: damaged, or edited")
    record_schema.check_record(text)
    return content if shown else cleaned(content)


def _sum(content: dict[str, Any]) -> str:
    """The sha256 of a record, however its JSON is laid out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=True).encode()).hexdigest()


def run_folder(output: str | Path, run_id: str, seed: int) -> Path:
    """Where a run's files are."""
    return Path(output) / run_id / f"seed-{seed}"


@contextmanager
def claimed(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the lock of a run folder, which is made where it is missing. Raises as `prepare` and `locked` do."""
    with ExitStack() as stack:
        for left in reversed(range(_TRIES)):
            try:
                prepare(folder)
                stack.enter_context(locked(folder, wait))
                break
            except GoneError:  # somebody has removed it in between
                if not left:
                    raise
        yield


@contextmanager
def locked(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the lock of a run folder: one process at a time works in it. Wait for another, or raise BusyError.

    What one that died has left is dealt with first. Raises RequestError where the folder cannot be written.
    """
    with held(folder / LOCK, wait):
        try:
            _finish(folder)
            for path in litter(folder):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _cannot_write(folder, error) from None
        yield


def is_part(name: str) -> bool:
    """Whether a file of a run that is being written has such a name."""
    return bool(_LITTER.fullmatch(name)) or (name.startswith(".") and name.endswith(_NEXT))


def litter(folder: Path) -> list[Path]:
    """The temporary files in a run folder; whoever holds its lock knows that their writers have died."""
    return [path for path in folder.iterdir() if _LITTER.fullmatch(path.name)]


def write_whole(folder: Path, record: Record, outputs: Mapping[str, str | bytes]) -> None:
    """Put a run that has come to its end in the place of what its folder holds; hold its lock."""
    contents = {name: text.encode() if isinstance(text, str) else text for name, text in outputs.items()}
    record.files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    place(folder, record.to_json().encode(), contents)


def place(
    folder: Path,
    record: bytes,
    outputs: Mapping[str, bytes],
    written: float | None = None,
    kept: Collection[str] = (),
) -> None:
    """Put a record and its files, those of `OUTPUTS` that it has, in the place of what a folder holds; hold its lock.

    Everything is first written beside the old files, the record last. From there on a crash changes nothing any more:
    the next process that locks the folder moves what is left. Until then the old files stay as they are. `written`:
    the time of the record's file, where it is not now. `kept`: files of the folder that the record names too.
    """
    _exchange(folder, record, outputs, written)
    for name in OUTPUTS:
        if name not in outputs and name not in kept:
            with suppress(OSError):  # what is left means nothing beside this record
                (folder / name).unlink(missing_ok=True)


def relabel(folder: Path, record: Record, label: str | None) -> None:
    """Give a run another label, in its record and in its configuration's file; hold its lock."""
    record.config["label"] = label
    outputs: dict[str, bytes] = {}
    content = read_file(folder / CONFIG)
    if content is not None and record.names(CONFIG, content):  # else it is not that of the run, and stays as it is
        outputs[CONFIG] = config_text(record.config).encode()
        record.files |= {CONFIG: hashlib.sha256(outputs[CONFIG]).hexdigest()} if CONFIG in record.files else {}
    _exchange(folder, record.to_json().encode(), outputs)


def config_text(settings: Mapping[str, Any]) -> str:
    """What a run's configuration is as a file."""
    import yaml

    return str(yaml.dump(settings, sort_keys=False, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))


def settings_of(content: bytes) -> dict[str, Any] | None:
    """What a configuration's file holds; None where that is no settings."""
    import yaml

    try:
        tree = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except Exception:  # a tag makes PyYAML raise nearly anything: KeyError, IndexError, AttributeError
        return None
    return tree if isinstance(tree, dict) else None


def _exchange(folder: Path, record: bytes, outputs: Mapping[str, bytes], written: float | None = None) -> None:
    """Put a record and some files in the place of theirs, as `place` does; the others stay."""
    try:
        for name, content in outputs.items():
            write_new(_next(folder, name), content, durable=True)
        write_atomically(_next(folder, RECORD), record)
        if written is not None:
            os.utime(_next(folder, RECORD), (written, written))
    except BaseException:
        with suppress(OSError):
            _drop(folder)
        raise
    _finish(folder)


def write_less(folder: Path, record: Record) -> None:
    """Write the record of a run that has not come to its end, unless the folder holds a finished one: that stays."""
    found = read_record(folder)
    if found and found.status == "finished":
        log.warning("%s: %s this time; the finished record is kept.", folder, record.status)
    else:
        write_atomically(folder / RECORD, record.to_json())
        if found and found.files:  # the curve is that of the attempt whose record this was
            with suppress(OSError):
                (folder / HISTORY).unlink(missing_ok=True)


def _next(folder: Path, name: str) -> Path:
    return folder / f".{name}{_NEXT}"


def whole(folder: Path) -> bool:
    """Whether nobody died while he moved a run into its place."""
    return not os.path.lexists(_next(folder, RECORD))


def _finish(folder: Path) -> None:
    """Move into place what `write_whole` has written, if that is complete; else remove it."""
    if whole(folder):
        _drop(folder)
        return
    for name in (*OUTPUTS, RECORD):
        if name == RECORD:
            sync(folder)
        with suppress(FileNotFoundError):
            _next(folder, name).replace(folder / name)
    sync(folder)


def _drop(folder: Path) -> None:
    for name in (RECORD, *OUTPUTS):  # without the record the others mean nothing
        _next(folder, name).unlink(missing_ok=True)


def read_record(folder: Path, known: Pieces | None = None) -> Record | None:
    """The record in a run folder, or None where there is none. Raises DamagedRecordError and UnreadableError.

    `known`: as for `Record.from_json`.
    """
    content = read_file(folder / RECORD)
    return None if content is None else parsed(content, folder / RECORD, known)


def parsed(content: bytes, path: Path, known: Pieces | None = None) -> Record:
    """What the file of a record holds. Raises DamagedRecordError and UnreadableError, which names `path`."""
    try:
        return Record.from_json(content.decode(), known)
    except UnicodeDecodeError as error:
        raise DamagedRecordError(str(error)) from None
    except DamagedRecordError:  # a later schema may look so
        if content and (version := _version(content)) > SCHEMA:
            reason = f"a newer rnndrop has written it (schema {version}, this one reads {SCHEMA})"
            raise NewerError(path, reason) from None
        raise


def _version(content: bytes) -> int:
    try:
        version = json.loads(content)["schema"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0
    return version if isinstance(version, int) else 0


def _at_home(record: Record, folder: Path) -> bool:
    return (folder.parent.name, folder.name) == (record.run_id, f"seed-{record.seed}")


def own_record(folder: Path, owned: Callable[[Record], bool]) -> Record | None:
    """The record of a run; `owned` says whether a record is of it.

    Raises DamagedRecordError, also for another run's, and UnreadableError where nobody can know.
    """
    record = read_record(folder)
    if record and not owned(record):
        if _at_home(record, folder):
            raise DamagedRecordError(
                f"its settings, as this version of rnndrop reads them, are another run than {record.run_id}: what they"
                " mean has changed since it was written"
            )
        raise DamagedRecordError(f"it is the record of another run, {record.run_id} seed {record.seed}")
    return record


def own_record_or_aside(folder: Path, owned: Callable[[Record], bool]) -> Record | None:
    """The same, but a damaged record is named in a warning and kept beside its successor as `record.json.damaged`."""
    try:
        return own_record(folder, owned)
    except DamagedRecordError as problem:
        aside = folder / f"{RECORD}.damaged"
        log.warning("%s: %s. It is kept as %s, and the run starts again.", folder / RECORD, problem, aside.name)
        try:
            (folder / RECORD).replace(aside)
        except OSError as error:
            raise _cannot_write(folder, error) from None
        return None


def settles(record: Record | None, statuses: Collection[str], label: str | None) -> bool:
    """Whether a run need not run again: it has one of `statuses`. What failed before it could begin settles nothing.

    "pruned" is the status of a trial that was left, whose record says interrupted. It settles a run that is asked for
    as a trial too, under such a `label`.
    """
    if record is None:
        return False
    left = "pruned" in statuses and pruned(record) and is_trial(record.config.get("label")) and is_trial(label)
    return left or (record.status in statuses and begun(record))


def is_trial(label: str | None) -> bool:
    """Whether a label is that of trials."""
    return label is not None and (label == TRIAL or label.startswith(f"{TRIAL}-"))


def label_of(folder: Path) -> str | None:
    """The label under which a run was last begun, empty where it has none; None where that cannot be read."""
    with suppress(OSError):
        settings = settings_of((folder / CONFIG).read_bytes())
        return None if settings is None else str(settings.get("label") or "")
    return None


def pruned(record: Record) -> bool:
    """Whether a run was interrupted because it fell behind in a search. Elsewhere it can be gone on with as any."""
    return record.status == "interrupted" and bool(record.metrics.get("pruned"))


def begun(record: Record) -> bool:
    """Whether a run has come as far as its data: if not, its request or its machine was at fault."""
    return record.status != "failed" or bool(record.data)


def history_text(history: list[dict[str, Any]]) -> str:
    """One JSON line for each epoch."""
    return "".join(json.dumps(row) + "\n" for row in history)


def read_history(folder: Path, record: Record | None = None) -> list[dict[str, Any]]:
    """The epochs of a run, oldest first; empty where there are none yet. `record`: the run's, where it is known.

    Raises DamagedRecordError, also for one that is not that of its record, and UnreadableError.
    """
    content = read_file(folder / HISTORY) or b""
    if (record := record or read_record(folder)) and not record.names(HISTORY, content):
        raise DamagedRecordError(f"{HISTORY} is not that of its record")
    return epochs_of(content)


def epochs_of(content: bytes) -> list[dict[str, Any]]:
    """The epochs that the file of a history holds. Raises DamagedRecordError."""
    from rnndrop.store import record_schema

    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            record_schema.check_row(line)
            rows.append(json.loads(line))
        except ValueError as error:
            raise DamagedRecordError(f"line {number} of {HISTORY}: {error}") from None
    return rows


def run_folders(output: str | Path) -> list[Path]:
    """Every run folder below `output`, `seed-<n>` or a copy of one that holds a record, in a fixed order.

    Links are not followed: what they lead to is found at its own place, or lies outside, which a warning says. One says
    too which folder cannot be read; where that is `output` itself, RequestError does.
    """
    return _folders(output)[0]


def set_aside(output: str | Path) -> list[Path]:
    """What removals that were killed have left below `output`."""
    return _folders(output)[1]


def _folders(output: str | Path) -> tuple[list[Path], list[Path]]:
    found: list[str] = []
    aside: list[str] = []
    folders = [str(output)]
    while folders:  # os.scandir, not Path.glob: ten thousand runs are found in a sixth of the time
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name.startswith(ASIDE):
                            aside.append(entry.path)
                        elif not entry.name.startswith("seed-"):
                            folders.append(entry.path)
                        elif entry.name[5:].isdigit() or os.path.exists(f"{entry.path}/{RECORD}"):  # noqa: PTH110
                            found.append(entry.path)
                    elif entry.is_symlink():
                        _name_link(entry, output)
        except FileNotFoundError:
            continue
        except OSError as error:
            if folder == str(output) and not isinstance(error, NotADirectoryError):
                raise RequestError(f"Cannot read {folder}: {error.strerror}.") from None
            log.warning("%s cannot be read (%s): what is in it is left out.", folder, error.strerror)
    return [Path(path) for path in sorted(found)], [Path(path) for path in sorted(aside)]


def _name_link(link: os.DirEntry[str], output: str | Path) -> None:
    """Say that a link to a folder elsewhere is not followed, or that it cannot be."""
    try:
        if link.is_dir() and not Path(link.path).resolve().is_relative_to(Path(output).resolve()):
            log.warning("%s is a link to another folder and is not followed.", link.path)
    except OSError as error:
        log.warning("%s is a link that cannot be followed (%s).", link.path, error.strerror)


def find_runs(output: str | Path) -> list[Path]:
    """Every run folder below `output` that holds a record, in a fixed order. Raises RequestError as `run_folders`."""
    return [folder for folder in run_folders(output) if may_be_there(f"{folder}/{RECORD}")]


def may_be_there(path: str) -> bool:
    """Whether there is something at a path, or nobody can say."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # reading it will say why
        return True
    return True


def best(copies: Sequence[tuple[Record, Path, int]]) -> int:
    """Which of the records of one run and seed counts, each with its folder and how deep that lies.

    A finished one, else a diverged one (`worth`); of several one whose folder is called RUN_ID/seed-N, then the least
    deep, then the one that was written last. Copies that say the same are as old as the oldest of them.
    """
    if len(copies) == 1:
        return 0
    times = [_written(folder) for _, folder, _ in copies]

    def rank(number: int) -> tuple[int, bool, int, float, str]:
        record, folder, depth = copies[number]
        time = min(time for time, (other, *_) in zip(times, copies, strict=True) if other == record)
        return worth(record), not _at_home(record, folder), depth, -time, str(folder)

    return min(range(len(copies)), key=rank)


def unlike(one: Record, other: Record) -> list[str]:
    """The keys in which two records differ."""
    return [name for name in _KEYS if getattr(one, name) != getattr(other, name)]


def worth(record: Record | None) -> int:
    """How far a run has come, the lower the farther: finished, diverged, or neither."""
    return {"finished": 0, "diverged": 1}.get(record.status, 2) if record else 3


def _written(folder: Path) -> float:
    try:
        return os.stat(f"{folder}/{RECORD}").st_mtime  # noqa: PTH116 (ten thousand Paths take a while)
    except OSError:
        return 0.0


def prepare(folder: Path) -> None:
    """Create a run folder. Raises RequestError where it cannot be written, and leaves no new folder then."""
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for path in missing:
            sync(path.parent)
    except OSError as error:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise _cannot_write(folder, error) from None


def _cannot_write(folder: Path, error: OSError) -> RequestError:
    kind = GoneError if isinstance(error, FileNotFoundError) else RequestError
    return kind(f"Cannot write to {folder}: {error.strerror}. Choose another with output=FOLDER.")
