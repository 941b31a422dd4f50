"""Where the runs of a folder stand, whoever runs them and wherever: read from their folders. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnndrop import checkpoint, heartbeat, records
from rnndrop.errors import RequestError, unknown
from rnndrop.records import DamagedRecordError, Record
from rnndrop.task import Task, score, task_of_row


@dataclass(frozen=True)
class Standing:
    """One run: `state` is new, resumable, running, damaged (its record cannot be read) or its record's status."""

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
    def valid(self) -> list[float]:
        """The valid score of each epoch so far."""
        try:
            return [score(row, "valid") for row in records.read_history(self.folder)]
        except (OSError, ValueError, KeyError):
            return []


def task(run: Standing) -> Task:
    """What a run's scores are, as far as its history shows."""
    with suppress(OSError, ValueError):
        return task_of_row(next(iter(records.read_history(run.folder)), {}))
    return task_of_row({})


def standing(folder: Path) -> Standing:
    """Where a run stands. One that was interrupted or killed is resumable if it has a checkpoint, else new."""
    record, problem = None, ""
    try:
        record = records.read_record(folder)
    except DamagedRecordError as error:
        problem = str(error)
    beat = heartbeat.read(folder) or {}
    if heartbeat.alive(folder):
        state = "running"
    elif record and record.status != "interrupted":
        state = record.status
    elif problem:
        state = "damaged"
    else:
        state = "resumable" if checkpoint.paths(folder) else "new"
    return Standing(folder, state, record, beat, problem)


def folders(output: str | Path) -> Iterator[Path]:
    """Every run folder below `output`, with or without a record, in a fixed order."""
    return (path for path in sorted(Path(output).glob("**/seed-*")) if path.is_dir())


def find(name: str, output: str | Path) -> Path:
    """The folder of a run, named by its folder, by `<run id>/seed-<n>`, or by the run id (then the lowest seed).

    A run id may be shortened. Raises RequestError, with the runs that there are.
    """
    if Path(name).is_dir() and Path(name).name.startswith("seed-"):
        return Path(name)
    run, _, seed = name.partition("/")
    there = list(folders(output))
    found = [folder for folder in there if folder.parent.name.startswith(run) and folder.name.startswith(seed)]
    if not found or not name:
        raise unknown(f"run in {output}", name, [f"{folder.parent.name}/{folder.name}" for folder in there])
    if len({folder.parent for folder in found}) > 1:
        raise RequestError(f"{name!r} names several runs: {' '.join(sorted({f.parent.name for f in found}))}")
    chosen, *others = sorted(found, key=lambda folder: int(folder.name.removeprefix("seed-")))
    if others:
        also = " ".join(f"{folder.parent.name}/{folder.name}" for folder in others)
        records.log.info("%s has %d seeds; this is %s. The others: %s", name, len(found), chosen.name, also)
    return chosen
