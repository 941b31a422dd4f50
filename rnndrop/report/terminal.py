"""The plots as text: lines with plotext, the forest and the grid as aligned characters."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.style import Style

from rnndrop.config.tasks import task_by_metric
from rnndrop.decisions.document import Decision
from rnndrop.display.digits import number
from rnndrop.display.foreign import plain
from rnndrop.errors import RequestError
from rnndrop.extras import need
from rnndrop.report import series
from rnndrop.report.decided import Story, stories
from rnndrop.report.searched import Searched
from rnndrop.report.sheet import signed, title
from rnndrop.report.spread import Bars, bars
from rnndrop.stats import stars

LINES = 5
MARKS = "ox+*#@%&"
DOCUMENTS = 3

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
    ticks = series.epoch_ticks(max(curve.epochs[-1] for curve in found))
    return _plot(
        lines, "epoch", f"valid {task_by_metric(metric).title}, the best {len(lines)}", width, colour, ticks=ticks
    )


def rates(
    table: pd.DataFrame, runs: pd.DataFrame, metric: str, width: int, colour: bool, location: str | None = None
) -> str:
    """Perplexity against the rate at a location."""
    every = series.rates(table, metric, location)
    lines = [(line.label, line.p, line.mean) for line in every[:LINES]]
    more = _more(len(every) - LINES, "lines", ": narrow with --where")
    return _plot(lines, "rate p", f"{title(metric)}", width, colour) + more


def _more(count: int, what: str, advice: str = "") -> str:
    """A line that says how many are not there, if any."""
    return f"\n{count} more {what} not shown{advice}" if count > 0 else ""


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
    name_width = min(width // 3, max(len(row.label) for row in rows))
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
        *above, label = textwrap.wrap(plain(row.label), name_width, break_on_hyphens=False) or [""]
        lines += above
        label = label.ljust(name_width)
        change = f"{signed(row.change / 100):>7} % {stars(row.p)}"
        lines.append(f"{label}  {''.join(axis)}  {change}".ljust(width - df_width) + f"{row.freedom:>{df_width}}")
    what = f"change of {title(metric)} against {series.against(table)}, over all seeds, 95 % (Welch)"
    note = f"{what}; ● Holm-corrected p < .05"
    return "\n".join([*lines, *textwrap.wrap(plain(note), width)])


def heatmap(table: pd.DataFrame, runs: pd.DataFrame, metric: str, width: int, colour: bool) -> str:
    """Location × kind as numbers."""
    grid = series.heatmap(table, metric)
    first = max(map(len, grid.locations)) + 1
    size = max(14, *(len(kind) + 2 for kind in grid.kinds))
    bound = max(series.NARROW, float(np.nanmax(np.abs(grid.value)))) if grid.relative_to else 0.0
    lines = [" " * first + "".join(f"{kind} ".rjust(size) for kind in grid.kinds).rstrip()]
    for name, values, rates_ in zip(grid.locations, grid.value, grid.p, strict=True):
        shown = [
            "" if math.isnan(value) else f"{signed(value / 100) + ' %' if grid.relative_to else number(value)} ({p:g})"
            for value, p in zip(values, rates_, strict=True)
        ]
        cells = [_shaded(f"{text} ".rjust(size), value / bound if colour and bound else None)
                 for text, value in zip(shown, values, strict=True)]  # fmt: skip
        lines.append(name.ljust(first) + "".join(cells).rstrip(" "))
    if colour and bound:
        bar = "".join(_shaded("  ", (step - 8) / 8) for step in range(17))
        lines.append(f"{'':{first}}  {signed(-bound / 100)} % {bar} {signed(bound / 100)} %")
    against = f", against {grid.relative_to}" if grid.relative_to else ""
    of = f", of {plain(grid.about)}" if grid.about else ""
    note = f"{title(metric)}{against}{of}; in brackets the rate, the best on valid"
    more = _more(grid.others, "plans with other settings", ": narrow with --where")
    return "\n".join([*lines, *textwrap.wrap(note, width)]) + more


def _shaded(text: str, share: float | None) -> str:
    """A cell on a ground from violet, lower than nothing, by white to orange, as the figure has it; 1 is the bound."""
    if share is None or math.isnan(share):
        return text
    far = (94, 60, 153) if share < 0 else (230, 97, 1)
    red, green, blue = (round(247 + (end - 247) * min(abs(share), 1)) for end in far)
    ink = "rgb(0,0,0)" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "rgb(255,255,255)"
    return Style.parse(f"{ink} on rgb({red},{green},{blue})").render(text)


def decisions(
    table: pd.DataFrame, runs: pd.DataFrame, metric: str, width: int, colour: bool, found: Sequence[Decision] = ()
) -> str:
    """The evidence by seed, up to what decides."""
    every = stories(found)
    parts = [_decision(each, width, colour) for each in every[:DOCUMENTS]]
    more = len(every) - DOCUMENTS
    return "\n\n".join([*parts, *([f"{more} more decisions not shown: narrow with --where"] if more > 0 else [])])


def _decision(shown: Story, width: int, colour: bool) -> str:
    lines: list[tuple[str, Sequence[float], Sequence[float]]] = [
        (f"decides: E ≥ {shown.bound:.4g}", [1, shown.looks], [math.log10(shown.bound)] * 2)
    ]
    for course in shown.courses[: (len(MARKS) - 1) // 2]:
        for what, values in (("a difference", course.differ), (f"equal within {shown.margin}", course.equal)):
            there = [(seeds, math.log10(value)) for seeds, value in zip(course.seeds, values, strict=True)
                     if not math.isnan(value)]  # fmt: skip
            lines.append((f"{course.label}: {what}", [x for x, _ in there], [y for _, y in there]))
    drawn = _plot(lines, "seeds", "log10 of the evidence E", width, colour, ticks=series.epoch_ticks(shown.looks))
    more = len(shown.courses) - (len(MARKS) - 1) // 2
    note = [f"{more} more pairs not shown: -o draws them"] if more > 0 else []
    return "\n".join([*textwrap.wrap(plain(shown.said), width), drawn, *note])


def variance(table: pd.DataFrame, runs: pd.DataFrame, metric: str, width: int, colour: bool) -> str:
    """A bar a source of chance: the std of ln test score, its interval, and its share of the variance."""
    every = bars(table, runs)
    most = max(row.high or row.std or 0 for plan in every for row in plan.rows)
    note = "std of ln test score with its 95 % interval, of so many runs; share of the variance of all seeds"
    return "\n".join([*(line for plan in every for line in _bars(plan, most, width)), *textwrap.wrap(note, width)])


def _bars(plan: Bars, most: float, width: int) -> list[str]:
    cells = max(10, width - 43)
    lines = textwrap.wrap(plain(plan.label), width, break_on_hyphens=False)
    for row in plan.rows:
        at = [
            0 if value is None else round(value / (most or 1) * (cells - 1)) for value in (row.std, row.low, row.high)
        ]
        axis = ["█"] * at[0] + [" "] * (cells - at[0])
        axis[max(at[0], at[1]) : at[2] + 1] = "─" * (at[2] + 1 - max(at[0], at[1])) if row.high is not None else ""
        std, share = (
            "" if value is None else f"{value:.{digits}%}" for value, digits in ((row.std, 2), (row.share, 0))
        )
        lines.append(f"  {row.source:<18}{row.n:>3}  {std:>7}  {share:>6}  {''.join(axis)}".rstrip())
    return lines


def trials(
    table: pd.DataFrame, runs: pd.DataFrame, metric: str, width: int, colour: bool, found: Sequence[Searched] = ()
) -> str:
    """The best valid score that n trials of a plan lead one to expect, against n."""
    if not found:
        raise RequestError("No search in this folder. To make one: rnndrop tune …")
    parts = []
    for search in found[:DOCUMENTS]:
        lines = []
        for label, values in list(search.curves.items())[: len(MARKS)]:
            there = [(n, value) for n, value in enumerate(values, 1) if not math.isnan(value)]
            lines.append((label, [x for x, _ in there], [y for _, y in there]))
        ticks = series.epoch_ticks(max(map(len, search.curves.values())))
        drawn = _plot(lines, "trials n", f"expected best valid {search.name}", width, colour, ticks=ticks)
        drawn += _more(len(search.curves) - len(MARKS), "plans")
        parts.append("\n".join([*textwrap.wrap(plain(search.about), width), drawn]))
    return "\n\n".join(parts) + _more(len(found) - DOCUMENTS, "searches", "; -o draws more")


DRAWINGS: dict[str, Callable[..., Any]] = {
    "curves": curves,
    "forest": forest,
    "rates": rates,
    "heatmap": heatmap,
    "calibration": calibration,
    "decisions": decisions,
    "variance": variance,
    "trials": trials,
}
