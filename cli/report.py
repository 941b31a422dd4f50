"""`rnndrop report`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

import pandas as pd

from rnndrop.config.metrics import columns
from rnndrop.config.tasks import task_by_metric
from rnndrop.display.foreign import plain
from rnndrop.errors import RequestError, unknown
from rnndrop.report.comparable import caveats
from rnndrop.report.compare import compare
from rnndrop.report.decided import decisions, lines, with_decisions
from rnndrop.report.frames import is_file_of_runs, load_runs
from rnndrop.report.searched import lucky, searches
from rnndrop.report.select import last, sort, tasks, where, without_trials
from rnndrop.report.sheet import failures, names
from rnndrop.report.tables import DATA, footer, remarks, render
from rnndrop.values import Interval, Style

from .output import paged, show


@dataclass
class Request:
    """What was asked for on the command line."""

    paths: list[str]
    style: Style = "rich"
    metric: str | None = None
    baseline: str | None = None
    where: list[str] = field(default_factory=list)
    last: str | None = None
    columns: str | None = None
    sort: str | None = None
    only_changed: bool = False
    hide_failed: bool = False
    bootstrap: bool = False
    interval: Interval = "seeds"
    published: bool = False
    paper: bool = False
    caption: str | None = None
    label: str | None = None
    html: str | None = None
    strict: bool = False


def report(request: Request) -> int:
    """Print the comparison, or write the page; return the exit code. Skipped records are named on stderr.

    What did not finish is named below the tables, or on stderr where stdout is for programs or for a file's name.
    """
    if request.metric is not None and request.metric not in columns():
        raise unknown("metric", request.metric, columns())
    if request.paper:
        _check_paper(request)
        request = replace(request, style="latex")
    elif (request.caption, request.label) != (None, None):
        raise RequestError(f"--{'label' if request.caption is None else 'caption'} needs --paper.")
    if request.html is not None and (request.columns or request.only_changed):
        raise RequestError("--html writes every column: leave out --columns and --only-changed.")
    runs, skipped = load(request.paths, request.where, request.last)
    done = runs[runs["status"] == "finished"]
    shown = done if request.hide_failed else runs
    lost, aside = failures(shown), request.style in DATA or request.html is not None
    if done.empty:
        lost = [f"None of the {len(runs)} runs in {' '.join(request.paths)} has finished.", *failures(runs)]
        if aside:
            print("\n".join(lost), file=sys.stderr)
        else:
            show(footer(lost, request.style))
        return 1
    metrics = [request.metric] if request.metric else [f"test_{task.metric}" for task in tasks(done)]
    tables = [_table(request, shown, metric) for metric in metrics]
    chosen = _chosen(request, tables, metrics)
    found, chosen_by = decisions(request.paths, runs), lucky(request.paths, done)
    if request.html is not None:
        if len(tables) > 1:
            raise RequestError(
                "These runs belong to several tasks, but a page shows one. Choose it, as in --where task=sentiment."
            )
        from rnndrop.report.page import write_page

        searched = [each for path in request.paths for each in searches(path)]
        write_page(Path(request.html), tables[0], shown, metrics[0], found, searched, _asked(request), chosen_by)
        print(f"{request.html}: {len(shown)} runs, {Path(request.html).stat().st_size / 1e6:.1f} MB")
    else:
        if request.style in DATA:  # one table for programs, with the columns of both tasks
            tables = [pd.concat(tables, ignore_index=True)] if len(tables) > 1 else tables
            tables[0] = with_decisions(tables[0], found)
        if request.paper:
            from rnndrop.report.paper import render as typeset
        parts = [
            typeset(table, shown, metric, chosen, request.caption, request.label)
            if request.paper
            else render(
                _only(table, metric, chosen) if request.style in DATA else table,
                shown,
                request.style,
                metric,
                request.only_changed,
                chosen,
            )
            for table, metric in zip(tables, metrics, strict=False)
        ]
        if not aside:
            below = ((remarks, lines(found)), (footer, chosen_by), (footer, lost))
            parts += [draw(each, request.style) for draw, each in below if each]
        text = "\n\n".join(parts)
        paged(text) if request.style == "rich" else print(text)
    if aside:
        groups = shown.groupby("data_sha256", sort=False, dropna=False) if request.style in DATA else ()
        warned = [*(line for _, own in groups for line in caveats(own)), *chosen_by]
        for line in [*(f"! {line}" for line in warned), *lost]:
            print(line, file=sys.stderr)
    return 1 if skipped and request.strict else 0


def _asked(request: Request) -> str:
    """Of which folders the runs are, and how they were chosen among."""
    conditions = [f"--where {each}" for each in request.where]
    conditions += [f"--last {request.last}"] * (request.last is not None) + ["--hide-failed"] * request.hide_failed
    return plain(" ".join([*request.paths, *conditions]))


def _check_paper(request: Request) -> None:
    if request.style not in ("rich", "latex"):
        raise RequestError(f"--paper prints LaTeX: leave out --format {request.style}.")
    if request.html is not None:
        raise RequestError("--paper prints LaTeX, and --html writes a page: leave out one.")


def _table(request: Request, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The comparison of the runs that have the metric."""
    table = compare(
        runs, metric, request.baseline, request.bootstrap, request.interval, intervals=request.style in DATA
    )
    if request.sort is not None:
        table = sort(table, request.sort, names(table, metric))
    if request.published and task_by_metric(metric).predicts_tokens:
        from rnndrop.report.published import beside

        table = beside(table)
    return table


