"""`rnndrop masks`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.color import Color
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from rnndrop.config.schema import Config
from rnndrop.preview.mask_view import HELD_SCALE, HOLES_SCALE, STEPS, WIDTH, Scale, View, views

from . import output

_WORDS = {HOLES_SCALE: ("dropped", "kept"), HELD_SCALE: ("takes the new value", "keeps the previous one")}
BLOCKS = "·░▒▓█"  # from 0 to 2 where there are no colours; what is only kept or dropped takes the two ends


def masks(config: Config, seed: int | None, figure: str | None) -> None:
    """Draw the masks of a plan in the terminal, or into a file."""
    seed = config.seed if seed is None else seed
    shown = views(config, seed)
    title, subtitle = f"dropout={config.dropout.name}", _subtitle(config, seed)
    if figure:
        from rnndrop.preview.mask_figure import plot
        from rnndrop.report.figures import save

        save(plot(shown, title, subtitle), Path(figure))
        print(figure)
        return
    console = output.console()
    colours = console.color_system is not None and not console.no_color
    console.print(Text(title, "bold"), Text(subtitle, "dim"))
    for line in _lines(shown, console.width):
        grid = Table.grid(padding=(0, 4, 0, 0))
        grid.add_row(*(_block(view, colours, console.width) for view in line))
        console.print()
        console.print(grid)
    console.print()
    console.print(_legend(shown, colours))


def _subtitle(config: Config, seed: int) -> str:
    model = config.model
    return (
        f"{model.cell} {model.layers}×{model.hidden} · one window, seed {seed}, cut to {STEPS} steps and {WIDTH} units"
        " of the lowest layer"
    )


def _lines(shown: Sequence[View], width: int) -> list[list[View]]:
    """The views in their order, in lines that fit on the terminal."""
    lines: list[list[View]] = [[]]
    room = width
    for view in shown:
        if lines[-1] and _width(view) > room:
            lines.append([])
            room = width
        lines[-1].append(view)
        room -= _width(view) + 4
    return lines


def _width(view: View) -> int:
    tiles = len(view.tiles) * (view.extent[1] + 1) - 1
    return max(tiles, len(view.title), len(view.size), len(view.summary))


def _block(view: View, colours: bool, width: int) -> RenderableType:
    """Title, shape and tiles of one view; the tiles wrap where the terminal is narrow."""
    per_line = max(1, (width + 1) // (view.extent[1] + 1))
    tiles = list(view.tiles)
    parts: list[RenderableType] = [
        Text(view.title, "bold", no_wrap=True),
        Text(view.size, "dim", no_wrap=True),
        Text(view.summary, "dim", no_wrap=True),
    ]
    for start in range(0, len(tiles), per_line):
        labels = tiles[start : start + per_line]
        grid = Table.grid(padding=(0, 1, 0, 0))
        if any(labels):
            grid.add_row(*(Text(label, "dim") for label in labels))
        grid.add_row(*(_tile(view, label, colours) for label in labels))
        parts.append(grid)
    return Group(*parts, Text(f"↓ {view.rows}  → {view.columns}", "dim"))


def _tile(view: View, label: str, colours: bool) -> Text:
    """A matrix: two rows a line, as the colours of upper half blocks; without colours a row a line."""
    tile = view.tiles[label].tolist()
    if not colours:
        top = 2.0 if view.scale.about else 1e-9
        return Text("\n".join("".join(_block_of(value / top) for value in row) for row in tile), no_wrap=True)
    text = Text(no_wrap=True)
    for upper, lower in zip(tile[::2], [*tile[1::2], *([[None] * len(tile[0])] if len(tile) % 2 else [])], strict=True):
        for above, below in zip(upper, lower, strict=True):
            background = None if below is None else _colour(below, view.scale)
            text.append("▀", Style(color=_colour(above, view.scale), bgcolor=background))
        text.append("\n")
    text.rstrip()
    return text


def _block_of(fraction: float) -> str:
    return BLOCKS[round(min(max(fraction, 0.0), 1.0) * (len(BLOCKS) - 1))]


def _colour(value: float, scale: Scale) -> Color:
    """The colour of an entry: between the marks of the scale at 0, 1 and 2."""
    marks = scale.colours
    value = min(max(value, 0.0), len(marks) - 1.0)
    low = min(int(value), len(marks) - 2)
    ends = [Color.parse(mark).get_truecolor() for mark in marks[low : low + 2]]
    return Color.from_rgb(*(a + (b - a) * (value - low) for a, b in zip(*ends, strict=True)))


def _legend(shown: Sequence[View], colours: bool) -> Text:
    text = Text()
    scales = list(dict.fromkeys(view.scale for view in shown))
    for scale, words in _WORDS.items():
        for value, word in zip(
            (0.0, 1.0 if scale is HELD_SCALE else 1.5), words if scale in scales else (), strict=False
        ):
            if colours:
                text.append("  ", Style(bgcolor=_colour(value, scale)))
            else:
                text.append(_block_of(value))
            text.append(f" {word}   ", "dim")
    return text.append("   ".join(scale.about for scale in scales if scale.about), "dim")
