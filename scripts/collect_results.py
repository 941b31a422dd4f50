"""Turn records into a tidy CSV for `results/`: `python scripts/collect_results.py RUNS... --to results/NAME.csv`.

One row a run, without paths and host names; the epochs go to `results/history/NAME.csv`. Runs that the CSV holds
already stay; those that were interrupted, that are of another task, or that another reproduction ran are left out. NAME
is a reproduction (`rnndrop ls reproduce`); then `python scripts/results_page.py` writes the page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rnndrop.config.compose import choices
from rnndrop.errors import RequestError
from rnndrop.report.committed import histories, settled, tidy, write
from rnndrop.reproduction.recipe import label
from rnndrop.store.records import TRIAL
from rnndrop.values import Scale

SCALES = get_args(Scale)


def read(arguments: Sequence[str], about: str | None) -> argparse.Namespace:
    """The folders of runs and the CSV of a command line."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("--to", required=True, type=Path, metavar="CSV")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Collect; return the exit code."""
    given = read(arguments, __doc__)
    try:
        runs = settled(given.runs, given.to)
    except RequestError as error:
        print(error, file=sys.stderr)
        return 2
    others = {label(name, scale) for name in choices("reproduce") for scale in SCALES if name != given.to.stem}
    others |= {f"{TRIAL}-{name}" for name in others}
    if (foreign := runs["label"].isin(others)).any():
        print(f"left out: {foreign.sum()} runs of {', '.join(sorted(runs.loc[foreign, 'label'].unique()))}")
        runs = runs[~foreign]
    write(given.to, tidy(runs))
    write(given.to.parent / "history" / given.to.name, histories(runs))
    print(f"{given.to}: {len(runs)} runs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
