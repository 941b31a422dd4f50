"""`rnndrop reproduce` in a real process, on text of its own with a tiny model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Command

TOKENS = 600


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Overrides that leave of any reproduction a run of a second."""
    words = " ".join(f"w{number * number % 37}" for number in range(TOKENS))
    (tmp_path / "text.txt").write_text("\n".join(words[start : start + 60] for start in range(0, len(words), 60)))
    return [
        "data=text", "data.file=text.txt", "data.train_tokens=400", "model.hidden=8", "trainer.epochs=1",
        "trainer.threads=1", "trainer.device=cpu", "evaluation.batch_size=2",
    ]  # fmt: skip


def test_ours_beside_the_published_and_nothing_twice(rnndrop: Command, tmp_path: Path, tiny: list[str]) -> None:
    request = ["reproduce", "zaremba_small", "--scale", "small", *tiny, "seed=0,1", "--jobs", "2"]
    plan = rnndrop(*request, "--dry-run", "--json")
    assert [row["would"] for row in json.loads(plan.stdout)] == ["run", "run"]
    assert not list(tmp_path.rglob("record.json"))

    done = rnndrop(*request)
    assert done.returncode == 0, done.stderr
    title, *table = done.stdout.splitlines()
    assert title.startswith("zaremba_small, small scale: data.train_tokens=100000") and "not comparable" in title
    assert any(line.split()[:3] == ["small", "test", "2"] and "114.5" in line for line in table)

    records = {path: json.loads(path.read_text()) for path in tmp_path.rglob("record.json")}
    assert len(records) == 2
    assert all(record["config"]["label"] == "zaremba_small-small" for record in records.values())
    assert all("label=zaremba_small-small" in record["overrides"] for record in records.values())
    times = {path: path.stat().st_mtime_ns for path in records}
    again = rnndrop(*request, "--json")
    assert again.returncode == 0 and times == {path: path.stat().st_mtime_ns for path in records}
    rows = json.loads(again.stdout)
    tests = [record["metrics"]["test_perplexity"] for record in records.values()]
    (row,) = [row for row in rows if row["metric"] == "test_perplexity"]
    assert row["scale"] == "small" and row["n"] == 2 and row["ours"] == pytest.approx(sum(tests) / 2)
    assert row["published"] == 114.5 and row["within"] is None
    report = rnndrop("report", "results/runs", "--format", "md")
    assert "label=zaremba\\_small-small" in report.stdout


def test_no_verdict_on_what_is_not_the_recipe(rnndrop: Command, tiny: list[str]) -> None:
    done = rnndrop("reproduce", "zaremba_small", *tiny, "++seed=0")
    assert done.returncode == 0, done.stderr
    assert "114.5" in done.stdout and "(±" not in done.stdout
    assert done.stdout.startswith("zaremba_small, full scale; with data=text ")
    rows = json.loads(rnndrop("reproduce", "zaremba_small", *tiny, "++seed=0", "--json").stdout)
    assert all(row["n"] == 1 and row["within"] is None and "data=text" in row["overrides"] for row in rows)


SEARCHED = """# Three plans, two of them with rates.
seeds: "1"
factors: [0.5, 1.0, 1.5]
baseline: none
small: []
rows:
  none: {run: [dropout=none]}
  naive: {run: [dropout=naive]}
  zoneout: {run: [dropout=zoneout]}
"""


def test_rates_are_searched_with_a_seed_that_is_not_reported(rnndrop: Command, tmp_path: Path, tiny: list[str]) -> None:
    (tmp_path / "rnndrop_conf" / "reproduce").mkdir(parents=True)
    (tmp_path / "rnndrop_conf" / "reproduce" / "mine.yaml").write_text(SEARCHED)
    request = ["reproduce", "mine", *tiny, "--jobs", "2"]
    plan = rnndrop(*request, "--dry-run")
    assert "7 runs: 7 new" in plan.stderr + plan.stdout and "and 2 more" in plan.stderr
    done = rnndrop(*request, "--json", timeout=300)
    assert done.returncode == 0, done.stderr
    assert "6 runs: 6 new" in done.stderr and "3 runs: 3 new" in done.stderr
    rows = [row for row in json.loads(done.stdout) if row["metric"] == "test_perplexity"]
    assert len(rows) == 3 and all(row["n"] == 1 and row["published"] is None for row in rows)
    found = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    assert Counter(record["seed"] for record in found) == {0: 6, 1: 3}
    for row in rows:
        own = [each for each in found if each["config"]["dropout"]["name"] == row["row"]]
        tried = {each["run_id"]: each["metrics"]["valid_perplexity"] for each in own if each["seed"] == 0}
        (kept,) = (each for each in own if each["seed"] == 1)
        assert kept["metrics"]["test_perplexity"] == row["ours"]
        assert row["row"] == "none" or tried[kept["run_id"]] == min(tried.values())
        assert row["factor"] in (None, 0.5, 1.0, 1.5) and (row["factor"] is None) == (row["row"] == "none")


