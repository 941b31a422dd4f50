"""The terminal that stdout may be: whether it takes colours, and how wide it is."""

from __future__ import annotations

import os
import shutil
import sys

WIDTH = 100  # columns where there is no terminal


def colours() -> bool:
    """Whether stdout is a terminal that wants colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, style: str) -> str:
    """The text in a style of rich's, where stdout takes colours."""
    if not style or not text or not colours():
        return text
    from rich.style import Style

    return Style.parse(style).render(text)


def room() -> int:
    """How many columns a table may have: those of the terminal, and any number where there is none."""
    return width() if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal() else 100_000


def width() -> int:
    """COLUMNS, else the terminal's, else `WIDTH` where there is none; from 20 to 2000."""
    wanted = os.environ.get("COLUMNS", "")
    columns = int(wanted) if wanted.isdecimal() and int(wanted) else shutil.get_terminal_size((WIDTH, 24)).columns
    return min(max(columns, 20), 2000)
