"""The plots as text: lines with plotext, the forest and the grid as aligned characters."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rnndrop.config.tasks import task_by_metric
from rnndrop.display.digits import number
from rnndrop.display.foreign import plain
from rnndrop.extras import need
from rnndrop.report import series
from rnndrop.report.sheet import signed, title
from rnndrop.stats import stars

LINES = 5
MARKS = "ox+*#"
LABEL = 34

Lines = Sequence[tuple[str, Sequence[float], Sequence[float]]]
"""(label, x, y) of each line."""


def _plot(
    lines: Lines,
    x: str,
    title: str,
    width: int,
    colour: bool,
    joined: bool = True,
    ticks: Sequence[int] | None = None,
) -> str:
    """Lines, each with its own mark, so that they can be told apart without colour."""
    figure = need("plotext", "plots").figure
    figure.clear()
    figure.theme("simple" if colour else "colorless")
    figure.plot_size(width, max(14, min(24, width // 4)))
    for (_, xs, ys), mark in zip(lines, MARKS, strict=False):
        if joined and len(xs) > 1:  # dots between the marks
            dense = np.linspace(xs[0], xs[-1], width)
            figure.draw(figure.signal(dense.tolist(), np.interp(dense, xs, ys).tolist(), marker="·"))
        figure.draw(figure.signal(list(xs), list(ys), marker=mark))
    figure.title(title)
    figure.label(x)
    if ticks:
        figure.ruler("x").ticks(list(ticks))
    text = str(figure.build().string(not colour))
    legend = textwrap.wrap(
        "   ".join(f"{mark} {plain(label)}" for (label, *_), mark in zip(lines, MARKS, strict=False)), width
    )
    return "\n".join([*(line.rstrip() for line in text.splitlines()), *legend])


def curves(table: pd.DataFrame, runs: pd.DataFrame, metric: str, width: int, colour: bool) -> str:
    """Valid perplexity by epoch of the best groups."""
    found = series.curves(table, runs, LINES)
    lines = [(curve.label, curve.epochs, curve.valid) for curve in found]
    ticks = series.epoch_ticks(max((curve.epochs[-1] for curve in found), default=1))
    return _plot(
        lines, "epoch", f"valid {task_by_metric(metric).title}, the best {len(lines)}", width, colour, ticks=ticks
    )


def rates(
    table: pd.DataFrame, runs: pd.DataFrame, metric: str, width: int, colour: bool, location: str | None = None
) -> str:
    """Perplexity against the rate at a location."""
    lines = [(line.label, line.p, line.mean) for line in series.rates(table, metric, location)[:LINES]]
    return _plot(lines, "rate p", f"{title(metric)}", width, colour)


def calibration(table: pd.DataFrame, runs: pd.DataFrame, metric: str, width: int, colour: bool) -> str:
    """Monte-Carlo against deterministic perplexity."""
    rows = series.calibration(table, metric)
    ends = [min(row.plain for row in rows), max(row.plain for row in rows)]
    lines = [("plans", [row.plain for row in rows], [row.sampled for row in rows]), ("equal", ends, ends)]
    return _plot(
        lines, "deterministic", f"Monte-Carlo test {task_by_metric(metric).title}", width, colour, joined=False
    )


def forest(table: pd.DataFrame, runs: pd.DataFrame, metric: str, width: int, colour: bool) -> str:
    """A line a plan: the change and its 95 % interval, the baseline a vertical bar."""
    rows = series.forest(table, metric)
    name_width = min(LABEL, width // 3, max(len(row.label) for row in rows))
    df_width = max(len(row.freedom) for row in rows) + 1
    cells = max(16, width - name_width - df_width - 20)
    ends = [end for row in rows for end in (row.low, row.high, row.change, 0.0) if not math.isnan(end)]
    low, high = min(ends), max(ends)

    def place(value: float) -> int:
        position: float = (value - low) / ((high - low) or 1) * (cells - 1)
        return round(position)

    lines = [f"{'':{width - df_width}}{'df':>{df_width}}"]
    for row in rows:
        axis = [" "] * cells
        if not math.isnan(row.low):
            axis[place(row.low) : place(row.high) + 1] = "─" * (place(row.high) - place(row.low) + 1)
        axis[place(0)] = "│" if axis[place(0)] == " " else "┼"
        axis[place(row.change)] = "●" if row.p < 0.05 else "○"
        label = plain(row.label)[:name_width].ljust(name_width)
        change = f"{signed(row.change / 100):>7} % {stars(row.p)}"
        lines.append(f"{label}  {''.join(axis)}  {change}".ljust(width - df_width) + f"{row.freedom:>{df_width}}")
    what = f"change of {title(metric)} against {series.against(table)}, over all seeds, 95 % (Welch)"
    note = f"{what}; ● Holm-corrected p < .05"
    return "\n".join([*lines, *textwrap.wrap(plain(note), width)])


def heatmap(table: pd.DataFrame, runs: pd.DataFrame, metric: str, width: int, colour: bool) -> str:
    """Location × kind as numbers."""
    grid = series.heatmap(table, metric)
    first = max(map(len, grid.locations))
    size = max(14, *(len(kind) + 2 for kind in grid.kinds))
    lines = [" " * first + "".join(kind.rjust(size) for kind in grid.kinds)]
    for name, values, rates_ in zip(grid.locations, grid.value, grid.p, strict=True):
        shown = [
            "" if math.isnan(value) else f"{signed(value / 100) + ' %' if grid.relative_to else number(value)} ({p:g})"
            for value, p in zip(values, rates_, strict=True)
        ]
        lines.append(name.ljust(first) + "".join(text.rjust(size) for text in shown))
    against = f", against {grid.relative_to}" if grid.relative_to else ""
    note = f"{title(metric)}{against}; in brackets the rate, the best on valid"
    return "\n".join([*lines, *textwrap.wrap(note, width)])


DRAWINGS: dict[str, Callable[..., Any]] = {
    "curves": curves,
    "forest": forest,
    "rates": rates,
    "heatmap": heatmap,
    "calibration": calibration,
}
