"""Runs: a configuration's record, from its folder where it is there already."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from rnndrop.config.corpora import corpus_named
from rnndrop.config.metrics import MEASURED
from rnndrop.config.schema import Config
from rnndrop.errors import NotWrittenError, RequestError
from rnndrop.own import held
from rnndrop.runs import environment
from rnndrop.runs.execution import Execution
from rnndrop.runs.loading import check_same
from rnndrop.runs.signals import Interrupted
from rnndrop.runs.watched import Watched
from rnndrop.store import checkpoint, files, heartbeat, records
from rnndrop.store.ownership import check_planned, claims, folder_of, owns, relabelled, unmeasured
from rnndrop.store.progress import Progress, RunObserver, Watching
from rnndrop.store.records import Record, claimed

log = logging.getLogger("rnndrop")


@held()
def run_one(
    config: Config,
    overrides: Sequence[str],
    observer: RunObserver | None = None,
    force: bool = False,
    settled: Collection[str] = ("finished", "diverged"),
    wait: bool = True,
    shared: bool = False,
    planned: Path | None = None,
) -> Record:
    """Run `config`, or return its record where that has one of the statuses `settled`; `observer` is told as it goes.

    What `config` asks for beyond the record of a finished run is measured and added to it. An interrupted or killed run
    goes on from its last checkpoint; `force` starts afresh. A failure keeps its traceback in the record. Where another
    process works on the same run: wait for it, or raise BusyError. `shared`: others may compute on the same GPU; that
    it has too little memory then is raised, and not recorded. `planned`: the folder that it had when it was asked for;
    with another one by now it is refused. Torch's threads and precision are afterwards as before.
    Raises RequestError, before anything is written, for a request that cannot be met, and Interrupted after a
    checkpoint.
    """
    folder, owned, observer = folder_of(config), partial(owns, config), observer or RunObserver()
    if planned is not None:
        check_planned(config, planned)
    known = None
    with suppress(files.DamagedRecordError):  # kept aside below
        known = records.own_record(folder, owned)
    answered = not force and known is not None and records.settles(known, settled, config.label)
    if answered and known and known.data and corpus_named(config.data.name).of_python:
        _check_text(config, folder, known)
    done = answered and known is not None and not unmeasured(config, known) and not _to_claim(config, known, folder)
    if done and known and records.whole(folder) and not checkpoint.paths(folder):
        return _answer(config, folder, known)  # needs no folder that can be written, and most often no corpus

    def new() -> Execution:
        made = Execution(config, overrides, folder)
        check_planned(config, folder)  # a file of data may have changed while it was read
        return made

    run = None if answered else new()  # a request that cannot be met leaves nothing behind
    with claimed(folder, wait), environment.computing(config.trainer):
        found = records.own_record_or_aside(folder, owned)
        if not force and found and records.settles(found, settled, config.label):
            if claims(config, found):
                _relabel(folder, found, config)
            if found.status == "finished":
                with suppress(RequestError):
                    checkpoint.discard(folder)
                if missing := unmeasured(config, found):
                    return (run or new()).measure(_answer(config, folder, found, missing), missing, observer)
            return _answer(config, folder, found)
        if force:
            checkpoint.discard(folder)
        return (run or new()).record(observer, found, shared)


def _relabel(folder: Path, record: Record, config: Config) -> None:
    """Make a trial's record that of a run of its own. Raises NotWrittenError."""
    try:
        records.relabel(folder, record, config.label)
    except OSError as error:
        raise NotWrittenError(
            f"Cannot write {folder / records.RECORD}: {error.strerror}. It stays as it was."
        ) from None


def _check_text(config: Config, folder: Path, record: Record) -> None:
    """Raise RequestError where another text stands under the run id, which does not say what a Python brings."""
    try:
        check_same(config, folder, record)
    except RequestError as error:
        raise RequestError(f"{error} To train on this one, choose another folder with output=FOLDER.") from None


def _to_claim(config: Config, record: Record, folder: Path) -> bool:
    """Whether a trial's record is to become that of a run of its own, and can be."""
    return claims(config, record) and os.access(folder, os.W_OK)


def _answer(config: Config, folder: Path, record: Record, missing: Iterable[str] = ()) -> Record:
    """The record that is there already, and a word about it and about what of it is `missing`."""
    heartbeat.bury(folder)
    if record.status == "finished":
        notes = ["already finished", relabelled(config, record), *(f"measuring {MEASURED[mode]}" for mode in missing)]
        log.info("%s: %s.", folder, "; ".join(filter(None, notes)))
    return record


def run(overrides: Sequence[str] = (), watch: RunObserver | Callable[[Progress], None] | None = None) -> Record:
    """Compose, run and record: `rnndrop.run(["dropout=variational", "seed=1"])`. Raises RequestError.

    `watch` is told as it goes; a function, after every step and every epoch. What it raises is raised here, after a
    checkpoint: the run is interrupted, and the same call goes on with it.
    """
    from rnndrop.config.compose import compose

    config = compose(overrides)
    for line in config.without_effect:
        log.warning(line)
    watched = Watched(watch if isinstance(watch, RunObserver) else Watching(watch)) if watch is not None else None
    try:
        return run_one(config, overrides, watched)
    except Interrupted:
        if watched and watched.error:
            raise watched.error from None
        raise
