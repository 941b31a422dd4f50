"""The plots as matplotlib figures, for print: Okabe and Ito's colours, marks that tell lines apart without colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnndrop.config.tasks import task_by_metric
from rnndrop.display.digits import number
from rnndrop.errors import RequestError
from rnndrop.extras import need
from rnndrop.report import series
from rnndrop.report.sheet import title

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
PANELS = 9
LINES = 8
ROWS = 40
NARROW = 5.0  # per cent: the least that the colours of a heat map span on either side, so that a trifle looks pale
FORMATS = ("png", "svg", "pdf")
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "font.size": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "rnndrop",  # the same figure is the same file
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
}


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Run `draw` under `STYLE`, and leave matplotlib's own settings as they were: others draw too."""

    @wraps(draw)
    def within(*arguments: Any, **options: Any) -> Any:
        with need("matplotlib", "plots").rc_context(STYLE):
            return draw(*arguments, **options)

    return within


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
    matplotlib = need("matplotlib", "plots")
    matplotlib.use("Agg")
    pyplot = need("matplotlib.pyplot", "plots")
    return pyplot.subplots(rows, columns, figsize=size, squeeze=False, **options)


@styled
def curves(table: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Any:
    """A panel a group: train and valid perplexity by epoch, what lies between them shaded where valid is above."""
    shown = series.curves(table, runs, PANELS)
    if not shown:
        raise RequestError("No run here kept its history.")
    figure = draw_curves(shown, table["floor_perplexity_valid"].dropna().to_list(), task_by_metric(metric).title)
    _note_missing(figure, len(table[table["n"] > 0]) - len(shown), "groups")
    return figure


@styled
def draw_curves(shown: list[series.Curve], floor: Sequence[float] = (), name: str = "perplexity") -> Any:
    """A panel a curve; `floor`: the source's own perplexity, where it is known; `name`: of what is drawn."""
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure, axes = _axes(rows, columns, (2.6 * columns + 0.8, 2.1 * rows + 0.7), sharex=True, sharey=True)
    for axis, curve in zip(axes.flat, shown, strict=False):
        train, valid, std = (np.array(values) for values in (curve.train, curve.valid, curve.valid_std))
        axis.fill_between(curve.epochs, train, valid, where=valid > train, color=OKABE_ITO[1], alpha=0.18, lw=0,
                          label="gap")  # fmt: skip
        axis.plot(curve.epochs, train, "--", color=OKABE_ITO[0], marker="o", ms=2.5, label="train (as trained)")
        axis.errorbar(curve.epochs, valid, std, color=OKABE_ITO[1], marker="s", ms=2.5, capsize=2, label="valid ± std")
        if len(floor):
            axis.axhline(floor[0], color="#555555", ls=":", lw=1, label="floor (valid)")
        axis.set_title(_short(curve.label))
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    top = max(max(curve.valid) for curve in shown)
    low = min([*(min(curve.train) for curve in shown), *floor[:1]])
    axes[0, 0].set_xticks(series.epoch_ticks(max(curve.epochs[-1] for curve in shown), 6))
    axes[0, 0].set_ylim(low * 0.95, min(top, 3 * min(min(curve.valid) for curve in shown)) * 1.05)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel(name, fontsize=9)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4)
    return figure


