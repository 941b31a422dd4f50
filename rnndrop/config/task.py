"""What is predicted, and what that is scored by. No torch here: displays and reports read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnndrop.errors import RequestError


@dataclass(frozen=True)
class Task:
    """A task: the `metric` of its splits (lower is better), its `title` in words, and the `corpora` it takes."""

    name: str
    metric: str  # part of the names in records: `valid_<metric>`
    title: str
    corpora: tuple[str, ...]


TASKS = {
    task.name: task
    for task in (
        Task("language_model", "perplexity", "perplexity", ("synthetic", "pydoc", "ptb", "wikitext2", "text")),
        Task("sentiment", "rmse", "RMSE", ("movie_reviews", "reviews")),
    )
}
SPLITS = ("train", "valid", "test")


BITS = "bits_per_character"
"""What perplexity is at character level, part of the names in records: `test_bits_per_character`."""


def task_of(config: Mapping[str, Any]) -> Task:
    """The task of a record's configuration; those from before there were two are language models."""
    return TASKS[config.get("task", "language_model")]


def task_by_metric(name: str) -> Task:
    """The task that a metric, as `rmse` or `test_rmse_mc`, belongs to. Raises KeyError where it is none's."""
    bare = next((name.removeprefix(f"{split}_") for split in SPLITS if name.startswith(f"{split}_")), name)
    if bare == BITS:
        return TASKS["language_model"]
    for task in TASKS.values():
        if bare == task.metric or bare.startswith(f"{task.metric}_"):
            return task
    raise KeyError(name)


def score(row: Mapping[str, Any], split: str) -> float:
    """A split's score in a record's metrics or in a row of a history, whatever the task. Raises KeyError."""
    return float(row[f"{split}_{task_of_row(row).metric}"])


def task_of_row(row: Mapping[str, Any]) -> Task:
    """The task whose score, of whichever split, a record's metrics or a row of a history holds.

    A row without any score, as that of a run that has no epoch yet, is taken for a language model's.
    """
    held = (task for task in TASKS.values() if any(f"{split}_{task.metric}" in row for split in SPLITS))
    return next(held, TASKS["language_model"])


def bits_per_character(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, float]:
    """log2 of each split's perplexity, as `test_bits_per_character`; empty for a model of words."""
    if config["data"].get("level") != "char":
        return {}
    found = {split: metrics.get(f"{split}_perplexity") for split in ("valid", "test", "train")}
    return {
        f"{split}_{BITS}": math.log2(value)
        for split, value in found.items()
        if isinstance(value, (int, float)) and 0 < value < math.inf
    }


def check_task(tree: Mapping[str, Any]) -> None:
    """Raise RequestError where the settings of a checked configuration do not fit its task."""
    task, name = TASKS[tree["task"]], tree["data"]["name"]
    if any(name in other.corpora for other in TASKS.values()) and name not in task.corpora:
        home = next(other for other in TASKS.values() if name in other.corpora)
        raise RequestError(
            f"data={name} is for task={home.name}, and this is task={task.name}, which takes: {' '.join(task.corpora)}"
        )
    if task.name != "sentiment":
        for key in ("split_by", "chunk_tokens", "types"):
            if tree["data"][key] is not None:
                raise RequestError(f"data.{key} has no meaning for task={task.name}: it is of reviews.")
        return
    for key in ("split_by", "chunk_tokens"):
        if tree["data"][key] is None:
            raise RequestError(f"data.{key}=null: task=sentiment needs it.")
    if tree["model"]["tie_weights"]:
        raise RequestError("model.tie_weights has no meaning for task=sentiment: its decoder gives one number.")
    if tree["dropout"]["weight_decoder"]["p"]:
        raise RequestError("dropout.weight_decoder has no meaning for task=sentiment: its decoder gives one number.")
    trainer, modes = tree["trainer"], tree["evaluation"]
    for key in ("random_window", "ar", "tar", "nonmono", "finetune_epochs"):
        if trainer[key]:
            raise RequestError(f"trainer.{key} has no meaning for task=sentiment: it is of training on a stream.")
    if modes["cache"]["size"] or modes["dynamic"]["rule"]:
        raise RequestError("evaluation=cache and evaluation=dynamic read a stream of text; task=sentiment has none.")
    if tree["data"]["train_tokens"] is not None:
        raise RequestError("data.train_tokens cuts a stream of text; reviews have none.")
