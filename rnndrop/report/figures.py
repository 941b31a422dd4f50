"""The plots as matplotlib figures, for print: Okabe and Ito's colours, marks that tell lines apart without colour."""

from __future__ import annotations

import logging
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnndrop.config.tasks import task_by_metric
from rnndrop.decisions.document import Decision
from rnndrop.display.digits import number
from rnndrop.errors import RequestError
from rnndrop.extras import need
from rnndrop.report import series
from rnndrop.report.decided import Story, stories
from rnndrop.report.searched import Searched
from rnndrop.report.sheet import title
from rnndrop.report.spread import bars
from rnndrop.sweeps.variance import SOURCES, TEXT

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
PANELS = 9
LINES = 8
ROWS = 40
DECISIONS = 3
log = logging.getLogger("rnndrop")
BAND = "#dfeee7"  # the margin within which plans are equal
BEHIND = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.5}  # a label that stands before lines
FORMATS = ("png", "svg", "pdf")
STYLE = {
    "text.parse_math": False,  # a name may hold two $
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "rnndrop",  # the same figure is the same file
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Page:
    """What a figure is drawn for: its width in inches, None for what suits a screen; its text's size in points.

    A figure with a width has no title: a paper has captions.
    """

    width: float | None = None
    font: float = 9


SCREEN = Page()
_page: ContextVar[Page] = ContextVar("page", default=SCREEN)


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Run `draw` under `STYLE`, for a `page` if one is given, and leave matplotlib's own settings as they were."""

    @wraps(draw)
    def within(*arguments: Any, page: Page | None = None, **options: Any) -> Any:
        token = _page.set(page or _page.get())
        sizes = dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), _page.get().font)
        try:
            with need("matplotlib", "plots").rc_context(STYLE | sizes):
                return draw(*arguments, **options)
        finally:
            _page.reset(token)

    return within


def _points(size: float) -> float:
    """The size of a text that has `size` where most text has 9 points."""
    return size * _page.get().font / 9


@styled
def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG, SVG or PDF, by its suffix. Raises RequestError."""
    if path.suffix.lstrip(".").lower() not in FORMATS:
        raise RequestError(f"{path}: a figure is written as {', '.join(FORMATS)}.")
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise RequestError(f"Cannot write {path}: {error.strerror}.") from None


def _axes(rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 4), **options: Any) -> Any:
    """A figure of its own, which pyplot knows nothing of: that would keep it, and have a backend chosen for all."""
    figure = need("matplotlib.figure", "plots").Figure(figsize=(_page.get().width or size[0], size[1]))
    need("matplotlib.backends.backend_agg", "plots").FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _height(usual: float) -> float:
    """The height of a single plot in inches: nine tenths of a page's width, legend and all."""
    page = _page.get().width
    return usual if page is None else min(usual, 0.9 * page)


def _legend(figure: Any, axis: Any, handles: Sequence[Any] | None = None) -> None:
    """The names of the lines; on a page below the plot, where they hide none."""
    if _page.get().width is None:
        axis.legend(fontsize=_points(8))
    else:
        figure.legend(handles=handles or axis.get_legend_handles_labels()[0], loc="outside lower center",
                      ncols=_beside(1.6, 4), fontsize=_points(8), columnspacing=1)  # fmt: skip


def _title(axis: Any, text: str, **options: Any) -> None:
    """A title, but for a page: that has a caption."""
    if _page.get().width is None:
        axis.set_title(text, **options)


def _wrapped(label: str, share: float, most: int = 2) -> str:
    """A label on at most so many lines, within its share of the page's width; on one where the width is free."""
    page = _page.get()
    if page.width is None:
        return _short(label)
    letters = max(8, int(share * page.width * 72 / (0.52 * page.font)))
    lines = textwrap.wrap(label, letters)
    return "\n".join([*lines[: most - 1], _short(" ".join(lines[most - 1 :]), letters)] if lines[most - 1 :] else lines)


def _beside(width: float, most: int) -> int:
    """How many panels that want a width in inches stand beside each other."""
    page = _page.get().width
    return most if page is None else max(1, min(most, int(page / width)))


