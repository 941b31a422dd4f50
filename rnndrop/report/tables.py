"""A comparison drawn: for a terminal, Markdown, CSV, JSON, LaTeX or HTML."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, get_args

import pandas as pd

from rnndrop.display.foreign import cell, latex, markdown, plain
from rnndrop.errors import unknown
from rnndrop.report.sheet import Row, Sheet, sheets
from rnndrop.values import Style

INTERNAL = ["settings", "overrides"]
LABEL_WIDTH = 34  # what the first column may ask for before others are dropped
TONES = {"best": "green", "worst": "red", "floor": "dim", "published": "cyan"}


def render(
    table: pd.DataFrame,
    runs: pd.DataFrame,
    style: str,
    metric: str,
    only_changed: bool = False,
    chosen: Sequence[str] = (),
) -> str:
    """The comparison of `runs` in one of `STYLES`, with the columns `chosen`. Raises RequestError for another style."""
    if style not in STYLES:
        raise unknown("report format", style, STYLES)
    if style in DATA:
        return str(DATA[style](table.drop(columns=INTERNAL, errors="ignore")))
    return "\n\n".join(map(TEXT[style], sheets(table, runs, metric, only_changed, chosen)))


def footer(lines: Sequence[str], style: str) -> str:
    """Lines below the tables, as what did not finish, in one of the styles for people."""
    return "\n".join(FOOT[style](line) for line in lines)


def remarks(lines: Sequence[str], style: str) -> str:
    """Lines below the tables that warn of nothing, in one of the styles for people."""
    return "\n".join("\n".join(_wrapped(line, "")) if style == "rich" else FOOT[style](line) for line in lines)


def _csv(table: pd.DataFrame) -> str:
    texts = [name for name in table if table[name].dtype == object or table[name].dtype == "string"]
    table = table.assign(**{str(name): table[name].map(cell) for name in texts}).rename(columns=cell)
    return str(table.to_csv(index=False)).rstrip("\n")


def _json(table: pd.DataFrame) -> str:
    rows = json.loads(table.to_json(orient="records", double_precision=15))
    return json.dumps(rows, indent=1)


def _rich(sheet: Sheet) -> str:
    """Aligned lines in colour. rich styles them; its own tables take two seconds for two thousand rows."""
    from rich.cells import cell_len

    width = terminal_width()
    shown, widths, hidden = fitting(sheet, width)
    columns = [sheet.columns[index] for index in shown]

    def lines(cells: Sequence[str], style: str) -> list[str]:
        label, *others = [plain(cells[index]) for index in shown]
        pieces = textwrap.wrap(label, widths[0], subsequent_indent="  ", break_on_hyphens=False) or [""]
        texts = [pieces[0], *others]
        pads = [" " * (size - cell_len(text)) for text, size in zip(texts, widths, strict=True)]
        aligned = [
            text + pad if column.left else pad + text for text, pad, column in zip(texts, pads, columns, strict=True)
        ]
        return [coloured(line.rstrip(), style) for line in ("  ".join(aligned), *pieces[1:])]

    body = lines([column.header for column in sheet.columns], "bold")
    for row in sheet.rows:
        body += lines(row.cells, TONES.get(row.tone, ""))
    notes = [*sheet.notes, f"no room for {', '.join(hidden)}: --format csv has all"] if hidden else sheet.notes
    above, below = [(sheet.constants, "dim")] if sheet.constants else [], [(note, "dim") for note in notes]
    above_lines, below_lines = ([line for note in part for line in _wrapped(*note)] for part in (above, below))
    return "\n".join([*above_lines, *body, *below_lines, *map(_warning, sheet.warnings)])


def _wrapped(text: str, style: str) -> list[str]:
    lines = textwrap.wrap(plain(text), terminal_width(), break_on_hyphens=False)
    return [coloured(line, style) for line in lines]


def _warning(text: str) -> str:
    """Wrapped, but a command at its end, after three spaces, stays whole."""
    head, gap, command = text.rpartition("   ")
    if not gap or len(text) + 2 <= terminal_width():
        return "\n".join(_wrapped(f"! {text}", "yellow"))
    return "\n".join([*_wrapped(f"! {head}", "yellow"), coloured(f"  {plain(command)}", "yellow")])


def coloured(text: str, style: str) -> str:
    """The text in a style of rich's, where stdout is a terminal that wants colours."""
    if not style or not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    from rich.style import Style

    return Style.parse(style).render(text)


