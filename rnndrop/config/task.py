"""The tasks and the metrics: what is predicted, and what that is scored by. No torch here: reports read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rnndrop.config.sources import SOURCES
from rnndrop.errors import RequestError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Metric:
    """What a split is scored by: `test_<name>` in records and reports.

    `title` names it to people, `header` stands after the split in a table (empty for the score of a task), and `note`
    below the table. `of` works it out from that score and a configuration; None where it has no meaning, which is
    without the setting that `needs` names. Without `of` it is the score itself, which training lowers and Monte-Carlo
    evaluation samples.
    """

    name: str
    task: str
    title: str
    header: str = ""
    digits: int = 4
    lower_is_better: bool = True
    of: Callable[[float, Mapping[str, Any]], float | None] | None = None
    needs: str = ""
    note: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """What a report can be ranked by, the task's first choice first."""
        names = tuple(f"{split}_{self.name}" for split in ("test", "valid", "train"))
        return names if self.of else (*names, f"test_{self.name}_mc", f"valid_{self.name}_mc")


def _bits(perplexity: float, config: Mapping[str, Any]) -> float | None:
    """log2 of the perplexity of a model of characters."""
    of_characters = config["data"].get("level") == "char"
    return math.log2(perplexity) if of_characters and 0 < perplexity < math.inf else None


METRICS = {
    metric.name: metric
    for metric in (
        Metric("perplexity", "language_model", "perplexity"),
        Metric(
            "bits_per_character",
            "language_model",
            "bits per character",
            "bits",
            of=_bits,
            needs="data.level=char",
            note="bits: per character, log2 of the perplexity",
        ),
        Metric("rmse", "sentiment", "RMSE", note="RMSE in units of the ratings"),
    )
}
"""A new metric is one row here. Those of one task stand together, its score first."""


@dataclass(frozen=True)
class Task:
    """A task: the module that has its `TASK` (`rnndrop.tasks.base`), and the settings that mean nothing in it.

    `idle` ones do nothing, whatever they are; `refused` ones are an error where they ask for something, with the
    reason; `needed` ones must not be null.
    """

    name: str
    module: str
    idle: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ()

    @property
    def score(self) -> Metric:
        """What training lowers."""
        return next(metric for metric in METRICS.values() if metric.task == self.name and not metric.of)

    @property
    def metric(self) -> str:
        """The name of its score."""
        return self.score.name

    @property
    def title(self) -> str:
        """Its score in words."""
        return self.score.title

    @property
    def corpora(self) -> list[str]:
        """The names of the corpora that it takes."""
        return [source.name for source in SOURCES.values() if source.task == self.name]


_OF_REVIEWS = "it is for reviews."
_ONE_NUMBER = "its decoder predicts one number."
_OF_A_STREAM = "it is for training on one long text."
_READS = "it reads one long text, and reviews are separate texts."

TASKS = {
    task.name: task
    for task in (
        Task(
            "language_model",
            "rnndrop.tasks.language_model",
            refused=dict.fromkeys(("data.split_by", "data.chunk_tokens", "data.types"), _OF_REVIEWS),
        ),
        Task(
            "sentiment",
            "rnndrop.tasks.sentiment",
            idle=("trainer.window", "trainer.loss", "evaluation.window"),
            refused={
                "model.tie_weights": _ONE_NUMBER,
                "dropout.weight_decoder.p": _ONE_NUMBER,
                **dict.fromkeys(
                    [f"trainer.{name}" for name in ("random_window", "ar", "tar", "nonmono", "finetune_epochs")],
                    _OF_A_STREAM,
                ),
                "evaluation.cache.size": _READS,
                "evaluation.dynamic.rule": _READS,
                "data.train_tokens": "it cuts one long text, and reviews are separate texts.",
            },
            needed=("data.split_by", "data.chunk_tokens"),
        ),
    )
}
"""A new task is one row here, a row in METRICS, and a module."""


def task_of(config: Mapping[str, Any]) -> Task:
    """The task of a record's configuration; those from before there were two are language models."""
    return TASKS[config.get("task", "language_model")]


def metric_of(name: str) -> Metric:
    """The metric that a column, as `test_rmse_mc`, or its bare name is of. Raises KeyError where it is none's."""
    bare = next((name.removeprefix(f"{split}_") for split in SPLITS if name.startswith(f"{split}_")), name)
    found = [metric for metric in METRICS.values() if bare == metric.name or bare.startswith(f"{metric.name}_")]
    if not found:
        raise KeyError(name)
    return max(found, key=lambda metric: len(metric.name))


def task_by_metric(name: str) -> Task:
    """The task that a column is of. Raises KeyError where it is none's."""
    return TASKS[metric_of(name).task]


def columns(task: Task | None = None) -> list[str]:
    """What a report can be ranked by: the columns of the metrics, of a task or of all."""
    return [name for metric in METRICS.values() if task is None or metric.task == task.name for name in metric.columns]


def score(row: Mapping[str, Any], split: str) -> float:
    """A split's score in a record's metrics or in a row of a history, whatever the task. Raises KeyError."""
    return float(row[f"{split}_{task_of_row(row).metric}"])


def task_of_row(row: Mapping[str, Any]) -> Task:
    """The task whose score, of whichever split, a record's metrics or a row of a history holds.

    A row without any score, as that of a run that has no epoch yet, is taken for a language model's.
    """
    held = (task for task in TASKS.values() if any(f"{split}_{task.metric}" in row for split in SPLITS))
    return next(held, TASKS["language_model"])


def derived(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, float]:
    """What follows from the scores in a record's metrics: `test_bits_per_character`, where it has a meaning."""
    task = task_of(config)
    found = {
        f"{split}_{metric.name}": metric.of(value, config)
        for metric in METRICS.values()
        for split in ("valid", "test", "train")
        if metric.task == task.name and metric.of
        and isinstance(value := metrics.get(f"{split}_{task.metric}"), (int, float))
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def check_task(tree: Mapping[str, Any]) -> None:
    """Raise RequestError where the settings of a checked configuration do not fit its task."""
    task, name = TASKS[tree["task"]], tree["data"]["name"]
    if name in SOURCES and SOURCES[name].task != task.name:
        raise RequestError(
            f"data={name} is for task={SOURCES[name].task}, and this is task={task.name}, which takes: "
            + " ".join(task.corpora)
        )
    for key, reason in task.refused.items():
        if _setting(tree, key):
            raise RequestError(f"{key.removesuffix('.p')} has no meaning for task={task.name}: {reason}")
    for key in task.needed:
        if _setting(tree, key) is None:
            raise RequestError(f"{key}=null: task={task.name} needs it.")


def _setting(tree: Mapping[str, Any], key: str) -> Any:
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return value
