"""A comparison as text: for a terminal, Markdown, CSV or JSON."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from rnndrop.errors import unknown

HEADERS = ("data", "model", "dropout", "n", "valid", "test", "train", "params", "time", "tok/s", "run")


def render(table: pd.DataFrame, style: str) -> str:
    """The comparison in one of `STYLES`, each group of seeds a row. Raises RequestError for another style."""
    if style not in STYLES:
        raise unknown("report format", style, STYLES)
    return STYLES[style](table)


def cells(table: pd.DataFrame) -> list[list[str]]:
    """The comparison as text, a list a row, in the order of `HEADERS`, with the floor of each corpus below."""
    rows = []
    for data, group in table.groupby("data", sort=False):
        best = group["test"].min()
        rows += [_cells(row, row["test"] == best) for _, row in group.iterrows()]
        floor = group["floor"].dropna()
        if len(floor):
            rows.append([str(data), "", "floor", "", "", f"{floor.iloc[0]:.1f}", "", "", "", "", ""])
    return rows


def _cells(row: pd.Series, best: bool) -> list[str]:
    return [
        row["data"],
        row["model"],
        row["dropout"],
        str(row["n"]),
        _with_std(row["valid"], row["valid_std"]),
        _with_std(row["test"], row["test_std"]) + (" *" if best else ""),
        f"{row['train']:.1f}",
        f"{row['parameters'] / 1e6:.2f}M",
        f"{row['train_seconds']:.0f} s",
        f"{row['tokens_per_second']:.0f}",
        row["run_id"],
    ]


def _with_std(mean: float, std: float) -> str:
    return f"{mean:.1f}" if pd.isna(std) else f"{mean:.1f} ± {std:.1f}"


NOTE = "± std over n seeds · * best test · floor: the source's own perplexity"


def _rich(table: pd.DataFrame) -> str:
    from rich.console import Console
    from rich.table import Table

    view = Table(*HEADERS, box=None, header_style="bold")
    for row in cells(table):
        style = "green" if row[5].endswith("*") else "dim" if row[2] == "floor" else None
        view.add_row(*row, style=style)
    console = Console(width=None)
    with console.capture() as capture:
        console.print(view)
        console.print(NOTE, style="dim")
    return capture.get().rstrip("\n")


def _markdown(table: pd.DataFrame) -> str:
    from tabulate import tabulate

    return f"{tabulate(cells(table), HEADERS, tablefmt='github', disable_numparse=True)}\n\n{NOTE}"


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False)).rstrip("\n")


def _json(table: pd.DataFrame) -> str:
    return str(table.to_json(orient="records", indent=1, force_ascii=False))


STYLES: dict[str, Callable[[pd.DataFrame], str]] = {"rich": _rich, "md": _markdown, "csv": _csv, "json": _json}
