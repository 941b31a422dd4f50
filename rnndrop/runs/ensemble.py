"""Finished runs as one model: the mean of their probabilities, each read without dropout. No record is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnndrop.config.identity import asked
from rnndrop.config.schema import Config
from rnndrop.config.tasks import task_spec
from rnndrop.errors import RequestError
from rnndrop.evaluation.perplexity import mean_nll, perplexity
from rnndrop.runs import environment
from rnndrop.runs.reevaluate import device_of, evaluated, finished, load, requested
from rnndrop.store.ownership import run_id_of
from rnndrop.store.records import Record
from rnndrop.tasks.base import task_named

SPLITS = ("valid", "test")


@dataclass(frozen=True)
class Ensemble:
    """Perplexities by split: those of each member, and of the mean of their probabilities; `config` of the first."""

    members: list[dict[str, float]]
    mean: dict[str, float]
    config: Config


def ensemble(
    folders: Sequence[Path], overrides: Sequence[str], tell: Callable[[Path], object] = lambda _: None
) -> Ensemble:
    """Measure the runs in `folders`, of which `tell` hears each in turn, and their mean.

    `overrides` are columns, window or the device; else each run has its own. Raises RequestError where the runs have
    not read the same corpus, or where one is there twice.
    """
    if modes := asked(requested(overrides)):
        raise RequestError(f"--ensemble is deterministic: leave out evaluation.{next(iter(modes))}.")
    found = [finished(folder) for folder in folders]
    _check(folders, found)
    members, nll = [], []
    for folder in folders:
        tell(folder)
        scores = _scores(folder, overrides)
        members.append({split: value for split, (value, _) in scores.items()})
        nll.append({split: of_tokens for split, (_, of_tokens) in scores.items()})
    mean = {split: perplexity(mean_nll(np.stack([each[split] for each in nll]))) for split in SPLITS}
    return Ensemble(members, mean, found[0][1])


def _scores(folder: Path, overrides: Sequence[str]) -> dict[str, tuple[float, np.ndarray]]:
    """A run's perplexity by split, and -ln p (N,) of its tokens."""
    _, config, model, corpus = load(folder, device=device_of(overrides))
    config, scores = evaluated(config, overrides), {}
    with environment.computing(config.trainer):
        for split in SPLITS:
            value, nll = task_named(config.task).score(model, config, corpus, split)
            assert nll is not None  # of every task that predicts tokens
            scores[split] = value, nll
    return scores


def _check(folders: Sequence[Path], found: Sequence[tuple[Record, Config]]) -> None:
    """Raise RequestError, naming the run, where these are not different models of one corpus."""
    first = found[0][0]
    seen: dict[tuple[str, int], Path] = {}
    for folder, (record, config) in zip(folders, found, strict=True):
        if not task_spec(config.task).predicts_tokens:
            raise RequestError(f"{folder} is of task={config.task}, whose score is no perplexity: it has no ensemble.")
        if record.data.get("sha256") != first.data.get("sha256"):
            raise RequestError(
                f"{folder} has another corpus or vocabulary ({_corpus(record)}) than {folders[0]} ({_corpus(first)}): "
                "an ensemble takes runs of one."
            )
        if (key := (run_id_of(record), record.seed)) in seen:
            raise RequestError(f"{folder} is the same run as {seen[key]}: name each run of an ensemble once.")
        seen[key] = folder


def _corpus(record: Record) -> str:
    """What a run has read, in words."""
    data = record.data
    return f"{data.get('name')}: {data.get('train_tokens', 0):,} training tokens, {data.get('vocab_size', 0):,} types"