@styled
def curves(table: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Any:
    """A panel a group: train and valid perplexity by epoch, what lies between them shaded where valid is above."""
    shown = series.curves(table, runs, PANELS)
    figure = draw_curves(shown, table["floor_perplexity_valid"].dropna().to_list(), task_by_metric(metric).title)
    _note_missing(figure, len(table[table["n"] > 0]) - len(shown), "groups")
    return figure


@styled
def draw_curves(shown: list[series.Curve], floor: Sequence[float] = (), name: str = "perplexity") -> Any:
    """A panel a curve; `floor`: the source's own perplexity, where it is known; `name`: of what is drawn."""
    columns = min(_beside(1.4, 3), len(shown))
    rows = math.ceil(len(shown) / columns)
    height = 2.1 * rows + 0.7 if _page.get().width is None else 1.2 * rows + 0.9
    figure, axes = _axes(rows, columns, (2.6 * columns + 0.8, height), sharex=True, sharey=True)
    low = min(min(*curve.train, *curve.valid) for curve in shown)
    top = max(max(curve.valid) for curve in shown)
    if near := bool(len(floor)) and series.floor_in_sight(floor[0], low, top):
        low = min(low, floor[0])
    for axis, curve in zip(axes.flat, shown, strict=False):
        train, valid, std = (np.array(values) for values in (curve.train, curve.valid, curve.valid_std))
        axis.fill_between(curve.epochs, train, valid, where=valid > train, color=OKABE_ITO[1], alpha=0.18, lw=0,
                          label="gap")  # fmt: skip
        axis.plot(curve.epochs, train, "--", color=OKABE_ITO[0], marker="o", ms=2.5, label="train (as trained)")
        axis.errorbar(curve.epochs, valid, std, color=OKABE_ITO[1], marker="s", ms=2.5, capsize=2, label="valid ± std")
        if len(floor):
            _draw_floor(axis, floor[0], near, "floor (valid)")
        axis.set_title(_wrapped(curve.label, 1 / columns))
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis in axes.flat[max(0, len(shown) - columns) : len(shown)]:  # also one with nothing below it
        axis.tick_params(labelbottom=True)
    axes[0, 0].set_xticks(series.epoch_ticks(max(curve.epochs[-1] for curve in shown), 6))
    best = min(min(curve.valid) for curve in shown)
    top = min(top, 3 * best) if low > 0 else max(top, *(max(curve.train) for curve in shown))
    margin = 0.05 * (top - low) or 0.05
    axes[0, 0].set_ylim(low * 0.95 if low > 0 else low - margin, top * 1.05 if low > 0 else top + margin)
    figure.supxlabel("epoch", fontsize=_points(9))
    figure.supylabel(name, fontsize=_points(9))
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=_beside(1.6, 4), columnspacing=1)
    return figure


def _draw_floor(axis: Any, floor: float, near: bool, name: str) -> None:
    """A line at the floor, or only its value where that is so far below that the curves would be flat."""
    if near:
        axis.axhline(floor, color="#555555", ls=":", lw=1, label=name)
    else:
        axis.plot([], [], ls="", label=f"{name} {number(floor)}, not drawn")


@styled
def forest(table: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Any:
    """Differences from the baseline with their 95 % intervals; filled where Holm's p is below .05."""
    rows = series.forest(table, metric)[:ROWS]
    names = [_wrapped(row.label, 0.4) for row in rows]
    lines = sum(name.count("\n") + 1 for name in names)
    figure, ((axis,),) = _axes(size=(6.4, 0.27 * lines * _points(9) / 9 + 1.3))
    for place, row in enumerate(rows):
        sure = row.p < 0.05
        colour = "#555555" if not sure else OKABE_ITO[0] if row.gain else OKABE_ITO[1]
        if not math.isnan(row.low):
            axis.plot([row.low, row.high], [place, place], color=colour, lw=1.6, solid_capstyle="butt")
        axis.plot(row.change, place, "o", color=colour, mfc=colour if sure else "white", ms=5)
        axis.annotate(row.freedom, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=_points(8))
    axis.annotate("df", (1.01, 1), xycoords="axes fraction", va="bottom", fontsize=_points(8), color="#555555")
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(rows)), names)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    how = "per cent, over all seeds, 95 % (Welch); filled: Holm p < .05"
    _below(figure, axis, f"{title(metric)} against {_short(series.against(table), 60)}", how)
    _note_missing(figure, int(table["change"].notna().sum()) - ROWS, "plans")
    return figure


def _below(figure: Any, axis: Any, *lines: str) -> None:
    """What the x axis has; across the whole figure where that is narrow."""
    if _page.get().width is None:
        axis.set_xlabel("\n".join(lines))
    else:
        parts = [part for line in lines for part in line.split("; ")]
        figure.supxlabel("\n".join(_wrapped(part, 1, most=3) for part in parts), fontsize=_points(8))