GRID = """# Two cells × two plans.
seeds: "1"
factors: [0.5, 1.0]
baseline: none
small: []
grid:
  first: [trainer.learning_rate=0.001, trainer.learning_rate=0.05]
  cells: {gru: [model.cell=gru], mingru: [model.cell=mingru]}
  plans: {none: [dropout=none], locked: [dropout=locked]}
"""


def test_a_grid_of_one_s_own_goes_cell_by_cell(rnndrop: Command, tmp_path: Path, tiny: list[str]) -> None:
    (tmp_path / "rnndrop_conf" / "reproduce").mkdir(parents=True)
    (tmp_path / "rnndrop_conf" / "reproduce" / "mine.yaml").write_text(GRID)
    plan = rnndrop("reproduce", "mine", *tiny, "--dry-run")
    assert plan.stdout.count("none, trainer.learning_rate=0.05, seed=0") == 2
    assert "4 runs: 4 new" in plan.stderr and "and 4 more: the search" in plan.stderr

    request = ["reproduce", "mine", *tiny, "--json"]
    done = rnndrop(*request, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = {row["row"]: row for row in json.loads(done.stdout) if row["metric"] == "test_perplexity"}
    assert list(rows) == ["gru none", "gru locked", "mingru none", "mingru locked"]
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    assert Counter(each["seed"] for each in records) == {0: 8, 1: 4}
    for cell in ("gru", "mingru"):
        own = [each for each in records if each["config"]["model"]["cell"] == cell]
        first = [each for each in own if each["seed"] == 0 and each["config"]["dropout"]["name"] == "none"]
        best = min(first, key=lambda each: float(each["metrics"]["valid_perplexity"]))
        rate = best["config"]["trainer"]["learning_rate"]
        assert all(each["config"]["trainer"]["learning_rate"] == rate for each in own if each not in first)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}
    again = rnndrop(*request)
    assert again.stdout == done.stdout and times == {path: path.stat().st_mtime_ns for path in times}


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        (["zaremba_smal"], "Did you mean 'zaremba_small'?"),
        (["zaremba_small", "--scale", "tiny"], "Valid: full small"),
        (["zaremba_small", "model.hiden=3"], "Did you mean 'model.hidden'?"),
        (["zaremba_small", "model.hidden=3,4"], "only the seed"),
        (["low_data", "seed=0,4"], "seed=0 chooses the rates"),
        (["gal_large", "dropout=none"], "the rows tied and untied are the same run"),
        (["zaremba_small", "dropout=null"], "No dropout 'null'"),
    ],
)
def test_a_wrong_request(rnndrop: Command, tmp_path: Path, arguments: list[str], needle: str) -> None:
    done = rnndrop("reproduce", *arguments)
    assert done.returncode == 2 and needle in done.stderr and done.stdout == "" and not list(tmp_path.iterdir())


def test_ls_names_them(rnndrop: Command) -> None:
    assert "zaremba_small" in rnndrop("ls", "reproduce").stdout


def test_the_results_that_come_with_rnndrop_without_a_run(rnndrop: Command, tmp_path: Path) -> None:
    shown = rnndrop("reproduce", "zaremba_small", "--committed")
    assert shown.returncode == 0, shown.stderr
    assert any(line.split()[:5] == ["small", "test", "1", "114.9", "114.5"] for line in shown.stdout.splitlines())
    assert not list(tmp_path.rglob("record.json"))
    refused = rnndrop("reproduce", "zaremba_small", "--committed", "seed=1")
    assert refused.returncode == 2 and "takes no settings, as seed=1" in refused.stderr
