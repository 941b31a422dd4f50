"""What a run reads, and the model that a finished one has left."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from rnndrop.config import corpora, tasks
from rnndrop.config.corpora import corpus_named
from rnndrop.config.identity import content_hash
from rnndrop.config.schema import Config, DataSettings, own_code
from rnndrop.errors import RequestError, shorten
from rnndrop.models.encoder import Encoder
from rnndrop.own import described, is_own, source_hash
from rnndrop.store import files, records
from rnndrop.store.record_schema import check_fingerprint
from rnndrop.store.records import Record
from rnndrop.tasks.base import Data, refusing, task_named, task_of_corpus


@lru_cache(maxsize=2)
def _corpus(settings: DataSettings, stamps: tuple[Any, ...]) -> tuple[Any, dict[str, Any]]:
    task, source = task_of_corpus(settings), corpus_named(settings.name)
    with refusing(tasks.SETTING, task.name, bool(task.source)):
        corpus = task.load(settings)
    with refusing(corpora.SETTING, settings.name, source.file is not None):
        facts = corpus.fingerprint()
    return corpus, _recordable(facts, f"{corpora.SETTING}={settings.name}: what its fingerprint() returns")


def _recordable(facts: Any, what: str) -> dict[str, Any]:
    """A fingerprint as a record will have it. Raises RequestError where none can hold it, or none could be read."""
    if not isinstance(facts, dict):
        raise RequestError(f"{what} is of type {type(facts).__name__}, and not a dict with a sha256.")
    for key, value in facts.items():
        try:
            json.dumps({key: value}, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            text = "nested too deep" if isinstance(error, RecursionError) else repr(value)
            shown = shorten(f"{key!r}: {text}".replace("\n", " "), 100)
            allowed = "Give text, int, finite float, bool, None, and lists and dicts of them."
            raise RequestError(f"{what} is no JSON: {shown}. {allowed}") from None
    text = json.dumps(facts)
    try:
        check_fingerprint(text)
    except ValueError as error:
        raise RequestError(f"{what} fits no record: {error}.") from None
    return json.loads(text)  # type: ignore[no-any-return]


def load_corpus(settings: DataSettings) -> tuple[Any, dict[str, Any]]:
    """What a run reads, and its fingerprint, kept for the next run unless the user's files or code change."""
    paths = (settings.train, settings.valid, settings.test, settings.file)
    stamps = tuple(content_hash(path, is_own(settings.name)) for path in paths if path)  # as the run id has them
    source = corpus_named(settings.name).source
    corpus, facts = _corpus(settings, (*stamps, source))
    return corpus, {**facts, **({"source": described(settings.name, source)} if source else {})}


def check_same(config: Config, folder: Path, record: Record, facts: dict[str, Any] | None = None) -> None:
    """Raise RequestError where the user's code or the corpus, whose fingerprint is `facts`, are others than a run's."""
    own_code(config)
    parts = (*(record.model.get(part) for part in ("task", "cell", "module")), *record.model.get("noises", ()))
    for theirs in filter(None, parts):
        if theirs.get("sha256") != source_hash("model", name := theirs.get("name", "")):
            raise RequestError(f"The source of {name} here is not the one that {folder} was trained with.")
    facts = facts or load_corpus(config.data)[1]
    if facts["sha256"] != record.data.get("sha256"):
        raise RequestError(f"The corpus {config.data.name!r} here is not the one that {folder} was trained on.")


def trained(
    config: Config, folder: Path, record: Record, corpus: Data, facts: dict[str, Any], device: torch.device
) -> Encoder:
    """The model of a finished run with its best weights. Raises RequestError where these, corpus or code are others."""
    check_same(config, folder, record, facts)
    model: Encoder = task_named(config.task).build(config, corpus, device)
    try:
        kept = records.WEIGHTS in record.files or not record.files  # of before: no checksums
        content = files.read_file(folder / records.WEIGHTS) if kept else None
        if content is None:
            why = "are not here" if kept else "were not kept (trainer.keep_weights=false)"
            raise RequestError(
                f"The weights of {folder} {why}. Import them if another folder has them, or train the run again, as"
                f" `rnndrop show {folder}` says, with --force trainer.keep_weights=true."
            )
        if not record.names(records.WEIGHTS, content):
            raise RequestError(
                f"The weights in {folder} do not match its record: they are damaged or belong to another run."
            )
        model.load_state_dict(load(content))
    except (files.DamagedRecordError, SafetensorError, RuntimeError) as error:
        raise RequestError(f"The weights of {folder} cannot be used: {error}") from None
    return model
