"""The metrics by name: what a split is scored by. Every column, sort, plot and export of a report comes from here.

A package adds one to the reports by an entry point of the group `GROUP`. It follows from a score, so it is worked out
for a report and not kept in records: it is the same for all runs, those of before too.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from rnndrop.errors import RequestError
from rnndrop.own import imported, raised, registered

GROUP = "rnndrop.metrics"
OWN_TASK = "own"  # the `task` of the score of every task of the user's own

log = logging.getLogger("rnndrop")

SPLITS = ("train", "valid", "test")
MEASURED = {"mc": "MC", "cache": "cache", "dynamic": "dynamic", "temperature": "temperature"}
"""How a split can be scored after training, besides as it was trained, with its title in a table's header."""

_BESIDE_MC = tuple(mode for mode in MEASURED if mode != "mc")


@dataclass(frozen=True)
class Metric:
    """What a split is scored by: `test_<name>` in records and reports.

    `title` names it to people, `header` stands after the split in a table (empty for the score of a task), and `note`
    below the table. `of` works it out from that score and a configuration; None where it has no meaning, which is
    without the setting that `needs` names. Without `of` it is the score itself, which training lowers and Monte-Carlo
    evaluation samples; `modes` are the other ways of `MEASURED` to score by it.
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
    modes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """What a report can be ranked by, the task's first choice first."""
        names = tuple(f"{split}_{self.name}" for split in ("test", "valid", "train"))
        modes = () if self.of else ("mc", *self.modes)
        return (*names, *(f"{split}_{self.name}_{mode}" for mode in modes for split in ("test", "valid")))


def _bits(perplexity: float, config: Mapping[str, Any]) -> float | None:
    """log2 of the perplexity of a model of characters."""
    of_characters = config["data"].get("level") == "char"
    return math.log2(perplexity) if of_characters and 0 < perplexity < math.inf else None


METRICS = {
    metric.name: metric
    for metric in (
        Metric("perplexity", "language_model", "perplexity", modes=_BESIDE_MC),
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
        Metric(
            "score", OWN_TASK, "score", note="score: as the task defines it, the lower the better", modes=_BESIDE_MC
        ),
    )
}
"""A new metric is one row here. Those of one task stand together, its score first."""


def metric_of(name: str) -> Metric:
    """The metric that a column, as `test_rmse_mc`, or its bare name is of. Raises KeyError where it is none's."""
    bare = next((name.removeprefix(f"{split}_") for split in SPLITS if name.startswith(f"{split}_")), name)
    found = [metric for metric in METRICS.values() if _is_of(bare, metric)] or [
        metric for metric in added() if _is_of(bare, metric)
    ]
    if not found:
        raise KeyError(name)
    return max(found, key=lambda metric: len(metric.name))


def _is_of(bare: str, metric: Metric) -> bool:
    return bare == metric.name or bare.startswith(f"{metric.name}_")


def mode_of(name: str) -> str | None:
    """The way of `MEASURED` in which a column was scored; None: as it was trained. Raises KeyError as `metric_of`."""
    rest = name.partition("_")[2].removeprefix(metric_of(name).name)
    return rest.removeprefix("_") or None


def columns(task: str | None = None) -> list[str]:
    """What a report can be ranked by: the columns of the metrics, of a task or of all."""
    return [name for metric in every() if task is None or metric.task == task for name in metric.columns]


def every() -> list[Metric]:
    """Our metrics, and what packages add."""
    return [*METRICS.values(), *added()]


@cache
def added() -> tuple[Metric, ...]:
    """The metrics that packages register. One that cannot be had is left out of reports, with a word about it."""
    found = []
    for name, (path, owner) in registered(GROUP).items():
        try:
            if not any(_is_of(name, metric) for metric in METRICS.values()):  # ours win
                found.append(_checked(name, path))
        except RequestError as error:
            log.warning("%s. Reports leave out this metric of the package %s.", str(error).rstrip("."), owner)
    return tuple(found)


def _checked(name: str, path: str) -> Metric:
    setting = f"{GROUP}: {name}"
    row, file, _ = imported(setting, path, Metric)
    of, tasks = row.of, {metric.task for metric in METRICS.values()}
    if of is None or row.task not in tasks:
        raise RequestError(
            f"{setting}={path}: in {file}: a metric has `of`, and is for one of {' '.join(sorted(tasks))}"
        )

    @cache
    def tell(said: str) -> None:
        log.warning("%s. Reports leave it empty there.", said)

    def guarded(score: float, config: Mapping[str, Any]) -> float | None:
        try:
            return None if (value := of(score, config)) is None else float(value)
        except Exception as error:
            tell(str(raised(setting, path, file, error)))
            return None

    return replace(row, name=name, of=guarded, modes=())
