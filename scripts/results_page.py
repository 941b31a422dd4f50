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
from rnndrop.reproduction.measured import Measured
from rnndrop.reproduction.outcomes import their_row
from rnndrop.reproduction.readme import other, section, table
from rnndrop.reproduction.recipe import load

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
    figures = [figure for each in measured for figure in each.figures()]
    if given.check:
        stale = not path.exists() or path.read_text(encoding="utf-8") != page
        missing = [str(figure) for figure in figures if not (given.results / figure).exists()]
        if stale or missing:
            print(f"Run: python scripts/results_page.py ({'the page is old' if stale else ''} {' '.join(missing)})")
        return int(stale or bool(missing))
    path.write_text(page, encoding="utf-8")
    for each in measured:
        each.draw(given.results)
    return 0


def text(results: Path, measured: Sequence[Measured]) -> str:
    """The whole page."""
    sections = [OPENING, *_standing(measured)]
    for each in measured:
        if each.scale == "full" or each.any:
            sections += section(each)
    names = choices("reproduce")
    for path in sorted(results.glob("*.csv")):
        if path.stem not in names:
            sections += other(path)
    return "\n".join([*sections, *_beyond()])


def _standing(measured: Sequence[Measured]) -> Iterator[str]:
    """What is measured and what is not."""
    yield "## What is measured\n"
    full = [each for each in measured if each.scale == "full"]
    rows = [
        (f"[`{each.name}`](#{each.name})", len(each.plans), len(each.rows), ", ".join(each.lacking) or "–")
        for each in full
    ]
    yield table(("reproduction", "rows", "measured", "not yet measured"), rows)
    beside = pd.concat([their_row(each.reproduction, row) for each in full for row in each.reproduction.rows.values()])
    with_numbers = sum(1 for each in full for outcome in each.outcomes if outcome.ours and outcome.published)
    yield (
        f"\n{len(beside.drop_duplicates())} of the {len(published())} published rows have a reproduction; "
        f"{with_numbers} of their numbers are measured, below.\n"
    )


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
