"""The tasks by name: what of each displays, reports and run ids need. Light: what a task does is in `rnndrop.tasks`.

One of the user's own is a class in a file of theirs, which `task=PACKAGE.MODULE:NAME` names (`rnndrop.own`). Its score
is called `score`, so that a report can show it without the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rnndrop.config.corpora import CORPORA, FILES, CorpusSpec
from rnndrop.config.metrics import METRICS, OWN_TASK, SPLITS, Metric, metric_of
from rnndrop.errors import RequestError
from rnndrop.own import Found, imported, is_own

GROUP = "rnndrop.tasks"
SETTING = "task"
BASE = "rnndrop.tasks.base", "Task"  # the class that a task is of, which is not to be imported here


@dataclass(frozen=True)
class TaskSpec:
    """A task: the module that has its `TASK` (`rnndrop.tasks.base`), and the settings that mean nothing in it.

    `idle` ones do nothing, whatever they are; `refused` ones are an error where they ask for something, with the
    reason; `needed` ones must not be null. `predicts_tokens`: much `<unk>` makes its score mean
    little, and floors and published rows are of it.
    """

    name: str
    module: str
    idle: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    predicts_tokens: bool = False

    @property
    def score(self) -> Metric:
        """What training lowers."""
        of = self.name if self.name in TASKS else OWN_TASK
        return next(metric for metric in METRICS.values() if metric.task == of and not metric.of)

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
        return [source.name for source in CORPORA.values() if source.task == self.name or is_own(self.name)]


_OF_REVIEWS = "it is for reviews."
_ONE_NUMBER = "its decoder predicts one number."
_STREAM_SETTINGS = ("random_window", "random_offset", "ar", "tar", "norm_stabiliser", "nonmono", "finetune_epochs")
_OF_A_STREAM = "it is for training on one long text."
_READS = "it reads one long text, and reviews are separate texts."
_PROBABILITIES = "it acts on probabilities, and a rating has none."
_NOTHING = dict.fromkeys([f"evaluation.mc.{name}" for name in ("power", "temperature", "rate")], 1)  # ask for nothing

TASKS = {
    task.name: task
    for task in (
        TaskSpec(
            "language_model",
            "rnndrop.tasks.language_model",
            refused=dict.fromkeys(("data.split_by", "data.chunk_tokens", "data.types"), _OF_REVIEWS),
            predicts_tokens=True,
        ),
        TaskSpec(
            "sentiment",
            "rnndrop.tasks.sentiment",
            idle=("trainer.window", "trainer.loss", "evaluation.window"),
            refused={
                "model.tie_weights": _ONE_NUMBER,
                "model.module": "it predicts the next token.",
                "twin.loss": "it is between two predictions of the next token.",
                "dropout.weight_decoder.p": _ONE_NUMBER,
                "dropout.token.p": _READS,
                "dropout.carry.p": _READS,
                **dict.fromkeys([f"trainer.{name}" for name in _STREAM_SETTINGS], _OF_A_STREAM),
                "trainer.adversarial_softmax": _ONE_NUMBER,
                "evaluation.cache.size": _READS,
                "evaluation.dynamic.rule": _READS,
                "evaluation.temperature.tune": _PROBABILITIES,
                **dict.fromkeys(("evaluation.mc.power", "evaluation.mc.temperature"), _PROBABILITIES),
                "data.train_tokens": "it cuts one long text, and reviews are separate texts.",
            },
            needed=("data.split_by", "data.chunk_tokens"),
        ),
    )
}
"""A new task is one row here, a row in METRICS, and a module."""

OF_A_LANGUAGE_MODEL = tuple(TASKS["sentiment"].refused)
"""The settings that only a language model acts on. A task of the user's own refuses those that it does not `take`."""


def task_spec(name: str) -> TaskSpec:
    """The task of a setting or of a metric. Raises KeyError where there is none."""
    return TaskSpec(name, "") if is_own(name) or name == OWN_TASK else TASKS[name]


def task_of(config: Mapping[str, Any]) -> TaskSpec:
    """The task of a record's configuration; those from before there were two are language models."""
    return task_spec(config.get("task", "language_model"))


def task_by_metric(name: str) -> TaskSpec:
    """The task that a column is of, of the user's own any. Raises KeyError where it is none's."""
    return task_spec(metric_of(name).task)


def score(row: Mapping[str, Any], split: str) -> float:
    """A split's score in a record's metrics or in a row of a history, whatever the task. Raises KeyError."""
    return float(row[f"{split}_{task_of_row(row).metric}"])


