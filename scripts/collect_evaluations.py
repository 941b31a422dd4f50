"""Turn the evaluations of runs into a tidy CSV for `results/evaluations/`.

    python -m scripts.collect_evaluations RUNS... --to results/evaluations/NAME.csv

One row for each way in which a run's weights were evaluated, of which a record keeps one of a kind: copies of a run
that were evaluated otherwise are given as further folders. What the CSV holds already stays, unless it is collected
again; a run that was trained to another score is named and left out, for its weights are not those. NAME is a
reproduction whose results hold the runs; then `python scripts/results_page.py` writes the page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from math import isclose
from typing import Any

import pandas as pd

from rnndrop.config.metrics import MEASURED
from rnndrop.errors import RequestError
from rnndrop.report.committed import EVALUATION, KEY
from rnndrop.report.frames import load_runs
from scripts.collect_results import read

PLAIN, SCORE = "deterministic", "test_perplexity"


def main(arguments: Sequence[str]) -> int:
    """Collect; return the exit code."""
    given = read(arguments, __doc__)
    try:
        runs = [run for folder in given.runs for run in load_runs(folder).to_dict("records")]
    except RequestError as error:
        print(error, file=sys.stderr)
        return 2
    table = pd.DataFrame(columns=list(EVALUATION))
    if given.to.exists():
        table = pd.read_csv(given.to, dtype={"run_id": str}, keep_default_na=False)
    plain = table[table["evaluation"] == PLAIN]
    trained = dict(zip(zip(plain["run_id"], plain["seed"], strict=True), plain[SCORE], strict=True))
    found: list[dict[str, Any]] = []
    for run in runs:
        if isclose(float(trained.setdefault((run["run_id"], run["seed"]), run[SCORE])), run[SCORE], rel_tol=1e-12):
            found += _rows(run)
        else:
            print(f"left out {run['folder']}: its weights are not those that have been evaluated", file=sys.stderr)
    table = pd.concat([part for part in (table, pd.DataFrame(found, columns=list(EVALUATION))) if len(part)])
    given.to.parent.mkdir(parents=True, exist_ok=True)
    table = table.drop_duplicates([*KEY, "evaluation"], keep="last").sort_values([*KEY, "evaluation"])
    table.to_csv(given.to, index=False, lineterminator="\n")
    print(f"{given.to}: {len(table)} evaluations")
    return 0


def _rows(run: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    """The ways in which a language model was evaluated, as it was trained first."""
    for mode in ("", *MEASURED):
        name = f"perplexity_{mode}" if mode else "perplexity"
        if pd.isna(run[f"test_{name}"]):
            continue
        yield {
            **{key: run[key] for key in KEY},
            "evaluation": f"{mode} {run[mode]}" if mode else PLAIN,
            **{
                f"{split}_perplexity{part}": run.get(f"{split}_{name}{part}")
                for split in ("valid", "test")
                for part in ("", "_stderr")
            },
        }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
