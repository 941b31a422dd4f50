"""Ours beside the published: the difference, and whether it is within tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rnndrop.digits import as_printed, number, plus_minus
from rnndrop.records import SCHEMA, Record
from rnndrop.report.comparable import commonest
from rnndrop.report.published import published
from rnndrop.report.sheet import SHORT
from rnndrop.reproduction import Plan, Reproduction, Row

METRICS = ("valid_perplexity", "test_perplexity", "test_perplexity_mc")
TOLERANCE = 0.01  # of the published value, where no deviation over seeds is published


@dataclass(frozen=True)
class Outcome:
    """One number of one row. `ours` is the mean over `n` seeds, None where nothing has finished.

    `difference` is ours minus the published one; `tolerance` the published deviation over seeds, or 1 % where none is
    given or where it was rounded to zero. At small scale, or with `overrides` that change what is computed, both, and
    `within`, are None: such runs reproduce nothing.
    """

    reproduction: str
    scale: str
    overrides: tuple[str, ...]
    row: str
    metric: str
    n: int
    ours: float | None
    ours_std: float | None
    published: float | None
    published_std: float | None
    source: str | None
    checked: bool | None
    difference: float | None
    tolerance: float | None
    within: bool | None


def outcomes(
    reproduction: Reproduction,
    scale: str,
    measured: Mapping[str, Sequence[Mapping[str, Any]]],
    overrides: Sequence[str] = (),
) -> list[Outcome]:
    """Test perplexity and every other number that was measured or published, row by row.

    `measured`: the metrics of each row's finished runs; `overrides`: those that change what they computed.
    """
    found = [
        _outcome(
            reproduction.name,
            scale,
            tuple(overrides),
            name,
            metric,
            measured.get(name, ()),
            their_row(reproduction, row),
        )
        for name, row in reproduction.rows.items()
        for metric in METRICS
    ]
    return [each for each in found if each.n or each.published is not None or each.metric == "test_perplexity"]


def settle(plans: Sequence[Plan], runs: pd.DataFrame) -> None:
    """Give the jobs of `plans` the states and records of committed `runs` (`results.read`), and no others."""
    found = {(row["identity"], row["seed"]): row for row in runs.to_dict("records")}
    for job in {id(job): job for plan in plans for jobs in plan.jobs.values() for job in jobs}.values():
        row = found.get((job.folder.parent.name, job.config.seed))
        job.state, job.record = "new", None
        if row is not None:
            tree = job.config.model_dump(mode="json")
            metrics = {name: _number(row[name]) for name in (*METRICS, "train_perplexity")}
            job.state = row["status"]
            job.record = Record(SCHEMA, row["run_id"], row["seed"], row["status"], job.overrides, tree, metrics=metrics)


def their_row(reproduction: Reproduction, row: Row) -> pd.DataFrame:
    """The published rows beside one of ours: at most one deterministic and one Monte-Carlo."""
    table = published()
    if row.published is None or reproduction.published is None:
        return table.iloc[:0]
    where = reproduction.published
    same = (table["source"] == where.source) & (table["data"] == where.data) & (table["model"] == where.model)
    return table[same & (table["label"] == row.published)]


def _outcome(
    reproduction: str,
    scale: str,
    overrides: tuple[str, ...],
    row: str,
    metric: str,
    runs: Sequence[Mapping[str, Any]],
    theirs: pd.DataFrame,
) -> Outcome:
    if metric.endswith("_mc"):  # only what was sampled alike is averaged
        usual = commonest([str(run.get("mc")) for run in runs if run.get(metric) is not None])
        runs = [run for run in runs if str(run.get("mc")) == usual]
    values = [float(run[metric]) for run in runs if run.get(metric) is not None and not pd.isna(run[metric])]
    theirs = theirs[theirs["mc"] == metric.endswith("_mc")]
    column = metric.partition("_")[0]
    value = _number(theirs[column].iloc[0]) if len(theirs) else None
    std = _number(theirs[f"{column}_std"].iloc[0]) if value is not None else None
    ours = math.fsum(values) / len(values) if values else None
    comparable = scale == "full" and not overrides
    difference = ours - value if comparable and ours is not None and value is not None else None
    tolerance = None if difference is None or value is None else std or TOLERANCE * value
    return Outcome(
        reproduction,
        scale,
        overrides,
        row,
        metric,
        len(values),
        ours,
        float(pd.Series(values).std()) if len(values) > 1 else None,
        value,
        std,
        str(theirs["source"].iloc[0]) if value is not None else None,
        bool(theirs["checked"].iloc[0]) if value is not None else None,
        difference,
        tolerance,
        None if difference is None or tolerance is None else abs(difference) <= tolerance,
    )


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


HEADER = ("row", "", "n", "ours", "published", "difference", "within")


def cells(outcome: Outcome) -> tuple[str, ...]:
    """An outcome as text under `HEADER`."""
    doubt = "" if outcome.checked is not False else " ?"
    within = difference = ""
    if outcome.difference is not None:
        difference = number(outcome.difference, like=outcome.published, sign="+")
    if outcome.tolerance is not None:
        within = f"{'yes' if outcome.within else 'no'} (± {number(outcome.tolerance, like=outcome.published)})"
    return (
        outcome.row,
        SHORT[outcome.metric],
        str(outcome.n),
        "not yet measured" if outcome.ours is None else plus_minus(outcome.ours, outcome.ours_std),
        as_printed(outcome.published, outcome.published_std) + doubt,
        difference,
        within,
    )
