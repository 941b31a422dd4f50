"""Ours beside the published: the difference, and whether it is within tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rnndrop.config.identity import float32_id, key_of, run_id
from rnndrop.config.tasks import TASKS, TaskSpec, task_spec
from rnndrop.display.digits import as_printed, number, plus_minus
from rnndrop.report.comparable import commonest
from rnndrop.report.frames import how
from rnndrop.report.published import comparable, published
from rnndrop.report.sheet import header
from rnndrop.reproduction.recipe import Plan, Reproduction, Row
from rnndrop.store.records import SCHEMA, Record
from rnndrop.sweeps.scheduler import Job

TOLERANCE = 0.01  # of the published value, where no deviation over seeds is published


@dataclass(frozen=True)
class Outcome:
    """One number of one row. `ours` is the mean over `n` seeds, None where nothing has finished.

    `published` is the number as it is printed there, `comparable` the same in our convention: another one where their
    code counts otherwise (`valid_comparable` of `results/reference`). `difference` is ours minus the comparable one;
    `tolerance` the published deviation over seeds, or 1 % where none is given or where it was rounded to zero. At small
    scale, or with `overrides` that change what is computed, both, and `within`, are None: such runs reproduce nothing.
    `sampled` is how a Monte-Carlo score was, in which the runs that it is of agree; None where that is not known.
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
    comparable: float | None
    source: str | None
    checked: bool | None
    difference: float | None
    tolerance: float | None
    within: bool | None
    sampled: str | None = None


def outcomes(
    reproduction: Reproduction,
    scale: str,
    measured: Mapping[str, Sequence[Mapping[str, Any]]],
    overrides: Sequence[str] = (),
    task: TaskSpec = TASKS["language_model"],
) -> list[Outcome]:
    """The test score and every other number that was measured or published, row by row.

    `measured`: the metrics of each row's finished runs; `overrides`: those that change what they computed; `task`:
    that of the runs. What is published in `results/reference` are perplexities.
    """
    found = []
    for name, row in reproduction.rows.items():
        theirs = their_row(reproduction, row) if task.predicts_tokens else published().iloc[:0]
        runs = measured.get(name, ())
        found += [
            _outcome(reproduction.name, scale, tuple(overrides), name, metric, runs, theirs)
            for metric in metrics_of(task)
        ]
    return [each for each in found if each.n or each.published is not None or each.metric == f"test_{task.metric}"]


def finished(plans: Sequence[Plan]) -> dict[str, list[Record]]:
    """The records of the finished runs that each row is reported by."""
    return {plan.row: [job.record for job in plan.chosen if job.record and job.state == "finished"] for plan in plans}


def metrics(plans: Sequence[Plan]) -> dict[str, list[Mapping[str, Any]]]:
    """What those runs came to, as `outcomes` takes it."""
    return {row: [record.metrics for record in records] for row, records in finished(plans).items()}


def precisions(plans: Sequence[Plan]) -> dict[str, str]:
    """The `trainer.precision` of each row's runs, as `bf16`, or `bf16 float32` where they differ."""
    found = {row: {record.config["trainer"].get("precision", "float32") for record in records}
             for row, records in finished(plans).items()}  # fmt: skip
    return {row: " ".join(sorted(each)) for row, each in found.items() if each}


def metrics_of(task: TaskSpec) -> tuple[str, ...]:
    """What a reproduction reports of a task's runs."""
    return (f"valid_{task.metric}", f"test_{task.metric}", f"test_{task.metric}_mc")


def settle(jobs: Iterable[Job], runs: pd.DataFrame) -> None:
    """Give jobs the states and records of committed `runs` (`committed.read`), and no others.

    A run counts whatever its `trainer.precision`; of those that differ in nothing else one that has finished, of these
    one that is as planned, and of these the last.
    """
    alike: dict[tuple[str, int], list[dict[Any, Any]]] = {}  # those that differ in precision alone
    for row in runs.to_dict("records"):
        alike.setdefault((row["float32_id"], row["seed"]), []).append(row)
    for job in jobs:
        task, seed = task_spec(job.config.task), job.config.seed
        job.state, job.record = "new", None
        if found := alike.get((float32_id(job.config), seed)):
            planned = run_id(job.config)
            row = max(reversed(found), key=lambda row: (row["status"] == "finished", row["identity"] == planned))
            names = (*metrics_of(task), f"train_{task.metric}")
            metrics = {name: _number(row[name]) for name in names} | {"mc": None if pd.isna(row["mc"]) else row["mc"]}
            tree = job.config.model_dump(mode="json")
            tree["trainer"]["precision"] = row["settings"]["trainer.precision"]
            job.state = row["status"]
            job.record = Record(SCHEMA, row["identity"], seed, row["status"], job.overrides, tree, metrics=metrics)