def task_of_row(row: Mapping[str, Any]) -> TaskSpec:
    """The task whose score, of whichever split, a record's metrics or a row of a history holds.

    A row without any score, as that of a run that has no epoch yet, is taken for a language model's.
    """
    every = (*TASKS.values(), task_spec(OWN_TASK))
    held = (task for task in every if any(f"{split}_{task.metric}" in row for split in SPLITS))
    return next(held, TASKS["language_model"])


def derived(
    metrics: Mapping[str, Any], config: Mapping[str, Any], rows: Iterable[Metric] | None = None
) -> dict[str, float]:
    """What follows from the scores in a record's metrics: `test_bits_per_character`, where it has a meaning.

    `rows`: of which metrics; None: of ours.
    """
    task = task_of(config)
    score = task.metric
    found = {
        f"{split}_{metric.name}": metric.of(value, config)
        for metric in (METRICS.values() if rows is None else rows) if metric.task == task.score.task and metric.of
        for split in ("valid", "test", "train")
        if isinstance(value := metrics.get(f"{split}_{score}"), (int, float))
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def check_task(tree: Mapping[str, Any]) -> None:
    """Raise RequestError where the settings of a checked configuration do not fit its task."""
    task, name = task_spec(tree["task"]), tree["data"]["name"]
    if name in CORPORA:
        check_corpus(CORPORA[name], task.name)
        check_files(tree["data"], CORPORA[name])
    check_refused(tree, task.refused, f"task={task.name}")
    for key in task.needed:
        if _setting(tree, key) is None:
            raise RequestError(f"{key}=null: task={task.name} needs it.")


def check_corpus(corpus: CorpusSpec, task: str) -> None:
    """Raise RequestError where a corpus is for another task. One of the user's own takes any of ours too."""
    if corpus.task != task and not (is_own(task) and corpus.task in TASKS):
        raise RequestError(
            f"data={corpus.name} is for task={corpus.task}, and this is task={task}, which takes: "
            + " ".join(task_spec(task).corpora)
        )


def check_files(data: Mapping[str, Any], corpus: CorpusSpec) -> None:
    """Raise RequestError where `data` names files that its corpus does not read."""
    given = [f"data.{name}" for name in FILES if data[name] is not None and name not in corpus.files]
    if given:
        key = given[0].removeprefix("data.")
        takers = " or ".join(f"data={each.name}" for each in CORPORA.values() if key in each.files)
        raise RequestError(f"{given[0]} is for {takers}, and this is data={corpus.name}.")


def own_task(name: str) -> Found[type]:
    """A task of the user's own from its file as that is now. Raises RequestError where it cannot be had."""
    found = imported(SETTING, name, type)
    if not any((base.__module__, base.__qualname__) == BASE for base in found.row.__mro__):
        raise RequestError(f"{SETTING}={name}: in {found.file} it is no {'.'.join(BASE)}.")
    if lacking := sorted(getattr(found.row, "__abstractmethods__", ())):
        raise RequestError(f"{SETTING}={name}: in {found.file} it lacks {' '.join(lacking)}.")
    return found


def check_own_task(tree: Mapping[str, Any]) -> None:
    """Raise RequestError where a task of the user's own cannot be had, or settings have no meaning for it."""
    name = tree[SETTING]
    takes = getattr(own_task(name).row, "takes", ())
    left = {
        key: "the class of the task does not list it in `takes`." for key in OF_A_LANGUAGE_MODEL if key not in takes
    }
    check_refused(tree, left, f"{SETTING}={name}")


def check_refused(tree: Mapping[str, Any], refused: Mapping[str, str], what: str) -> None:
    """Raise RequestError where one of the settings `refused` for `what`, each with its reason, asks for something."""
    for key, reason in refused.items():
        value = _setting(tree, key) or _asks(tree, key)
        if value != _NOTHING[key] if key in _NOTHING else value:
            raise RequestError(f"{key.removesuffix('.p')} has no meaning for {what}: {reason}")


def _asks(tree: Mapping[str, Any], key: str) -> bool:
    """Whether a setting asks for something; the rate of a location, whether one of its rules has one."""
    group, _, part = key.rpartition(".")
    if group.startswith("dropout.") and part == "p":
        own = _setting(tree, group)
        return any(rule["p"] for rule in (own, *own["also"]))
    return bool(_setting(tree, key))


def _setting(tree: Mapping[str, Any], key: str) -> Any:
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return value