@styled
def forest(table: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Any:
    """Differences from the baseline with their 95 % intervals; filled where Holm's p is below .05."""
    rows = series.forest(table, metric)[:ROWS]
    figure, ((axis,),) = _axes(size=(6.4, 0.27 * len(rows) + 1.3))
    for place, row in enumerate(rows):
        sure = row.p < 0.05
        colour = "#555555" if not sure else OKABE_ITO[0] if row.change < 0 else OKABE_ITO[1]
        if not math.isnan(row.low):
            axis.plot([row.low, row.high], [place, place], color=colour, lw=1.6, solid_capstyle="butt")
        axis.plot(row.change, place, "o", color=colour, mfc=colour if sure else "white", ms=5)
        axis.annotate(row.freedom, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axis.annotate("df", (1.01, 1), xycoords="axes fraction", va="bottom", fontsize=8, color="#555555")
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(rows)), [_short(row.label) for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    how = "per cent, over all seeds, 95 % (Welch); filled: Holm p < .05"
    axis.set_xlabel(f"{title(metric)} against {_short(series.against(table), 60)}\n{how}")
    _note_missing(figure, int(table["change"].notna().sum()) - ROWS, "plans")
    return figure


@styled
def rates(table: pd.DataFrame, runs: pd.DataFrame, metric: str, location: str | None = None) -> Any:
    """Perplexity against the rate at a location."""
    every = series.rates(table, metric, location)
    figure, ((axis,),) = _axes(size=(6.4, 4.2))
    for line, colour, mark in zip(every[:LINES], OKABE_ITO, MARKS, strict=False):
        spread = [0 if math.isnan(value) else value for value in line.std]
        axis.errorbar(
            line.p, line.mean, spread, color=colour, marker=mark, ms=4, capsize=2, lw=1.2, label=_short(line.label)
        )
    floor = table["floor_perplexity"].dropna()
    if len(floor) and metric.startswith("test"):
        axis.axhline(floor.iloc[0], color="#555555", ls=":", lw=1, label="floor")
    axis.set_xlabel("rate p")
    axis.set_ylabel(f"{title(metric)} (± std over seeds)")
    axis.legend(fontsize=8)
    _note_missing(figure, len(every) - LINES, "lines")
    return figure


@styled
def heatmap(table: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Any:
    """Location × kind: each at the rate that is best on valid, as the change from no dropout where that ran."""
    grid = series.heatmap(table, metric)
    figure, ((axis,),) = _axes(size=(1.15 * len(grid.kinds) + 3.4, 0.5 * len(grid.locations) + 1.8))
    if grid.relative_to:
        bound = max(NARROW, float(np.nanmax(np.abs(grid.value))))
        limits = {"cmap": "PuOr_r", "vmin": -bound, "vmax": bound}
    else:
        low, high = float(np.nanmin(grid.value)), float(np.nanmax(grid.value))
        limits = {"cmap": "cividis_r", "vmin": low, "vmax": max(high, low * (1 + 2 * NARROW / 100))}
    image = axis.imshow(np.ma.masked_invalid(grid.value), aspect="auto", **limits)
    for row, column in np.argwhere(~np.isnan(grid.value)):
        value = grid.value[row, column]
        red, green, blue, _ = image.cmap(image.norm(value))
        ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
        text = f"{value:+.1f} %" if grid.relative_to else number(value)
        axis.text(column, row, f"{text}\np={grid.p[row, column]:g}", ha="center", va="center", color=ink, fontsize=7.5)
    axis.set_xticks(range(len(grid.kinds)), grid.kinds)
    axis.set_yticks(range(len(grid.locations)), grid.locations)
    axis.grid(visible=False)
    what = f"{title(metric)} against {grid.relative_to}, per cent" if grid.relative_to else title(metric)
    figure.colorbar(image, ax=axis, label=what, shrink=0.9)
    axis.set_title("each kind at the rate p that is best on valid")
    return figure


@styled
def calibration(table: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Any:
    """Monte-Carlo against deterministic test perplexity; below the diagonal, averaging over masks helps."""
    rows = series.calibration(table, metric)
    figure, ((axis,),) = _axes(size=(5.2, 4.6))
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
    axis.legend(fontsize=8)
    return figure


def _short(label: str, limit: int = 44) -> str:
    return label if len(label) <= limit else label[: limit - 1] + "…"


def _note_missing(figure: Any, count: int, what: str) -> None:
    if count > 0:
        figure.text(
            0.995,
            0.005,
            f"{count} more {what} not shown: narrow with --where",
            ha="right",
            fontsize=6.5,
            color="#555555",
        )


PLOTS: dict[str, Callable[..., Any]] = {
    "curves": curves,
    "forest": forest,
    "rates": rates,
    "heatmap": heatmap,
    "calibration": calibration,
}
