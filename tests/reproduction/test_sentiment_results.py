"""The committed results of the sentiment experiment, and the tables that the guide makes of them."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from scripts.sentiment_results import COLUMNS, CSV, HISTORY, PLANS, main, tables


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    return pd.read_csv(CSV, dtype={"run_id": str})


def test_the_guide_s_tables_are_those_of_the_csv() -> None:
    assert main(["--check"]) == 0, "run: python scripts/sentiment_results.py"


def test_every_run_says_what_it_was(committed: pd.DataFrame) -> None:
    assert tuple(committed) == COLUMNS
    needed = committed.drop(columns=["git_dirty"])
    assert not needed.isna().any().any()
    assert not committed["git_dirty"].any()
    assert not re.search(r"/(work|home|Users|tmp)/", CSV.read_text("utf-8"))
    assert not committed.duplicated(["run_id", "seed"]).any()


def test_rows_of_a_cell_differ_in_dropout_alone(committed: pd.DataFrame) -> None:
    others = committed["overrides"].str.replace(r"dropout=\w+ ?", "", regex=True)
    for _, part in others.groupby([committed["split_by"], committed["cell"]]):
        assert part.nunique() == 1
    assert set(committed["dropout"]) <= set(PLANS)


def test_the_best_epoch_is_that_of_the_history(committed: pd.DataFrame) -> None:
    history = pd.read_csv(HISTORY, dtype={"run_id": str}).set_index(["run_id", "seed"])
    for run in committed.to_dict("records"):
        valid = history.loc[[(run["run_id"], run["seed"])], "valid_rmse"].to_numpy()
        assert len(valid) == run["epochs"] and 1 + int(np.argmin(valid)) == run["best_epoch"]
        assert valid.min() == pytest.approx(run["valid_rmse"])


def test_a_mean_is_a_mean() -> None:
    row = {"split_by": "review", "cell": "gru", "valid_rmse": 0.2, "train_rmse": 0.1, "best_epoch": 2, "epochs": 3,
           "train_seconds": 10.0}  # fmt: skip
    runs = [
        {**row, "dropout": plan, "seed": seed, "test_rmse": base + 0.01 * seed}
        for plan, base in (("none", 0.20), ("variational", 0.16))
        for seed in (0, 1, 2)
    ]
    text = tables(pd.DataFrame(runs))
    assert (
        "| gru | `none` | 3 | 0.2000 ± 0.0000 | 0.2100 ± 0.0100 | 0.1000 ± 0.0000 | +0.1100 | 2, 2, 2 of 3, 3, 3 | 10 |"
        in text
    )
    assert "- gru: `variational` changes test RMSE by −0.0400 (−19.1 %) against `none`, Welch's t test p = " in text
