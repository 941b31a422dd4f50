"""Finished runs again: rebuilding its model, evaluating it anew."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from rnndrop import data, environment, records
from rnndrop.config import Config, checked
from rnndrop.errors import RequestError
from rnndrop.experiment import build, load_corpus, measure_mc
from rnndrop.model import LanguageModel
from rnndrop.records import Record
from rnndrop.standing import find as find


def load(folder: Path) -> tuple[Record, Config, LanguageModel, data.Corpus | data.Reviews]:
    """The record, configuration, trained model and corpus of a finished run. Raises RequestError."""
    record = records.read_record(folder)
    if record is None or record.status != "finished":
        raise RequestError(f"{folder} has not finished: only a finished run can be evaluated.")
    config = checked(record.config)
    corpus, fingerprint = load_corpus(config.data)
    if fingerprint["sha256"] != record.data["sha256"]:
        raise RequestError(f"The corpus {config.data.name!r} here is not the one that {folder} was trained on.")
    model = build(config, corpus, environment.device(config.trainer.device))
    try:
        model.load_state_dict(load_file(folder / records.WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise RequestError(f"The weights of {folder} cannot be read: {error}") from None
    return record, config, model, corpus


def evaluate_mc(folder: Path, samples: int, masks: str, embedding: bool) -> Record:
    """Measure a finished run by Monte Carlo and add it to its record."""
    record, config, model, corpus = load(folder)
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    mc = config.evaluation.mc.model_copy(update={"samples": samples, "masks": masks, "embedding": embedding})
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"mc": mc})})
    record.metrics |= measure_mc(model, config, corpus)
    records.write_atomically(folder / records.RECORD, record.to_json())
    return record
