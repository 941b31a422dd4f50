"""Write `results/README.md` and its figures from `results/*.csv`: `python scripts/results_page.py [--check]`.

With --check nothing is written; the exit code is 1 if the page is not up to date or a figure is missing. What is not
yet measured is what `conf/reproduce/*.yaml` lists and no CSV has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from rnndrop.config.compose import choices
from rnndrop.report.published import published
from rnndrop.report.sheet import header
from rnndrop.reproduction import beside
from rnndrop.reproduction.measured import Measured
from rnndrop.reproduction.outcomes import HEADER, Outcome, cells, notes, precisions, their_row
from rnndrop.reproduction.readme import CONVENTIONS, other, section, table
from rnndrop.reproduction.recipe import load

BESIDE = Path("figures") / "published.svg"
RESULTS = Path(__file__).parents[1] / "results"
OPENING = """# Results

Written by `python scripts/results_page.py` from the CSVs in this folder, which `scripts/collect_results.py` makes of
records: run ids, seeds, settings, hardware, time and revision are there. The published rows are in
[reference](reference/README.md); `?` was not checked against its source. Within: by the deviation over seeds that the
paper gives, or 1 % where it gives none.
Perplexities are of the weights with the best valid perplexity, without dropout; MC: averaged over masks.
"""


def main(arguments: Sequence[str]) -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSVs, figures and page")
    given = parser.parse_args(arguments)
    measured = [
        Measured.read(given.results, name, scale) for name in choices("reproduce") for scale in ("full", "small")
    ]
    page, path = text(given.results, measured), given.results / "README.md"
    compared = _compared(measured)
    figures = [*([BESIDE] if compared else []), *(figure for each in measured for figure in each.figures())]
    if given.check:
        stale = not path.exists() or path.read_text(encoding="utf-8") != page
        missing = [str(figure) for figure in figures if not (given.results / figure).exists()]
        if stale or missing:
            print(f"Run: python scripts/results_page.py ({'the page is old' if stale else ''} {' '.join(missing)})")
        return int(stale or bool(missing))
    path.write_text(page, encoding="utf-8")
    if compared:
        beside.write(compared, given.results / BESIDE)
    for each in measured:
        each.draw(given.results)
    return 0


def text(results: Path, measured: Sequence[Measured]) -> str:
    """The whole page: what was measured, then what was not."""
    sections = [OPENING, *_beside(measured)]
    for each in measured:
        if each.any or len(each.outdated):
            sections += section(each)
    names = choices("reproduce")
    for path in sorted(results.glob("*.csv")):
        if path.stem not in names:
            sections += other(path)
    return "\n".join([*sections, *_lacking(measured), *_beyond()])


def _compared(measured: Sequence[Measured]) -> list[Outcome]:
    return beside.measured([outcome for each in measured for outcome in each.outcomes])


def _beside(measured: Sequence[Measured]) -> Iterator[str]:
    """Every number that can be compared with a published one, as a table and a figure."""
    yield "## Ours beside the published\n"
    compared = _compared(measured)
    full = [each for each in measured if each.scale == "full"]
    theirs = pd.concat([their_row(each.reproduction, row) for each in full for row in each.reproduction.rows.values()])
    yield (
        f"{len(theirs.drop_duplicates())} of the {len(published())} published rows have a reproduction; "
        f"{len(compared)} of their numbers are measured.\n"
    )
    if compared:
        theirs_too = [each for each in full if each.reproduction.published]
        rounded = {f"{each.name} {row}": how for each in theirs_too for row, how in precisions(each.plans).items()}
        rows = [(f"[`{each.reproduction}`](#{each.reproduction})", *cells(each)) for each in compared]
        yield table(("reproduction", *HEADER), rows) + "\n"
        yield from (f"{line}\n" for line in notes(compared, f"[why]({CONVENTIONS})", rounded))
        yield f"![Ours against the published, row by row, in per cent]({BESIDE})\n"
    ablations = [f"[`{each.name}`](#{each.name})" for each in full if each.any and not each.reproduction.published]
    if ablations:
        yield f"Ablations of ours, without published numbers: {', '.join(ablations)}.\n"


def _lacking(measured: Sequence[Measured]) -> Iterator[str]:
    """The rows that no run counts for, with the published numbers that wait for them."""
    yield "## Not yet measured\n"
    body = []
    for each in measured:
        waiting: dict[str, list[str]] = {}
        for row in each.lacking if each.scale == "full" else ():
            found = [outcome for outcome in each.outcomes if outcome.row == row and outcome.published is not None]
            waiting.setdefault(", ".join(f"{header(of.metric)} {cells(of)[4]}" for of in found), []).append(row)
        if each.reproduction.grid:
            waiting = {theirs: [f"{len(rows)} of {len(each.plans)}"] for theirs, rows in waiting.items()}
        body += [
            (f"`rnndrop reproduce {each.name}`", ", ".join(rows), theirs or "–") for theirs, rows in waiting.items()
        ]
    yield table(("", "row", "published"), body) + "\n"


def _beyond() -> Iterator[str]:
    """The published rows that no reproduction has."""
    names = list(choices("reproduce"))
    ours = {index for name in names for row in load(name).rows.values() for index in their_row(load(name), row).index}
    rest = published().drop(index=list(ours))
    yield "## Published rows without a reproduction\n"
    counts = rest.groupby(["source", "data"], sort=True).size().reset_index()
    yield table(("source", "data", "rows"), list(counts.itertuples(index=False, name=None))) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
