"""`rnndrop.table`: the comparison as a frame that shows itself, in a notebook or printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rnndrop.errors import RequestError
from rnndrop.paths import OUTPUT
from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.report.select import tasks, where, without_trials
from rnndrop.report.sheet import failures
from rnndrop.report.tables import DATA, footer, render
from rnndrop.values import Interval


@dataclass(frozen=True)
class Table:
    """A comparison: `frame` has its rows, `runs` what they are of; printed it is the table of `rnndrop report`."""

    frame: pd.DataFrame
    runs: pd.DataFrame
    metric: str

    def __str__(self) -> str:
        return self.text("rich")

    def __repr__(self) -> str:
        return self.text("rich")

    def _repr_html_(self) -> str:
        return self.text("html")

    def text(self, style: str) -> str:
        """The table as rich, md, latex, html, csv or json, and what did not finish. Raises RequestError."""
        text, lost = render(self.frame, self.runs, style, self.metric), failures(self.runs)
        return text if style in DATA or not lost else f"{text}\n\n{footer(lost, style)}"


def table(
    *folders: str | Path,
    metric: str | None = None,
    baseline: str | None = None,
    conditions: Sequence[str] = (),
    interval: Interval = "seeds",
) -> Table:
    """Compare runs, mean ± std over seeds: `rnndrop.table(baseline="none")`. Raises RequestError.

    `conditions` are those of `--where`, as `model=lstm`. Without a `metric` it is the test score of the runs' task;
    those of several tasks need one.
    """
    runs = without_trials(where(load_runs(*(folders or (OUTPUT,))), conditions), conditions)
    if runs.empty:
        raise RequestError(f"No run matches {' '.join(conditions) or 'a report: all are trials of searches'}.")
    names = [f"test_{task.metric}" for task in tasks(runs)]
    if metric is None and len(names) > 1:
        raise RequestError(f"These runs belong to several tasks. Give a metric: {' or '.join(names)}")
    metric = metric or names[0]
    return Table(compare(runs, metric, baseline, interval=interval, intervals=False), runs, metric)