def their_row(reproduction: Reproduction, row: Row) -> pd.DataFrame:
    """The published rows beside one of ours: at most one deterministic and one Monte-Carlo."""
    table = published()
    if row.published is None or reproduction.published is None:
        return table.iloc[:0]
    where = reproduction.published
    same = (
        (table["source"] == (row.source or where.source))
        & (table["data"] == where.data)
        & (table["model"] == where.model)
    )
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
    sampled = None
    if metric.endswith("_mc"):  # only what was sampled alike is averaged
        sampled = commonest([_sampled(run) for run in runs if run.get(metric) is not None])
        runs = [run for run in runs if _sampled(run) == sampled]
    values = [float(run[metric]) for run in runs if run.get(metric) is not None and not pd.isna(run[metric])]
    theirs = theirs[theirs["mc"] == metric.endswith("_mc")]
    column = metric.partition("_")[0]
    value = _number(theirs[column].iloc[0]) if len(theirs) else None
    std = _number(theirs[f"{column}_std"].iloc[0]) if value is not None else None
    like_ours = _number(comparable(theirs.iloc[0], column)) if value is not None else None
    ours = math.fsum(values) / len(values) if values else None
    held = scale == "full" and not _of_what_is_computed(overrides)
    difference = ours - like_ours if held and ours is not None and like_ours is not None else None
    tolerance = None if difference is None or like_ours is None else std or TOLERANCE * like_ours
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
        like_ours,
        str(theirs["source"].iloc[0]) if value is not None else None,
        bool(theirs["checked"].iloc[0]) if value is not None else None,
        difference,
        tolerance,
        None if difference is None or tolerance is None else abs(difference) <= tolerance,
        sampled or None,
    )


def _sampled(run: Mapping[str, Any]) -> str:
    """How a run was evaluated by Monte Carlo: in words already if it comes from a CSV."""
    found = run.get("mc")
    return "" if found is None else found if isinstance(found, str) else how(found)


def _of_what_is_computed(overrides: Sequence[str]) -> list[str]:
    """Overrides without those of rounding: a row in bf16 is held to what is published as one in float32 is."""
    return [each for each in overrides if key_of(each) != "trainer.precision"]


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
    ours = outcome.comparable
    like_ours = "" if ours is None or ours == outcome.published else f" ({number(ours, like=outcome.published)})"
    return (
        outcome.row,
        header(outcome.metric),
        str(outcome.n),
        "not yet measured" if outcome.ours is None else plus_minus(outcome.ours, outcome.ours_std),
        as_printed(outcome.published, outcome.published_std) + like_ours + doubt,
        difference,
        within,
    )


def notes(found: Sequence[Outcome], why: str, rounded: Mapping[str, str]) -> list[str]:
    """How to read the cells of `found`: what stands in brackets, if anything does, and `why`.

    `rounded`: the precision of rows (`precisions`), of which those that are not in float32 are named.
    """
    brackets = "In brackets: the published number as it is when every token counts, with which ours is compared"
    bracketed = any(each.comparable != each.published for each in found)
    others = ", ".join(f"{row} ({precision})" for row, precision in rounded.items() if precision != "float32")
    if len(rounded) > 1 and len(set(rounded.values())) == 1:
        others = others and f"all rows ({next(iter(rounded.values()))})"
    sampled = [each for each in found if each.ours is not None and each.sampled]
    ways = {way.sampled: ", ".join(each.row for each in sampled if each.sampled == way.sampled) for way in sampled}
    return [
        *([f"{brackets} ({why})."] if bracketed else []),
        *(f"MC: {way}{f' ({among})' if len(ways) > 1 else ''}." for way, among in ways.items()),
        *(
            [f"Not in float32; other rounding can move a number as far as another seed does: {others}."]
            if others
            else []
        ),
    ]
