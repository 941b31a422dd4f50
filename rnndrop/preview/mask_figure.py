"""The masks of a plan as a figure. Needs matplotlib: `pip install 'rnndrop[plots]'`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rnndrop.extras import need
from rnndrop.preview.mask_view import Scale, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# All in inches: an entry of a mask, the gaps between tiles and between views, the page and its margins.
ENTRY, GAP, BETWEEN, PAGE, MARGIN = 0.068, 0.1, 0.45, 9.8, 0.4
ABOVE, BELOW, HEAD = 0.66, 0.3, 0.75  # room for a view's titles and labels, and for the title of the page
INK, QUIET = "#222222", "#6b6b6b"


def plot(views: Sequence[View], title: str, subtitle: str) -> Figure:
    """Heat maps of all views, side by side as far as they fit on the page. Raises RequestError without matplotlib."""
    need("matplotlib", "plots")
    from matplotlib.figure import Figure

    lines = _lines(views)
    height = HEAD + sum(ABOVE + BELOW + max(map(_height, line)) for line in lines) + 0.1
    width = max(MARGIN + sum(_width(view) + BETWEEN for view in line) for line in lines)
    figure = Figure(figsize=(max(width, 5.5), height), dpi=130, facecolor="white")
    size = (figure.get_figwidth(), height)
    figure.text(MARGIN / size[0], 1 - 0.3 / height, title, fontsize=12, weight="bold", color=INK)
    figure.text(MARGIN / size[0], 1 - 0.5 / height, subtitle, fontsize=8, color=QUIET)
    top = height - HEAD
    for line in lines:
        left, bottom = MARGIN, top - ABOVE - max(map(_height, line))
        for view in line:
            _draw(figure, view, left, bottom, size)
            left += _width(view) + BETWEEN
        top = bottom - BELOW
    _legend(figure, views, size)
    return figure


def _lines(views: Sequence[View]) -> list[list[View]]:
    """The views in their order, in lines that fit on the page."""
    lines: list[list[View]] = [[]]
    room = PAGE
    for view in views:
        if lines[-1] and _width(view) > room:
            lines.append([])
            room = PAGE
        lines[-1].append(view)
        room -= _width(view) + BETWEEN
    return lines


def _tiles_width(view: View) -> float:
    return len(view.tiles) * (view.extent[1] * ENTRY + GAP) - GAP


def _width(view: View) -> float:
    """Of the tiles, or of the text above them where that is wider."""
    return max(_tiles_width(view), 0.078 * len(view.title), 0.052 * len(view.size))


def _height(view: View) -> float:
    return view.extent[0] * ENTRY


def _draw(figure: Figure, view: View, left: float, bottom: float, size: tuple[float, float]) -> None:
    """One view with its lower left corner there, in inches."""
    height, width = _height(view), view.extent[1] * ENTRY

    def text(above: float, words: str, **style: Any) -> None:
        figure.text(left / size[0], (bottom + height + above) / size[1], words, **style)

    text(0.5, view.title, fontsize=9, weight="bold", color=INK)
    text(0.34, view.size, fontsize=7, color=QUIET)
    text(0.2, view.summary, fontsize=7, color=QUIET)
    for index, (label, tile) in enumerate(view.tiles.items()):
        axes: Axes = figure.add_axes((left / size[0], bottom / size[1], width / size[0], height / size[1]))
        axes.imshow(tile, cmap=_colours(view.scale), vmin=0, vmax=view.scale.top, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color="white", linewidth=0)
        axes.set_title(label, fontsize=7, color=QUIET, pad=2, loc="right")
        axes.set_xlabel(f"{view.columns} →", fontsize=7, color=QUIET, labelpad=2)
        if index == 0:
            axes.set_ylabel(view.rows, fontsize=7, color=QUIET, labelpad=2)
        left += width + GAP


def _legend(figure: Figure, views: Sequence[View], size: tuple[float, float]) -> None:
    """What the colours mean, at the top right."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    left = size[0] - BETWEEN
    for scale in _scales(views):
        left -= 1.8
        axes = figure.add_axes((left / size[0], 1 - 0.22 / size[1], 1.2 / size[0], 0.1 / size[1]))
        colours = ScalarMappable(Normalize(0, scale.top), _colours(scale))
        bar = figure.colorbar(colours, cax=axes, orientation="horizontal", ticks=range(scale.top + 1))
        bar.outline.set_visible(False)  # type: ignore[operator]
        axes.set_xticklabels(scale.ends)
        axes.tick_params(labelsize=7, length=0, pad=2, colors=QUIET)


def _scales(views: Sequence[View]) -> list[Scale]:
    """The scales of the views that differ in a figure."""
    return list({(view.scale.colours, view.scale.ends): view.scale for view in views}.values())


def _colours(scale: Scale) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("mask", scale.colours)
