"""`rnndrop plot`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from rnndrop.config.metrics import columns
from rnndrop.display import terminal
from rnndrop.dropout.rule import LOCATIONS
from rnndrop.errors import RequestError, unknown
from rnndrop.report.compare import compare
from rnndrop.report.decided import decisions
from rnndrop.report.searched import searches
from rnndrop.report.select import tasks
from rnndrop.report.sheet import failures
from rnndrop.values import Drawing

from .output import show
from .report import load


def plot(kind: Drawing, path: str, output: str | None, metric: str | None, baseline: str | None,
         location: str | None, conditions: list[str], span: str | None, hide_failed: bool,
         width: str | None = None, font: float | None = None) -> int:  # fmt: skip
    """Draw in the terminal, or into the file `output`; return the exit code."""
    if output is None and (width, font) != (None, None):
        raise RequestError(f"--{'font-size' if width is None else 'width'} is for a file: add -o FIG.pdf.")
    inches = None if width is None else _inches(width)
    if metric is not None and metric not in columns():
        raise unknown("metric", metric, columns())
    if location is not None and location not in LOCATIONS:
        raise unknown("dropout location", location, LOCATIONS)
    if kind == "trials":
        if conditions or span:
            raise RequestError("plot trials draws the searches of a folder as they are: leave out --where and --last.")
        _draw(kind, (None, None, ""), {"found": searches(path)}, output, inches, font)
        return 0
    runs, _ = load([path], conditions, span)
    for line in [] if hide_failed else failures(runs):
        print(line, file=sys.stderr)
    count = len(runs)
    found = decisions([path], runs) if kind == "decisions" else []
    runs = runs[runs["status"] == "finished"]
    if runs.empty:
        raise RequestError(f"None of the {count} runs in {path} has finished.")
    if runs["data_sha256"].nunique(dropna=False) > 1:
        names = ", ".join(runs["data"].unique())
        raise RequestError(
            f"These runs used different data ({names}). Choose with --where data=… or --where data_sha256=…"
        )
    metric = metric or f"test_{tasks(runs)[0].metric}"
    table = compare(runs, metric, (baseline or "none") if kind == "forest" else None)
    options: dict[str, Any] = {"location": location} if kind == "rates" else {}
    if kind == "decisions":
        options = {"found": found}
    _draw(kind, (table, runs, metric), options, output, inches, font)
    return 0


def _draw(kind: Drawing, of: tuple[Any, Any, str], options: dict[str, Any], output: str | None,
          inches: float | None, font: float | None) -> None:  # fmt: skip
    """Draw `of` a table, its runs and a metric; the searches of a folder need none of these."""
    if output is None:
        from rnndrop.report.terminal import DRAWINGS

        show(DRAWINGS[kind](*of, terminal.width(), terminal.colours(), **options))
    else:
        from rnndrop.report.figures import PLOTS, Page, save

        save(PLOTS[kind](*of, page=Page(inches, font or Page.font), **options), Path(output))
        print(output)


UNITS = {"in": 1, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}


def _inches(width: str) -> float:
    """A width of `--width` in inches. Raises RequestError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(in|cm|mm|pt)", width.strip())
    inches = float(found[1]) * UNITS[found[2]] if found else 0
    if not 2 <= inches <= 20:
        raise RequestError(f"--width {width} is no width from 2 to 20 inches, as 3.25in, 8.25cm or 234pt.")
    return inches
