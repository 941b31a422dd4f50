"""Finished runs again: rebuilding its model, evaluating it anew."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnndrop.config.compose import compose
from rnndrop.config.identity import GONE, asked, key_of, recorded
from rnndrop.config.schema import Config, checked
from rnndrop.errors import NotWrittenError, RequestError
from rnndrop.evaluation.reading import Listener, heard
from rnndrop.models.encoder import Encoder
from rnndrop.paths import OUTPUT
from rnndrop.runs import environment
from rnndrop.runs.loading import load_corpus, trained
from rnndrop.store import files, records
from rnndrop.store.ownership import COLUMNS
from rnndrop.store.records import Record, claimed, locked
from rnndrop.store.status import find
from rnndrop.tasks.base import task_named

log = logging.getLogger("rnndrop")


def finished(folder: Path) -> tuple[Record, Config]:
    """The record of a finished run, and its configuration. Raises RequestError."""
    try:
        record = records.read_record(folder)
    except files.DamagedRecordError as error:
        raise RequestError(f"{folder / records.RECORD} cannot be used: {error}.") from None
    if record is None or record.status != "finished":
        raise RequestError(f"{folder} has not finished: only a finished run can be evaluated.")
    return record, checked(completed(record.config, recorded(compose([]))))


class Trained(NamedTuple):
    """A finished run with all that it needs: `model` has its best weights, `corpus` its data and vocabulary."""

    record: Record
    config: Config
    model: Encoder
    corpus: Any


def load(run: str | Path, output: str = OUTPUT, device: str | None = None) -> Trained:
    """A finished run by its folder, its id or id/seed-N, on its own device unless another is asked: `rnndrop.load`.

    Raises RequestError.
    """
    folder = find(str(run), output)
    record, config = finished(folder)
    corpus, fingerprint = load_corpus(config.data)
    device_ = environment.device(device or config.trainer.device)
    return Trained(record, config, trained(config, folder, record, corpus, fingerprint, device_), corpus)


def completed(tree: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings of an older record, with the defaults of those that did not exist then: they mean what it did.

    Those that are gone are left out.
    """
    inner = {
        name: completed(tree[name], value, f"{prefix}{name}.")
        for name, value in defaults.items()
        if isinstance(value, dict) and isinstance(tree.get(name), dict)
    }
    known = {name: value for name, value in tree.items() if prefix + name not in GONE}
    return {**defaults, **known, **inner}


def evaluate(folder: Path, overrides: Sequence[str], told: Listener = lambda what, fraction: None) -> Record:
    """Evaluate a finished run as `overrides` say, and add the results to its record.

    They are settings of `evaluation`, or the device. Columns and window are those of the run unless they say otherwise.
    `told` is called with what is being read, and how much of it has been. Raises RequestError.
    """
    check_asked(overrides)
    with claimed(folder, wait=True):  # hours of measuring are lost where nothing may be written
        pass
    record, own, model, corpus = load(folder, device=device_of(overrides))
    config = evaluated(own, overrides)
    for line in config.idle_samples:
        log.warning(line)
    with environment.computing(config.trainer), heard(told):
        found = task_named(config.task).measure(model, config, corpus, asked(config))
    for name in COLUMNS:
        if (value := getattr(config.evaluation, name)) != getattr(own.evaluation, name):
            found |= {mode: {**found[mode], f"evaluation.{name}": value} for mode in asked(config)}
    with locked(folder, wait=True):
        measured, record = record.files, records.read_record(folder) or record  # others may have written meanwhile
        if record.files != measured:
            raise RequestError(f"{folder} was trained again while its old weights were measured: measure it once more.")
        record.metrics |= found
        try:
            files.write_atomically(folder / records.RECORD, record.to_json())
        except OSError as error:
            scores = " ".join(f"{name}={value}" for name, value in found.items() if not isinstance(value, dict))
            raise NotWrittenError(f"Cannot write to {folder}: {error.strerror}. Measured: {scores}") from None
    return record


def check_asked(overrides: Sequence[str]) -> None:
    """Raise RequestError where nothing is to be measured."""
    if not asked(requested(overrides)):
        raise RequestError(
            "Nothing is asked for: give --mc N, evaluation=cache, evaluation=dynamic or evaluation=temperature."
        )


def requested(overrides: Sequence[str]) -> Config:
    """The settings that a finished run is to be evaluated with. Raises RequestError for settings of anything else."""
    for override in overrides:
        key = key_of(override)
        if key.partition(".")[0] != "evaluation" and key != "trainer.device":
            raise RequestError(f"{override}: a finished run can only be given settings of `evaluation` and a device.")
    return compose(overrides)


def device_of(overrides: Sequence[str]) -> str | None:
    """The device that is asked for; None: that of the run."""
    return compose(overrides).trainer.device if "trainer.device" in map(key_of, overrides) else None


def evaluated(config: Config, overrides: Sequence[str]) -> Config:
    """A run's configuration with another evaluation, columns, window and device its own unless said.

    Raises RequestError.
    """
    own = [f"evaluation.{name}={getattr(config.evaluation, name)}" for name in COLUMNS]
    evaluation = compose([*own, *overrides]).evaluation
    trainer = config.trainer.model_copy(update={"device": device_of(overrides) or config.trainer.device})
    return checked(config.model_copy(update={"evaluation": evaluation, "trainer": trainer}).model_dump(mode="json"))
