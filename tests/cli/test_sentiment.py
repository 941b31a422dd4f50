"""The second task from the command line, in real subprocesses: run, sweep, report, plot, show, eval, doctor, errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rnndrop.display.digits import number
from tests.conftest import TINY, Command
from tests.reviews import SMALL, write


@pytest.fixture
def reviews(tmp_path: Path) -> list[str]:
    write(tmp_path / "reviews.tsv")
    return [*SMALL, "data.file=reviews.tsv"]


def test_a_sweep_is_skipped_reported_and_drawn(rnndrop: Command, reviews: list[str]) -> None:
    grid = [*reviews, "dropout=none,variational", "model=lstm,gru", "seed=0,1", "trainer.epochs=1"]
    done = rnndrop("sweep", *grid, "--json")
    assert done.returncode == 0, done.stderr
    again = rnndrop("sweep", *grid)
    assert again.returncode == 0 and "8 finished" in again.stdout + again.stderr
    rows = json.loads(rnndrop("report", "--format", "json").stdout)
    assert len(rows) == 4 and all(row["test_rmse"] > 0 and row["valid_rmse"] > 0 and row["n"] == 2 for row in rows)
    assert [row["test_rmse"] for row in rows] == sorted(row["test_rmse"] for row in rows)
    assert not any("perplexity" in name and row[name] is not None for row in rows for name in row)
    text = rnndrop("report", "--baseline", "none").stdout
    assert "change of test RMSE over all seeds" in text and "units of the ratings" in text
    curves = rnndrop("plot", "curves", "-o", "curves.svg", "--where", "model=lstm")
    assert curves.returncode == 0, curves.stderr
    assert "valid RMSE" in rnndrop("plot", "curves").stdout
    assert rnndrop("report", "--html", "page.html").returncode == 0


def test_two_tasks_are_two_tables(rnndrop: Command, reviews: list[str], tmp_path: Path) -> None:
    for request in (reviews, TINY):
        assert rnndrop("run", *request, "trainer.epochs=1").returncode == 0
    tables = rnndrop("report").stdout.split("\n\n")
    assert len(tables) == 2 and "data=synthetic" in tables[0] and "data=reviews" in tables[1]
    rows = json.loads(rnndrop("report", "--format", "json").stdout)
    assert [(row["data"], row["test_perplexity"] is None, row["test_rmse"] is None) for row in rows] == [
        ("synthetic", False, True),
        ("reviews", True, False),
    ]
    only = rnndrop("report", "--metric", "valid_rmse", "--format", "json")
    assert [row["data"] for row in json.loads(only.stdout)] == ["reviews"]
    page = rnndrop("report", "--html", str(tmp_path / "page.html"))
    assert page.returncode == 2 and "--where task=sentiment" in page.stderr
    assert rnndrop("report", "--where", "task=sentiment", "--html", str(tmp_path / "page.html")).returncode == 0


def test_one_run_is_shown_watched_examined_and_evaluated(rnndrop: Command, reviews: list[str]) -> None:
    done = rnndrop("run", *reviews, "dropout=variational", "--json")
    record = json.loads(done.stdout)
    assert record["status"] == "finished" and 0 < record["metrics"]["test_rmse"] < 10
    assert f"valid {number(record['metrics']['valid_rmse'])} ↓" in done.stderr
    name = record["run_id"]
    shown = rnndrop("show", name)
    assert shown.returncode == 0 and "valid RMSE by epoch" in shown.stdout
    evaluated = rnndrop("eval", name, "--mc", "2")
    assert evaluated.returncode == 0 and "MC (2 samples)" in evaluated.stdout
    (row,) = json.loads(rnndrop("watch", "results/runs", "--json").stdout)
    assert len(row["valid_rmse"]) == 2
    assert rnndrop("doctor", *reviews).returncode == 0
    assert rnndrop("masks", *reviews, "dropout=variational").returncode == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.file=nowhere.tsv", "No file nowhere.tsv"),
        ("data.file=broken.tsv", "broken.tsv, line 1: 'five stars' is not a rating"),
        ("data=movie_reviews data.root=.", "subj.Dennis+Schwartz"),
        ("data=ptb", "data=ptb is for task=language_model"),
        ("data.split_by=critic", "data.split_by=critic"),
        ("task=sentimental", "Did you mean 'sentiment'"),
    ],
)
def test_a_wrong_request_is_one_message(
    rnndrop: Command, reviews: list[str], tmp_path: Path, change: str, message: str
) -> None:
    (tmp_path / "broken.tsv").write_text("five stars\tgood\n")
    keys = [each.partition("=")[0] for each in change.split()]
    keys += ["data.file"] * change.startswith("data=")
    done = rnndrop("run", *(each for each in reviews if each.partition("=")[0] not in keys), *change.split())
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not done.stdout
