"""Committed results: a tidy CSV says all that matters and nothing about the machine's paths."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rnndrop.report.committed import HISTORY, TIDY, histories, read, settled, tidy, write
from rnndrop.report.compare import compare
from rnndrop.report.frames import SkippedRecordWarning, load_runs
from tests.edited import as_json


def test_a_csv_gives_the_same_comparison_as_the_records(few: Path, tmp_path: Path) -> None:
    runs, path = load_runs(few), tmp_path / "few.csv"
    write(path, tidy(runs))
    again = read(path)
    assert len(again) == 15 and list(pd.read_csv(path)) == list(TIDY)
    assert (again["identity"] == again["run_id"]).all()
    shown = ["dropout", "n", "test_perplexity", "test_perplexity_std", "valid_perplexity", "change", "p_holm"]
    ours, theirs = (compare(each, baseline="none")[shown] for each in (runs, again))
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)


def test_no_paths_and_no_hosts(few: Path, tmp_path: Path) -> None:
    for path in few.rglob("record.json"):
        record = json.loads(path.read_text())
        record["overrides"] += ["output=/home/someone/runs", "data.root=/data/ptb", "seed=3", "label=x"]
        record["config"] |= {"output": "/home/someone/runs", "data": record["config"]["data"] | {"root": "/data/ptb"}}
        record["environment"]["host"] = "somewhere"
        path.write_text(as_json(record))
    write(tmp_path / "few.csv", tidy(load_runs(few)))
    text = (tmp_path / "few.csv").read_text()
    assert not any(word in text for word in ("/", "somewhere", "someone", "invented"))
    assert "dropout=naive" in text and "model.hidden=200" in text


def test_what_a_csv_has_already_stays(few: Path, tmp_path: Path) -> None:
    runs, path = load_runs(few), tmp_path / "few.csv"
    write(path, tidy(runs[runs["seed"] < 2]))
    write(path, tidy(runs[runs["seed"] > 0]))
    whole = tmp_path / "whole.csv"
    write(whole, tidy(runs))
    assert path.read_text() == whole.read_text()
    write(path, tidy(runs))
    assert path.read_text() == whole.read_text()


def _of_reviews(record: dict[str, Any]) -> None:
    record["config"]["task"] = "sentiment"
    record["metrics"] = {name.replace("perplexity", "rmse"): value for name, value in record["metrics"].items()}


def test_only_what_came_to_an_end_and_never_a_failure_for_a_success(
    few: Path, tmp_path: Path, change: Callable[..., None]
) -> None:
    path, broken = tmp_path / "few.csv", tmp_path / "broken"
    shutil.copytree(few, broken)
    change(broken, lambda record: record.update(status="failed", metrics={}), lambda record: record["seed"] == 0)
    change(broken, lambda record: record.update(status="interrupted"), lambda record: record["seed"] == 1)
    with pytest.warns(SkippedRecordWarning, match="broken/.*not the same as"):
        both = settled([str(broken), str(few)], path)
    assert len(both) == 15 and (both["status"] == "finished").all()
    change(broken, _of_reviews, lambda record: record["seed"] == 2)
    assert sorted(settled([str(broken)], path)["seed"].unique()) == [0, 3, 4]
    write(path, tidy(load_runs(few)))
    with pytest.warns(SkippedRecordWarning, match="the CSV has it, and this is a run that failed"):
        assert sorted(settled([str(broken)], path)["seed"].unique()) == [3, 4]


def test_histories_have_a_row_an_epoch(few: Path, tmp_path: Path) -> None:
    runs = load_runs(few)
    table = histories(runs)
    assert list(table) == list(HISTORY) and len(table) == int(runs["epochs"].sum())


@pytest.mark.parametrize("setting", ["trainer.window=7", "trainer.learning_rate=0.0123456789", "trainer.clip=null"])
def test_settings_come_back_to_the_last_digit(few: Path, tmp_path: Path, setting: str) -> None:
    from rnndrop.config.compose import compose
    from rnndrop.config.identity import run_id

    config = compose([setting])
    for path in few.rglob("record.json"):
        record = json.loads(path.read_text())
        record["config"] = config.model_dump(mode="json")
        path.write_text(as_json(record))
    write(tmp_path / "few.csv", tidy(load_runs(few)))
    assert set(read(tmp_path / "few.csv")["identity"]) == {run_id(config)}
