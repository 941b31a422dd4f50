"""Whose a record and a folder are: the identity of a configuration (`rnndrop.config.identity`) met in the store."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path

from rnndrop.config.corpora import FILES
from rnndrop.config.identity import MODES, PATHS, asked, digest, former, former_id, identity, later, run_id
from rnndrop.config.schema import Config
from rnndrop.errors import RequestError
from rnndrop.store import files, records
from rnndrop.store.records import Record


def folder_of(config: Config) -> Path:
    """Where a run's files are: under its run id, or under its former one if they are there already."""
    before = own = records.run_folder(config.output, run_id(config), config.seed)
    try:
        if own.is_dir() or not _may_be_former(config.output):
            return own
        before = records.run_folder(config.output, former_id(config), config.seed)
        record = records.read_record(before) if before.is_dir() else None
    except files.UnreadableError:  # it may be this run's; whoever wants it will hear
        return before
    except (files.DamagedRecordError, OSError):
        return own
    return before if record is not None and owns(config, record) else own


def _may_be_former(output: str) -> bool:
    """Whether an output folder may have runs with ids of before; a grid asks for each of its runs."""
    try:
        status = Path(output).stat()
        return _has_former(output, status.st_mtime_ns, status.st_ino)
    except FileNotFoundError:
        return False
    except OSError:  # it may be entered and not listed
        return True


@lru_cache(maxsize=8)
def _has_former(output: str, *stamps: int) -> bool:
    return any(former(name) for name in os.listdir(output))  # noqa: PTH208 (names alone)


def owns(config: Config, record: Record) -> bool:
    """Whether a record is of this very run: the configurations are compared, since an id may be shared."""
    if record.seed != config.seed or record.run_id not in (run_id(config), former_id(config)):
        return False
    try:
        theirs = identity(record.config, revised=not former(record.run_id))
    except (KeyError, TypeError, AttributeError):
        return False
    ours = identity(config.model_dump(mode="json"))
    return all(json.dumps(ours.get(name)) == json.dumps(theirs.get(name)) for name in {*ours, *theirs} - PATHS)


def run_id_of(record: Record) -> str:
    """The id that the configuration of a record has today; its own where that cannot be known.

    Of the user's files a record of before keeps the path alone.
    """
    data = record.config.get("data", {})
    if not former(record.run_id) or any(data.get(name) for name in FILES):
        return record.run_id
    try:
        return digest(identity(record.config, revised=False))
    except (KeyError, TypeError, AttributeError):
        return record.run_id


def record_of(output: Path, run_id: str, seed: int) -> Record | None:
    """The record of a run, which may lie below an id of before. Raises DamagedRecordError and UnreadableError."""
    home = records.run_folder(output, run_id, seed)
    if home.is_dir():
        return records.read_record(home)
    try:
        folders = records.find_runs(output)
    except RequestError:  # it may be written to, and not listed
        return None
    near = (records.read_record(folder) for folder in folders if folder.name == home.name)
    return next((record for record in near if record and run_id_of(record) == run_id), None)


COLUMNS = ("batch_size", "window")
"""How `evaluation` reads a text; what was measured with others than the run's own says so."""


def unmeasured(config: Config, record: Record) -> list[str]:
    """Those that it asks for and that the record of its finished run does not have, with these settings."""
    there = {mode: {**later(mode), **(record.metrics.get(mode) or {})} for mode in MODES}
    read = {f"evaluation.{name}": getattr(config.evaluation, name) for name in COLUMNS}
    wanted = {
        mode: own | {name: value for name, value in read.items() if name in there[mode]}
        for mode, own in asked(config).items()
    }
    return [mode for mode, own in wanted.items() if not own.items() <= there[mode].items()]


def is_planned(config: Config, folder: Path) -> bool:
    """Whether a run is still the one that its folder was chosen for: its run id, by the files as they are, is that."""
    return folder.parent.name in (run_id(config), former_id(config))


def check_planned(config: Config, folder: Path) -> None:
    """Raise RequestError where it is not."""
    if not is_planned(config, folder):
        raise RequestError(
            f"{folder}: a data file or code of your own that this run reads has changed since the command began. Run"
            " the command again: it takes the files as they are now."
        )


def claims(config: Config, record: Record) -> bool:
    """Whether a run is asked for, no longer as a trial of a search, that is recorded as one."""
    return records.is_trial(record.config.get("label")) and not records.is_trial(config.label)


def relabelled(config: Config, record: Record) -> str:
    """What is to be said where a finished run is asked for under another label; empty where there is nothing."""
    label = record.config.get("label")
    if config.label in (None, label):
        return ""
    return f"label={config.label} is not recorded: the run has {f'label={label}' if label else 'no label'} and keeps it"
