"""Finished runs as jobs of a sweep that measures them further, and trains none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rnndrop.config.identity import former, key_of
from rnndrop.errors import RequestError
from rnndrop.runs.loading import check_same
from rnndrop.runs.reevaluate import check_asked, evaluated, finished
from rnndrop.store import records
from rnndrop.store.ownership import COLUMNS, folder_of
from rnndrop.sweeps.scheduler import Job, survey


def check_for_many(overrides: Sequence[str]) -> None:
    """Raise RequestError where `overrides` cannot be measured of many runs."""
    check_asked(overrides)
    for each in overrides:
        if key_of(each) in {f"evaluation.{name}" for name in COLUMNS}:
            raise RequestError(f"{each}: several runs are measured with their own columns and window. Leave it out.")


def to_measure(folder: Path, overrides: Sequence[str]) -> Job:
    """The job that measures the run in `folder`: finished where its record has that already, else unmeasured.

    Running where somebody is at it, or was until a moment ago: the sweep waits for its lock, not for its last beat.
    Raises RequestError where the run cannot be measured.
    """
    folder = folder if len(folder.parts) > 1 else folder.absolute()  # of `seed-0` the parents are unknown
    record, config = finished(folder)
    config = evaluated(config, overrides).model_copy(update={"output": str(folder.parent.parent)})
    job = Job(record.overrides, config, folder, f"{folder.parent.name}/{folder.name}")
    if folder_of(config) == folder:
        survey(job)
    if job.state != "finished" and not (folder / records.WEIGHTS).is_file():
        raise RequestError(f"{folder} has no weights (trainer.keep_weights=false, or they were not imported).")
    if job.state not in ("finished", "unmeasured", "running"):  # a sweep would train it
        check_same(config, folder, record)
        reason = "has a run id of before, of eight digits" if former(record.run_id) else "is not at its run's own place"
        raise RequestError(f"{folder} {reason}: it is measured if it is named alone, with rnndrop eval {folder}")
    return job