@styled
def rates(table: pd.DataFrame, runs: pd.DataFrame, metric: str, location: str | None = None) -> Any:
    """Perplexity against the rate at a location."""
    every = series.rates(table, metric, location)
    figure, ((axis,),) = _axes(size=(6.4, _height(4.2)))
    for line, colour, mark in zip(every[:LINES], OKABE_ITO, MARKS, strict=False):
        spread = [0 if math.isnan(value) else value for value in line.std]
        axis.errorbar(
            line.p, line.mean, spread, color=colour, marker=mark, ms=4, capsize=2, lw=1.2, label=_short(line.label)
        )
    floor = table["floor_perplexity"].dropna()
    if len(floor) and metric.startswith("test"):
        ends = [value for line in every[:LINES] for value in line.mean]
        _draw_floor(axis, floor.iloc[0], series.floor_in_sight(floor.iloc[0], min(ends), max(ends)), "floor")
    axis.set_xlabel("rate p")
    axis.set_ylabel(" \n"[_page.get().width is not None].join([title(metric), "(± std over seeds)"]))
    _legend(figure, axis)
    _note_missing(figure, len(every) - LINES, "lines")
    return figure


@styled
def heatmap(table: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Any:
    """Location × kind: each at the rate that is best on valid, as the change from no dropout where that ran."""
    grid = series.heatmap(table, metric)
    narrow = _page.get().width is not None
    height = 0.5 if not narrow else 0.045 * _page.get().font
    figure, ((axis,),) = _axes(size=(1.15 * len(grid.kinds) + 3.4, height * len(grid.locations) + 1.8))
    if grid.relative_to:
        bound = max(series.NARROW, float(np.nanmax(np.abs(grid.value))))
        limits = {"cmap": "PuOr_r", "vmin": -bound, "vmax": bound}
    else:
        low, high = float(np.nanmin(grid.value)), float(np.nanmax(grid.value))
        limits = {"cmap": "cividis_r", "vmin": low, "vmax": max(high, low * (1 + 2 * series.NARROW / 100))}
    image = axis.imshow(np.ma.masked_invalid(grid.value), aspect="auto", **limits)
    for row, column in np.argwhere(~np.isnan(grid.value)):
        value = grid.value[row, column]
        red, green, blue, _ = image.cmap(image.norm(value))
        ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
        text = f"{value:+.1f} %" if grid.relative_to else number(value)
        axis.text(
            column,
            row,
            f"{text}\np={grid.p[row, column]:g}",
            ha="center",
            va="center",
            color=ink,
            fontsize=_points(7.5),
        )
    axis.set_xticks(range(len(grid.kinds)), grid.kinds)
    axis.tick_params("x", rotation=30 if narrow else 0)
    axis.set_yticks(range(len(grid.locations)), grid.locations)
    axis.grid(visible=False)
    what = f"{title(metric)} against {grid.relative_to}, per cent" if grid.relative_to else title(metric)
    figure.colorbar(image, ax=axis, label=what, shrink=0.9, location="bottom" if narrow else "right")
    _title(axis, "\n".join(filter(None, ["each kind at the rate p that is best on valid", _short(grid.about, 60)])))
    _note_missing(figure, grid.others, "plans with other settings")
    return figure


@styled
def calibration(table: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Any:
    """Monte-Carlo against deterministic test perplexity; below the diagonal, averaging over masks helps."""
    rows = series.calibration(table, metric)
    figure, ((axis,),) = _axes(size=(5.2, _height(4.6)))
    names = len(rows) <= LINES
    for row, colour, mark in zip(rows, cycle(OKABE_ITO), cycle(MARKS), strict=False):
        spread = [0 if math.isnan(value) else value for value in (row.plain_std, row.sampled_std)]
        axis.errorbar(row.plain, row.sampled, xerr=spread[0], yerr=spread[1], ms=4, capsize=2,
                      color=colour if names else OKABE_ITO[0], marker=mark if names else "o", ls="",
                      label=_short(row.label) if names else None)  # fmt: skip
    ends = [0.98 * min(row.sampled for row in rows), 1.02 * max(row.plain for row in rows)]
    axis.plot(ends, ends, color="black", lw=0.8, label="equal")
    name = task_by_metric(metric).title
    axis.set_xlabel(f"test {name}, deterministic")
    axis.set_ylabel(f"test {name}, Monte-Carlo")
    _legend(figure, axis)
    return figure


@styled
def decisions(table: pd.DataFrame, runs: pd.DataFrame, metric: str, found: Sequence[Decision] = ()) -> Any:
    """A column a decision: the evidence by seed up to what decides; below, the difference with its interval."""
    every = stories(found)
    shown = every[: _beside(2.9, DECISIONS)]
    width = 6.4 if len(shown) == 1 else 4.4 * len(shown)
    figure, axes = _axes(
        2, len(shown), (width, 6.2 if _page.get().width is None else 4.8), sharex="col", height_ratios=(3, 2)
    )
    for (above, below), each in zip(axes.T, shown, strict=True):
        said = textwrap.wrap(each.said, 90 if len(shown) == 1 else 62)
        _title(above, "\n".join(said), fontsize=_points(8), loc="left")
        _evidence(above, each)
        _differences(below, each)
        if _page.get().width is not None and len(shown) == 1:
            _legend(figure, below, _key(each))
        else:
            below.legend(
                fontsize=_points(8), loc="upper left", bbox_to_anchor=(0, -0.28), handles=_key(each), handlelength=3,
                ncols=2 if len(shown) == 1 else 1,  # of several each has the width of its column
            )  # fmt: skip
    axes[0, 0].set_ylabel("evidence E")
    axes[1, 0].set_ylabel(f"change of {shown[0].metric}, %")
    if _page.get().width is None:
        figure.supxlabel(" ", fontsize=7)  # room for the note
    _note_missing(figure, len(every) - len(shown), "decisions")
    return figure


def _key(shown: Story) -> list[Any]:
    """What colours and dashes stand for in the drawing of a decision."""
    lines, patches = need("matplotlib.lines", "plots"), need("matplotlib.patches", "plots")
    found = [
        lines.Line2D([], [], color=_colour(plan), marker=_mark(plan), ms=4, label=_short(name))
        for plan, name in shown.compared.items()
    ]
    dashed = {"color": "#555555", "marker": "o", "ms": 4, "mfc": "white", "ls": "--"}
    return [
        *found,
        lines.Line2D([], [], color="#555555", marker="o", ms=4, label="E for a difference"),
        lines.Line2D([], [], **dashed, label=f"E for equal within {shown.margin}"),
        patches.Patch(color=BAND, label=f"the margin, {shown.margin}"),
    ]


def _evidence(axis: Any, shown: Story) -> None:
    """What speaks for a difference and for equality, pair by pair, and where the one or the other sufficed."""
    axis.axhline(shown.bound, color="black", lw=0.8)
    axis.annotate(f"decides: E ≥ {shown.bound:.4g}", (0, shown.bound), (3, 2), xycoords=("axes fraction", "data"),
                  textcoords="offset points", va="bottom", fontsize=_points(8))  # fmt: skip
    for course in shown.courses:
        colour, mark = _colour(course.plan), _mark(course.plan)
        axis.plot(course.seeds, course.differ, color=colour, marker=mark, ms=4, lw=1.4)
        axis.plot(course.seeds, course.equal, color=colour, marker=mark, ms=4, mfc="white", lw=1.2, ls="--")
        if course.end:
            axis.plot(course.seeds[-1], course.deciding, "o", ms=11, mfc="none", mec=colour)
            axis.annotate(course.end, (course.seeds[-1], course.deciding), (0, 8), textcoords="offset points",
                          ha="center", va="bottom", color=colour, bbox=BEHIND)  # fmt: skip
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")  # its own is in the language of formulas
    axis.yaxis.set_minor_formatter("")
    axis.set_ylim(*shown.evidence_limits)
    axis.set_xlim(0.5, shown.looks + 0.5)
    axis.xaxis.get_major_locator().set_params(integer=True)


def _differences(axis: Any, shown: Story) -> None:
    """The differences seed by seed with their intervals, and the margin within which they are equal."""
    axis.axhspan(shown.below, shown.above, color=BAND, lw=0)
    axis.axhline(0, color="black", lw=0.8)
    for course in shown.courses:
        change, low, high = (np.array(values) for values in (course.change, course.low, course.high))
        bounded = np.isfinite(low) & np.isfinite(high)
        reach = np.where(bounded, [change - low, high - change], 0)
        place = np.array(course.seeds) + 0.12 * (course.plan - (len(shown.names) - 1) / 2)
        axis.errorbar(place, change, reach, color=_colour(course.plan), marker=_mark(course.plan), ms=4, lw=1.2)
    axis.set_ylim(*shown.change_limits)
    axis.set_xlabel("seeds")


def _colour(index: int) -> str:
    return OKABE_ITO[index % len(OKABE_ITO)]


def _mark(index: int) -> str:
    return MARKS[index % len(MARKS)]


@styled
def variance(table: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Any:
    """A panel a plan: the std of ln test score by what varies, with its interval, and its share of the variance."""
    every = bars(table, runs)
    shown = every[:PANELS]
    colours = dict(zip((*SOURCES.values(), TEXT), OKABE_ITO, strict=False))
    heights = [len(each.rows) + 2 for each in shown]
    figure, axes = _axes(len(shown), 1, (5.6, 0.24 * sum(heights) + 0.7), sharex=True, height_ratios=heights)
    for axis, plan in zip(axes.flat, shown, strict=True):
        for place, row in enumerate(plan.rows):
            if row.std is None:
                continue
            axis.barh(place, 100 * row.std, color=colours.get(row.source, "#999999"), height=0.62)
            end = row.std
            if row.low is not None and row.high is not None:
                axis.plot([100 * row.low, 100 * row.high], [place, place], color="black", lw=1)
                end = row.high
            share = "" if row.share is None or place == 0 else f"{100 * row.share:.0f} %"
            axis.annotate(
                share, (100 * end, place), (4, 0), textcoords="offset points", va="center", fontsize=_points(8)
            )
        axis.set_yticks(range(len(plan.rows)), [f"{row.source}, n={row.n}" for row in plan.rows])
        axis.set_ylim(len(plan.rows) - 0.5, -0.5)
        axis.grid(axis="y", visible=False)
        axis.set_title(_wrapped(plan.label, 0.7))
        axis.margins(x=0.12)
    how = "std of ln test score, %, of n finished runs\nline: its 95 % interval; number: share of the whole variance"
    figure.supxlabel(how, fontsize=_points(8))
    _note_missing(figure, len(every) - PANELS, "plans")
    return figure


@styled
def trials(table: pd.DataFrame, runs: pd.DataFrame, metric: str, found: Sequence[Searched] = ()) -> Any:
    """A panel a search: the best valid score that n trials of a plan lead one to expect, against n."""
    if not found:
        raise RequestError("No search in this folder. To make one: rnndrop tune …")
    shown = found[:PANELS]
    columns = min(_beside(2.4, 3), len(shown))
    rows = math.ceil(len(shown) / columns)
    figure, axes = _axes(rows, columns, (max(5.6, 3.8 * columns), rows * _height(3.6 * columns) / columns))
    for axis, search in zip(axes.flat, shown, strict=False):
        draw_best_of(axis, search.curves)
        axis.set_title(_wrapped(search.about, 1 / columns)) if len(shown) > 1 else _title(axis, _short(search.about))
        axis.set_xlabel("trials n")
        axis.set_ylabel(f"expected best valid {search.name}")
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    _note_missing(figure, len(found) - len(shown), "searches", "")
    return figure


def draw_best_of(axis: Any, curves: Mapping[str, Sequence[float]]) -> None:
    """A line a plan: what the best of n trials is expected to be, from n = 1; NaN where that is infinite."""
    for index, (label, values) in enumerate(list(curves.items())[:LINES]):
        n = range(1, len(values) + 1)
        axis.plot(n, values, color=_colour(index), marker=_mark(index), ms=4, lw=1.4, label=_short(label, 60))
    if len(curves) > LINES:
        axis.plot([], [], " ", label=f"{len(curves) - LINES} more plans not shown")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(fontsize=_points(8))


def _short(label: str, limit: int = 44) -> str:
    return label if len(label) <= limit else label[: limit - 1] + "…"


def _note_missing(figure: Any, count: int, what: str, advice: str = ": narrow with --where") -> None:
    """Say what was left out: in the figure, or if it is for a page, in the log."""
    if count > 0 and _page.get().width is not None:
        log.warning("%d more %s are not in the figure%s.", count, what, advice)
    elif count > 0:
        figure.text(
            0.995,
            0.005,
            f"{count} more {what} not shown{advice}",
            ha="right",
            fontsize=_points(6.5),
            color="#555555",
        )


PLOTS: dict[str, Callable[..., Any]] = {
    "curves": curves,
    "forest": forest,
    "rates": rates,
    "heatmap": heatmap,
    "calibration": calibration,
    "decisions": decisions,
    "variance": variance,
    "trials": trials,
}
