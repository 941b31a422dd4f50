"""`rnndrop report`."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from rnndrop.errors import RequestError, unknown
from rnndrop.report.compare import compare
from rnndrop.report.frames import METRICS, load_runs
from rnndrop.report.select import last, sort, where
from rnndrop.report.tables import DATA, STYLES, render


@dataclass
class Request:
    """What was asked for on the command line."""

    path: str
    style: str = "rich"
    metric: str = "test_perplexity"
    baseline: str | None = None
    where: list[str] = field(default_factory=list)
    last: str | None = None
    sort: str | None = None
    only_changed: bool = False
    hide_failed: bool = False
    bootstrap: bool = False
    published: bool = False
    html: str | None = None
    strict: bool = False


def report(request: Request) -> int:
    """Print the comparison, or write the page; return the exit code. Skipped records are named on stderr."""
    if request.style not in STYLES:
        raise unknown("report format", request.style, STYLES)
    if request.metric not in METRICS:
        raise unknown("metric", request.metric, METRICS)
    runs, skipped = load(request.path, request.where, request.last)
    shown = runs[runs["status"] == "finished"] if request.hide_failed else runs
    if shown.empty:
        raise RequestError(f"None of the {len(runs)} runs in {request.path} has finished.")
    table = compare(shown, request.metric, request.baseline, request.bootstrap, intervals=request.style in DATA)
    if request.sort:
        table = sort(table, request.sort)
    if request.published:
        from rnndrop.report.published import beside

        table = beside(table)
    if request.html:
        from rnndrop.report.page import write_page

        write_page(Path(request.html), table, shown, request.metric)
        print(f"{request.html}: {len(shown)} runs, {Path(request.html).stat().st_size / 1e6:.1f} MB")
    else:
        print(render(table, shown, request.style, request.metric, request.only_changed))
        if request.style in DATA:
            from rnndrop.report.sheet import failures

            for line in failures(shown, table):
                print(line, file=sys.stderr)
    return 1 if skipped and request.strict else 0


def load(path: str, conditions: list[str], span: str | None) -> tuple[pd.DataFrame, int]:
    """The runs asked for, and how many records had to be left out (each is named on stderr)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            runs = load_runs(path)
        finally:
            for warning in caught:
                print(f"warning: {warning.message}", file=sys.stderr)
    chosen = where(runs, conditions)
    if span:
        chosen = last(chosen, span)
    if chosen.empty:
        raise RequestError(f"None of the {len(runs)} runs in {path} meets --where or --last.")
    return chosen, len(caught)
