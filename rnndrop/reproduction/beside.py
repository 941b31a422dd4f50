"""Ours beside the published, row by row, as a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnndrop.extras import need
from rnndrop.report.figures import OKABE_ITO, save, styled
from rnndrop.report.sheet import header
from rnndrop.reproduction.outcomes import Outcome
from rnndrop.stats import t_margin


def measured(found: Sequence[Outcome]) -> list[Outcome]:
    """Those that have both numbers and may be compared."""
    return [each for each in found if each.difference is not None]


def write(found: Sequence[Outcome], path: Path) -> None:
    """Draw the differences of `measured` outcomes and save them."""
    path.parent.mkdir(exist_ok=True)
    save(draw(found), path)


@styled
def draw(found: Sequence[Outcome]) -> Any:
    """Ours minus the published in per cent of the published, with Student's 95 % interval over seeds where there are
    several; the grey bar is what counts as within."""
    figure = need("matplotlib.figure", "plots").Figure(figsize=(6.4, 0.3 * len(found) + 1.2))
    axis = figure.subplots()
    for place, each in enumerate(found):
        difference, tolerance, margin = percentages(each)
        axis.barh(place, 2 * tolerance, left=-tolerance, height=0.62, color="#dddddd")
        if not math.isnan(margin):
            ends = [difference - margin, difference + margin]
            axis.plot(ends, [place, place], color=OKABE_ITO[0], lw=1.6, solid_capstyle="butt")
        axis.plot(difference, place, "o", color=OKABE_ITO[0], mfc="white" if math.isnan(margin) else None, ms=5)
        axis.annotate(str(each.n), (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axis.annotate("n", (1.01, 1), xycoords="axes fraction", va="bottom", fontsize=8, color="#555555")
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(found)), [_label(each) for each in found])
    axis.set_ylim(len(found) - 0.5, -0.5)
    widest = max(abs(value) for value in axis.get_xlim())
    axis.set_xlim(-widest, widest)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("ours against the published, per cent\nline: 95 % over seeds; hollow: one seed; grey: within")
    return figure


def percentages(outcome: Outcome) -> tuple[float, float, float]:
    """Difference, tolerance and half the width of ours' interval, in per cent of the published number.

    The interval is NaN for one seed.
    """
    difference, tolerance, published = outcome.difference, outcome.tolerance, outcome.comparable
    if difference is None or tolerance is None or published is None:
        raise ValueError(f"{outcome.row} has nothing to be compared with")
    margin = float(t_margin(math.nan if outcome.ours_std is None else outcome.ours_std, outcome.n))
    return 100 * difference / published, 100 * tolerance / published, 100 * margin / published


def _label(outcome: Outcome) -> str:
    return f"{outcome.reproduction} {outcome.row} {header(outcome.metric)}"
