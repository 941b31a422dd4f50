"""Turn records into a tidy CSV for `results/`: `python scripts/collect_results.py RUNS... --to results/NAME.csv`.

One row a run, without paths and host names; the epochs go to `results/history/NAME.csv`. Runs that the CSV holds
already stay, and are only replaced by the same evaluated further; those that were interrupted, that are of another
task, or that another reproduction ran and NAME has no row for are left out. NAME is a reproduction
(`rnndrop ls reproduce`); then `python scripts/results_page.py` writes the page.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pandas as pd

from rnndrop.config.compose import choices
from rnndrop.errors import RequestError
from rnndrop.report.committed import histories, settled, tidy, write
from rnndrop.reproduction.recipe import label, load, plans
from rnndrop.store.records import TRIAL
from rnndrop.values import Scale

SCALES = get_args(Scale)


def read(arguments: Sequence[str], about: str | None) -> argparse.Namespace:
    """The folders of runs and the CSV of a command line."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("--to", required=True, type=Path, metavar="CSV")
    return parser.parse_args(arguments)


def rows_of(name: str) -> set[tuple[str, int]]:
    """Run id and seed of all that a reproduction may run; another one may have been the first to do so."""
    every = (job for scale in SCALES for plan in plans(load(name), scale) for job in plan.every)
    return {(job.folder.parent.name, job.config.seed) for job in every}


def main(arguments: Sequence[str]) -> int:
    """Collect; return the exit code."""
    given = read(arguments, __doc__)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            runs = settled(given.runs, given.to)
        print("".join(f"warning: {each.message}\n" for each in said), end="", file=sys.stderr)
    except RequestError as error:
        print(error, file=sys.stderr)
        return 2
    others = {label(name, scale) for name in choices("reproduce") for scale in SCALES if name != given.to.stem}
    others |= {f"{TRIAL}-{name}" for name in others}
    foreign = runs["label"].isin(others)
    if foreign.any() and given.to.stem in choices("reproduce"):
        rows = rows_of(given.to.stem)
        foreign &= pd.Series([key not in rows for key in zip(runs["run_id"], runs["seed"], strict=True)], runs.index)
    if foreign.any():
        print(f"left out: {foreign.sum()} runs of {', '.join(sorted(runs.loc[foreign, 'label'].unique()))}")
        runs = runs[~foreign]
    write(given.to, tidy(runs))
    write(given.to.parent / "history" / given.to.name, histories(runs))
    print(f"{given.to}: {len(runs)} runs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