def terminal_width() -> int:
    """COLUMNS, else the terminal's, else 100 where there is none; from 20 to 2000."""
    wanted = os.environ.get("COLUMNS", "")
    width = int(wanted) if wanted.isdecimal() and int(wanted) else shutil.get_terminal_size((100, 24)).columns
    return min(max(width, 20), 2000)


def fitting(sheet: Sheet, width: int) -> tuple[list[int], list[int], list[str]]:
    """Which columns fit into `width`, how wide each is, and the headers of those that had to go."""
    from rich.cells import cell_len

    columns = sheet.columns
    widths = [
        max([cell_len(column.header), *(cell_len(row.cells[index]) for row in sheet.rows)])
        for index, column in enumerate(columns)
    ]
    others = list(range(1, len(columns)))
    least = min(widths[0], LABEL_WIDTH)
    for index in sorted(others, key=lambda index: (columns[index].keep, -index)):
        if least + sum(widths[each] + 2 for each in others) <= width:
            break
        if columns[index].keep:
            others.remove(index)
    room = width - sum(widths[each] + 2 for each in others)
    widths[0] = min(widths[0], max(room, 12))
    shown = [0, *others]
    hidden = [column.header for index, column in enumerate(columns) if index not in shown]
    return shown, [widths[index] for index in shown], hidden


def _markdown(sheet: Sheet) -> str:
    cells = [[markdown(cell) for cell in row.cells] for row in sheet.rows]
    headers = [markdown(column.header) for column in sheet.columns]
    rule = [":---" if column.left else "---:" for column in sheet.columns]
    for row, marked in zip(sheet.rows, cells, strict=True):
        if row.tone == "best":
            marked[:] = [f"**{cell}**" if cell else "" for cell in marked]
    lines = [f"| {' | '.join(line)} |" for line in (headers, rule, *cells)]
    notes = [markdown(note) for note in (*sheet.notes, *sheet.warnings)]
    return "\n".join(
        [*([markdown(sheet.constants), ""] if sheet.constants else []), *lines, "", *(f"- {note}" for note in notes)]
    )


def _latex(sheet: Sheet) -> str:
    """A booktabs tabular, to be \\input; the constants and notes stand around it as comments."""

    def line(cells: Sequence[str], bold: bool = False) -> str:
        shown = [latex(cell) for cell in cells]
        return " & ".join(rf"\textbf{{{cell}}}" if bold and cell else cell for cell in shown) + r" \\"

    body: list[str] = []
    for row in sheet.rows:
        if row.tone == "floor" and body:
            body.append(r"\midrule")
        body.append(line(row.cells, row.tone == "best"))
    comments = [f"% {' '.join(text.split())}" for text in (sheet.constants, *sheet.notes, *sheet.warnings) if text]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            *comments,
            rf"\begin{{tabular}}{{{''.join('l' if column.left else 'r' for column in sheet.columns)}}}",
            r"\toprule",
            line([column.header for column in sheet.columns]),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _html(sheet: Sheet) -> str:
    """A plain table, for a page of one's own; `--html FILE` makes a whole page."""

    def line(row: Row) -> str:
        return f'<tr class="{row.tone}">' + "".join(f"<td>{escape(cell)}</td>" for cell in row.cells) + "</tr>"

    head = "".join(f"<th>{escape(column.header)}</th>" for column in sheet.columns)
    notes = "".join(f"<p>{escape(note)}</p>" for note in (*sheet.notes, *sheet.warnings))
    rows = "\n".join(map(line, sheet.rows))
    caption = f"<caption>{escape(sheet.constants)}</caption>" if sheet.constants else ""
    body = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    return f'<table class="rnndrop">{caption}\n{body}\n</table>\n{notes}'


FOOT: dict[str, Callable[[str], str]] = {
    "rich": _warning,
    "md": lambda line: f"- {markdown(line)}",
    "latex": lambda line: f"% {' '.join(plain(line, chr(10)).split())}",
    "html": lambda line: f"<p>{escape(line)}</p>",
}
TEXT: dict[str, Callable[[Sheet], str]] = {"rich": _rich, "md": _markdown, "latex": _latex, "html": _html}
DATA: dict[str, Callable[[pd.DataFrame], Any]] = {"csv": _csv, "json": _json}
STYLES: tuple[str, ...] = get_args(Style)
