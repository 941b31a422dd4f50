"""The sentiment experiment's committed results: `python scripts/sentiment_results.py [RUNS]`.

With folders of runs, writes their records to `results/sentiment.csv` (a row a run) and `results/history/sentiment.csv`
(a row an epoch); the runs that these hold already stay. Always writes the tables of docs/guide/sentiment.md from the
CSV; `--check` only says whether they are up to date.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rnndrop.report.committed import write
from rnndrop.report.frames import load_runs
from rnndrop.stats import Difference, difference, holm
from rnndrop.store.records import read_history

ROOT = Path(__file__).parent.parent
CSV, HISTORY = ROOT / "results" / "sentiment.csv", ROOT / "results" / "history" / "sentiment.csv"
GUIDE = ROOT / "docs" / "guide" / "sentiment.md"
COLUMNS = (
    "run_id", "seed", "task", "split_by", "cell", "dropout", "plan", "valid_rmse", "test_rmse", "train_rmse",
    "best_epoch", "epochs", "parameters", "train_seconds", "hardware", "device", "threads", "torch", "git_revision",
    "git_dirty", "data_sha256", "overrides",
)  # fmt: skip
EPOCH = ("epoch", "train_rmse", "valid_rmse")
PATHS = ("output=", "data.root=", "seed=", "trainer.threads=")
OURS = ("variational", "variational_untied")
PLANS = ("none", "naive", *OURS)


def tidy(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a finished run of task=sentiment, in the columns `COLUMNS`, without paths and host names."""
    runs = runs[(runs["task"] == "sentiment") & (runs["status"] == "finished")]
    return pd.DataFrame(
        {
            **row,
            "split_by": row["settings"]["data.split_by"],
            "cell": _cell(row["settings"]),
            "hardware": row["environment"]["device_name"],
            "threads": row["environment"]["threads"],
            "torch": row["environment"]["torch"],
            "overrides": " ".join(each for each in row["overrides"] if not each.startswith(PATHS)),
        }
        for row in runs.to_dict("records")
    )


def _cell(settings: Mapping[str, Any]) -> str:
    """A cell, and the first bias of its forget gate where it has one."""
    bias = settings.get("model.forget_bias")
    return f"{settings['model.cell']}{f', forget bias {bias:g}' if bias else ''}"


def tables(csv: pd.DataFrame) -> str:
    """Mean ± std over the seeds of each cell and plan, a table a split, and those of `OURS` against the others.

    The p-values are Holm-corrected over all the tests there are below the tables.
    """
    parts = []
    tests = {
        (split, cell, plan): found
        for (split, cell), runs in csv.groupby(["split_by", "cell"])
        for plan, found in _tests(runs).items()
    }
    corrected = dict(zip(tests, holm([found.p for found, _ in tests.values()]), strict=True))
    for split, rows in sorted(csv.groupby("split_by"), reverse=True):
        parts += [
            f"**`data.split_by={split}`**",
            "",
            "| cell | dropout | seeds | valid | test | train | test − train | best epoch of | seconds |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for cell in sorted(rows["cell"].unique(), reverse=True):
            own = rows[rows["cell"] == cell]
            parts += [_row(cell, plan, own[own["dropout"] == plan]) for plan in PLANS if (own["dropout"] == plan).any()]
        parts += [""]
        for cell in sorted(rows["cell"].unique(), reverse=True):
            own = {key: (*tests[key], corrected[key]) for key in tests if key[:2] == (split, cell)}
            plans = rows.loc[rows["cell"] == cell, "dropout"]
            ours = next((plan for plan in OURS if plan in set(plans)), "")
            parts.append(_against(cell, ours, {plan: each for (_, _, plan), each in own.items()}, len(tests)))
        parts.append("")
    return "\n".join(parts).strip()


def _row(cell: str, plan: str, runs: pd.DataFrame) -> str:
    scores = [_spread(runs[f"{split}_rmse"]) for split in ("valid", "test", "train")]
    gap = f"{(runs['test_rmse'] - runs['train_rmse']).mean():+.4f}".replace("-", "−")
    epochs = f"{', '.join(map(str, runs['best_epoch']))} of {', '.join(map(str, runs['epochs']))}"
    cells = [cell, f"`{plan}`", str(len(runs)), *scores, gap, epochs, f"{runs['train_seconds'].mean():.0f}"]
    return f"| {' | '.join(cells)} |"


def _spread(values: pd.Series) -> str:
    return f"{values.mean():.4f}" + (f" ± {values.std():.4f}" if len(values) > 1 else "")


def _tests(runs: pd.DataFrame) -> dict[str, tuple[Difference, float]]:
    """What that of `OURS` changes in test RMSE against each other plan of a cell, and the ratio of the means."""
    scores = {plan: list(own["test_rmse"]) for plan, own in runs.groupby("dropout")}
    ours, found = next((scores[plan] for plan in OURS if plan in scores), []), {}
    for plan in ("none", "naive"):
        if ours and (theirs := scores.get(plan, [])):
            found[plan] = difference(ours, theirs), math.exp(difference(ours, theirs).log_ratio)
    return found


def _against(cell: str, ours: str, found: dict[str, tuple[Difference, float, float]], tests: int) -> str:
    """The changes of a cell in words; `found`: by plan, with the corrected p-value."""
    words = []
    for plan, (pair, ratio, p) in found.items():
        shown = "" if pd.isna(p) else f", Welch's t test p = {p:.2g}"
        words.append(f"{pair.difference:+.4f} ({100 * (ratio - 1):+.1f} %) against `{plan}`{shown}".replace("-", "−"))
    if not words:
        return f"- {cell}"
    holm_ = f" (Holm-corrected over {tests} tests)" if "p =" in words[-1] else ""
    return f"- {cell}: `{ours}` changes test RMSE by {' and by '.join(words)}{holm_}."


def main(arguments: list[str]) -> int:
    """Write, or check; return the exit code."""
    check, folders = "--check" in arguments, [each for each in arguments if each != "--check"]
    for folder in () if check else folders:
        runs = tidy(load_runs(folder))
        epochs = [
            {"run_id": run["run_id"], "seed": run["seed"], **{key: row[key] for key in EPOCH}}
            for run in runs.to_dict("records")
            for row in read_history(Path(run["folder"]))
        ]
        write(CSV, runs[list(COLUMNS)])
        write(HISTORY, pd.DataFrame(epochs))
    text = GUIDE.read_text(encoding="utf-8")
    made = tables(pd.read_csv(CSV, dtype={"run_id": str}))
    new = re.sub(r"(?<=<!-- tables -->\n).*?(?=\n<!-- end -->)", lambda _: made, text, flags=re.DOTALL)
    if not check:
        GUIDE.write_text(new, encoding="utf-8")
    return int(check and new != text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
