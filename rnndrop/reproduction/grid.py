"""A grid of cells and plans as tables: the scores, what each plan changes, and which factor was kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from rnndrop.decisions.race import Rule
from rnndrop.display.digits import number, plus_minus
from rnndrop.reproduction.measured import Measured
from rnndrop.reproduction.recipe import Grid, in_grid
from rnndrop.sweeps.scheduler import Job
from rnndrop.sweeps.tuning import winner

ALPHA = 0.05
VERDICTS = ("better", "worse", "equal", "undecided")

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""A header, and rows as long."""


def verdict(row: Mapping[Any, Any]) -> str:
    """What a line of a comparison (`rnndrop.report.compare.compare`) says of its difference from the baseline.

    Equal: its interval lies within the margin of `rnndrop decide`, 1 %. Better or worse: p, corrected by Holm for all
    plans of the cell, is below .05. Empty where there is nothing to test.
    """
    low, high, p, margin = row["change_low"], row["change_high"], row["p_holm"], Rule().margin
    if pd.isna(p):
        return ""
    if -margin < math.log1p(low) and math.log1p(high) < margin:
        return "equal"
    if p >= ALPHA:
        return "undecided"
    return "better" if row["change"] < 0 else "worse"


def scores(measured: Measured, grid: Grid) -> Table:
    """Mean ± std of test perplexity by plan and cell; bold is the lowest of a cell, and n where it is unusual."""
    found, metric = _lines(measured), "test_perplexity"
    usual = Counter(line["n"] for line in found.values()).most_common(1)[0][0]
    lowest = {
        cell: min((row for plan in grid.plans if (row := in_grid(cell, plan)) in found),
                  key=lambda row: found[row][metric], default="")
        for cell in grid.cells
    }  # fmt: skip

    def shown(cell: str, plan: str) -> str:
        row = in_grid(cell, plan)
        if row not in found:
            return ""
        line = found[row]
        text = plus_minus(line[metric], line[f"{metric}_std"])
        text = text if line["n"] == usual else f"{text} (n {line['n']})"
        return f"**{text}**" if row == lowest[cell] else text

    return _table(grid, shown)


def changes(measured: Measured, grid: Grid) -> Table:
    """What each plan changes against the baseline of its cell, in per cent with its interval, and the verdict."""
    found = _lines(measured)

    def shown(cell: str, plan: str) -> str:
        row = in_grid(cell, plan)
        return f"{change(found[row])} {verdict(found[row])}" if row in found and _tested(found[row]) else ""

    header, rows = _table(grid, shown)
    return header, [row for row in rows if row[0] != f"`{measured.reproduction.baseline}`"]


def tally(measured: Measured) -> str:
    """How many of the differences are decided, and how: "63 differences: 40 better, …"."""
    said = Counter(verdict(line) for line in _lines(measured).values() if _tested(line))
    parts = [f"{said[each]} {each}" for each in VERDICTS]
    parts += [f"{said['']} of one seed, which are not tested"] * bool(said[""])
    return f"{sum(said.values())} differences: {', '.join(parts)}"


def factors(measured: Measured, grid: Grid) -> Table:
    """The factor of the rates that each row kept."""
    kept = {plan.row: plan.factor for plan in measured.plans if plan.search}

    def shown(cell: str, plan: str) -> str:
        factor = kept.get(in_grid(cell, plan))
        return "" if factor is None else f"{factor:g}"

    header, rows = _table(grid, shown)
    return header, [row for row in rows if any(row[1:])]


def edges(measured: Measured) -> str:
    """How many searches ended at an edge, beyond which nothing was tried."""
    kept = [plan.factor for plan in measured.plans if plan.search and plan.factor is not None]
    smallest, largest = (kept.count(end(measured.reproduction.factors)) for end in (min, max))
    ends = f"{largest} ended at the largest and {smallest} at the smallest"
    return f"Of {len(kept)} searches {ends}, and none beyond was tried."


def first(measured: Measured, grid: Grid) -> Table:
    """Valid perplexity of what was tried first with the baseline of each cell; bold is what was kept."""
    tried = {plan.row: plan.first for plan in measured.plans}
    body = []
    for cell in grid.cells:
        jobs = tried[in_grid(cell, measured.reproduction.baseline or "")]
        kept = winner(jobs)
        shown = [(each, valid(job)) for each, job in jobs.items()]
        body.append((f"`{cell}`", *(f"**{text}**" if each == kept else text for each, text in shown)))
    return ("", *(f"`{each}`" for each in grid.first)), body


def valid(job: Job) -> str:
    """The valid perplexity of a job of a search, or what has become of it."""
    return number(job.record.metrics["valid_perplexity"]) if job.record and job.state == "finished" else job.state


def change(row: Mapping[Any, Any]) -> str:
    """A difference from the baseline in per cent with its interval, of a line of a comparison."""
    change, low, high = (row[name] for name in ("change", "change_low", "change_high"))
    if pd.isna(change):
        return "–"
    bounds = "" if pd.isna(low) else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{100 * change:+.1f} %{bounds}"


def _tested(line: Mapping[Any, Any]) -> bool:
    return "change" in line and not pd.isna(line["change"])


def _lines(measured: Measured) -> dict[str, dict[Any, Any]]:
    return {line["row"]: line for line in measured.compared.to_dict("records")}


def _table(grid: Grid, shown: Callable[[str, str], str]) -> Table:
    rows = [(f"`{plan}`", *(shown(cell, plan) for cell in grid.cells)) for plan in grid.plans]
    return ("", *(f"`{cell}`" for cell in grid.cells)), rows