def _chosen(request: Request, tables: Sequence[pd.DataFrame], metrics: Sequence[str]) -> list[str]:
    """The columns that were asked for. Raises RequestError for one that is in no table."""
    asked = request.columns
    there = dict.fromkeys(name for each in zip(tables, metrics, strict=True) for name in names(*each))
    chosen = [name.strip() for name in asked.split(",")] if asked is not None else []
    for name in chosen:
        if name not in there:
            more = "" if request.baseline else "\nWith --baseline also: change df"
            raise RequestError(f"{unknown('column', name, there)}{more}")
    return chosen


def _only(table: pd.DataFrame, metric: str, chosen: Sequence[str]) -> pd.DataFrame:
    """The dropout and the chosen columns, as they are in the comparison."""
    meant = names(table, metric)
    return (
        table[list(dict.fromkeys(["dropout", *(meant[name] for name in chosen if name in meant)]))] if chosen else table
    )


def load(paths: list[str], conditions: list[str], span: str | None = None) -> tuple[pd.DataFrame, int]:
    """The runs asked for, and how many records had to be left out (each is named on stderr)."""
    for path in paths:
        if "=" in path and not Path(path).is_dir():
            raise RequestError(f"{path} is no folder of runs. To choose among them: --where {path}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            runs = load_runs(*paths)
            if files := [Path(path) for path in paths if is_file_of_runs(path)]:
                from rnndrop.reproduction.measured import named

                runs = reduce(named, files, runs)
        finally:
            for warning in caught:
                print(f"warning: {warning.message}", file=sys.stderr)
    chosen = where(runs, conditions)
    if span is not None:
        chosen = last(chosen, span)
    chosen, found = without_trials(chosen, conditions), chosen
    if trials := found.drop(chosen.index)["label"].to_list():
        labels = ",".join(dict.fromkeys(trials))
        print(f"{len(trials)} trials of searches are left out: --where label={labels} shows them.", file=sys.stderr)
    if chosen.empty:
        asked = " and ".join(["--where"] * bool(conditions) + ["--last"] * bool(span))
        places = f"{len(runs)} runs in {' '.join(paths)}"
        raise RequestError(f"None of the {places} matches {asked}." if asked else f"All {places} are trials.")
    return chosen, len(caught)
