"""A grid of cells and plans: its rows, and its tables on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from rnndrop.config.identity import run_id
from rnndrop.config.schema import Config
from rnndrop.errors import RequestError
from rnndrop.report.committed import read
from rnndrop.reproduction import grid
from rnndrop.reproduction.measured import Measured
from rnndrop.reproduction.outcomes import settle
from rnndrop.reproduction.readme import section
from rnndrop.reproduction.recipe import Reproduction, load, plans
from rnndrop.store.records import HISTORY, RECORD, SCHEMA, Record
from rnndrop.sweeps.scheduler import Job
from scripts import collect_results

TWO_BY_THREE = Reproduction.model_validate(
    {
        "name": "invented",
        "about": "Invented.",
        "common": ["data.train_tokens=1000"],
        "seeds": "1,2,3",
        "factors": [0.5, 1.0],
        "baseline": "none",
        "grid": {
            "cells": {"lstm": ["model.cell=lstm"], "fast": ["model.cell=mingru", "trainer.learning_rate=0.01"]},
            "plans": {"none": ["dropout=none"], "locked": ["dropout=locked"], "update": ["dropout=recurrent_update"]},
            "first": ["trainer.clip=1", "trainer.clip=2"],
        },
        "small": [],
    }
)
TEST = {  # by row, of seeds 1, 2 and 3
    "lstm none": (300.0, 301.0, 299.0),
    "lstm locked": (250.0, 251.0, 252.0),
    "lstm update": (300.1, 300.9, 299.2),
    "fast none": (280.0, 290.0, 270.0),
    "fast locked": (281.0, 287.0, 292.0),
    "fast update": (370.0, 371.0, 375.0),
}


def settled(jobs: Sequence[Job], best: str = "trainer.clip=2") -> None:
    """As if the runs that come first were over."""
    for job in jobs:
        metrics = {"valid_perplexity": 90.0 if best in job.overrides else 95.0}
        job.state, job.record = "finished", Record(SCHEMA, "", 0, "finished", job.overrides, {}, metrics=metrics)


def test_every_pair_of_a_cell_and_a_plan_is_a_row() -> None:
    table = {plan.row: plan for plan in plans(TWO_BY_THREE, "full", settle=settled)}
    assert list(table) == list(TEST)
    config = table["fast locked"].jobs[0.5][0].config
    assert (config.model.cell, config.trainer.learning_rate, config.data.train_tokens) == ("mingru", 0.01, 1000)
    assert (config.dropout.input.kind, config.dropout.input.p) == ("locked", 0.25)
    assert table["fast locked"].jobs[0.5][0].name == "fast locked × 0.5, seed=1"


@pytest.mark.parametrize(("best", "clip"), [("trainer.clip=1", 1.0), ("trainer.clip=2", 2.0)])
def test_what_is_tried_first_is_what_all_rows_of_the_cell_have(best: str, clip: float) -> None:
    def settle(jobs: Sequence[Job]) -> None:  # of `fast` the other
        for cell in ("lstm", "mingru"):
            own = [job for job in jobs if job.config.model.cell == cell]
            settled(own, best if cell == "lstm" else "trainer.clip=1")

    table = plans(TWO_BY_THREE, "full", settle=settle)
    assert len({job.folder for plan in table for job in plan.first.values()}) == 4
    for plan in table:
        assert [job.config.seed for job in plan.first.values()] == [0, 0]
        assert all(job.config.dropout.name == "none" for job in plan.first.values())
        clips = {job.config.trainer.clip for job in [*plan.search, *plan.jobs[1.0]]}
        assert clips == {clip if plan.row.startswith("lstm") else 1.0}


def test_nothing_else_is_asked_for_before_that_is_known() -> None:
    for plan in plans(TWO_BY_THREE, "full"):
        assert len(plan.first) == 2 and plan.search == [] and plan.factor is None and plan.chosen == []
    given = ["trainer.clip=3"]
    every = [job for plan in plans(TWO_BY_THREE, "full", given, settled) for job in plan.every]
    assert {job.config.trainer.clip for job in every} == {3.0}
    with pytest.raises(RequestError, match="seed=0 chooses the rates of invented"):
        plans(TWO_BY_THREE, "full", ["seed=0"])


def test_what_is_tried_first_needs_a_baseline() -> None:
    grid_ = {"cells": {"a": []}, "plans": {"none": []}, "first": ["trainer.clip=1"]}
    with pytest.raises(ValueError, match="needs a baseline, one of the grid's plans"):
        Reproduction.model_validate({"name": "a", "about": "", "small": [], "baseline": "nnoe", "grid": grid_})


def test_rows_and_a_grid_exclude_each_other() -> None:
    for given in ({}, {"rows": {"a": {"run": []}}, "grid": {"cells": {}, "plans": {}}}):
        with pytest.raises(ValueError, match="give rows or a grid"):
            Reproduction.model_validate({"name": "a", "about": "", "small": [], **given})


def test_the_modern_cells_are_the_same_rows_on_both_corpora() -> None:
    ptb, synthetic = load("modern_cells"), load("modern_cells_synthetic")
    assert ptb.grid and synthetic.grid and list(ptb.rows) == list(synthetic.rows)
    assert ptb.grid.plans == synthetic.grid.plans and ptb.about != synthetic.about
    assert len(ptb.grid.plans) == 10 and ptb.common[0] == "data=ptb" and synthetic.common[0] == "data=synthetic"
    for cell in ptb.grid.cells:
        assert f"model.cell={cell}" in ptb.grid.cells[cell]


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    """All runs of the grid, × 0.5 kept for all rows."""
    table = plans(TWO_BY_THREE, "full", settle=settled)
    for cell in ("lstm", "fast"):
        plan = next(each for each in table if each.row == f"{cell} none")
        for name, job in plan.first.items():
            _write(tmp_path, job.config, 90.0 if name == "trainer.clip=2" else 95.0, 1.0)
    for plan in table:
        for factor, job in plan.trials.items():
            _write(tmp_path, job.config, 100 + factor, 1.0)
        kept = plan.jobs[0.5] if plan.trials else plan.jobs[1.0]
        for job, test in zip(kept, TEST[plan.row], strict=True):
            _write(tmp_path, job.config, 100.0, test)
    assert collect_results.main([str(tmp_path), "--to", str(tmp_path / "invented.csv")]) == 0
    runs = read(tmp_path / "invented.csv")
    settle((job for plan in table for job in plan.every), runs)
    return Measured(TWO_BY_THREE, "full", table, runs, pd.DataFrame(), runs.iloc[:0])


def _write(folder: Path, config: Config, valid: float, test: float) -> None:
    record = Record(
        SCHEMA, run_id(config), config.seed, "finished", ["data=pydoc"], config.model_dump(mode="json"),
        {"name": config.data.name, "sha256": "a" * 64}, {"parameters": 10},
        {"valid_perplexity": valid, "test_perplexity": test, "train_perplexity": 50.0, "best_epoch": 1, "epochs": 1},
        {"train_seconds": 36.0, "tokens_per_second": 100.0},
        {"device": "cpu", "device_name": "invented CPU", "threads": 1, "torch": "2", "git_revision": "0" * 40,
         "git_dirty": False},
    )  # fmt: skip
    place = folder / record.run_id / f"seed-{record.seed}"
    place.mkdir(parents=True)
    (place / RECORD).write_text(record.to_json())
    (place / HISTORY).write_text('{"epoch": 1, "train_perplexity": 50.0, "valid_perplexity": 100.0}\n')


def test_each_plan_is_held_to_the_baseline_of_its_own_cell(measured: Measured) -> None:
    lines = {line["row"]: line for line in measured.compared.to_dict("records")}
    assert lines["fast update"]["difference"] == pytest.approx(372.0 - 280.0)
    assert lines["lstm locked"]["difference"] == pytest.approx(251.0 - 300.0)
    for cell in ("lstm", "fast"):  # Holm's correction is for the two comparisons of the cell
        p = sorted(lines[f"{cell} {plan}"]["p"] for plan in ("locked", "update"))
        assert min(lines[f"{cell} {plan}"]["p_holm"] for plan in ("locked", "update")) == pytest.approx(2 * p[0])
    verdicts = {row: grid.verdict(line) for row, line in lines.items()}
    assert verdicts == {"lstm none": "", "fast none": "", "lstm locked": "better", "lstm update": "equal",
                        "fast locked": "undecided", "fast update": "worse"}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "low", "high", "p", "says"),
    [
        (-0.08, -0.12, -0.03, 0.049, "better"),
        (0.08, 0.03, 0.12, 0.049, "worse"),
        (0.08, 0.03, 0.12, 0.051, "undecided"),
        (0.004, 0.001, 0.009, 0.001, "equal"),
        (0.006, 0.001, 0.011, 0.9, "undecided"),
        (0.08, math.nan, math.nan, math.nan, ""),
    ],
)
def test_a_verdict_needs_an_interval_or_a_corrected_p(
    change: float, low: float, high: float, p: float, says: str
) -> None:
    assert grid.verdict({"change": change, "change_low": low, "change_high": high, "p_holm": p}) == says


def test_the_section_of_a_grid_has_a_column_for_each_cell(measured: Measured) -> None:
    text = "\n".join(section(measured))
    assert "|  | `lstm` | `fast` |" in text
    assert "| `none` | 300.0 ± 1.0 | **280.0 ± 10.0** |" in text
    assert "| `locked` | **251.0 ± 1.0** | 286.7 ± 5.5 |" in text
    assert "| `locked` | -16.3 % [-17.0, -15.6] better | +2.4 % [" in text and "] undecided |" in text
    assert "over seeds 1, 2, 3" in text
    assert "4 differences: 1 better, 1 worse, 1 equal, 1 undecided." in text
    assert "| `update` | 0.5 | 0.5 |" in text and "of 0.5, 1, with the lowest valid perplexity at seed 0." in text
    assert "Of 4 searches 0 ended at the largest and 4 at the smallest, and none beyond was tried." in text
    assert "|  | `trainer.clip=1` | `trainer.clip=2` |" in text and "| `fast` | 95.00 | **90.00** |" in text
    assert measured.figures() == []


def test_a_grid_of_which_little_is_measured_yet_says_what_lacks(measured: Measured) -> None:
    for plan in measured.plans:
        if plan.row not in ("lstm none", "lstm locked", "fast locked"):
            for jobs in plan.jobs.values():
                for job in jobs:
                    job.state = "new"
    text = "\n".join(section(measured))
    assert "| `locked` | -16.3 % [-17.0, -15.6] better |  |" in text
    assert "| `update` |  |  |" in text and "Where nothing stands nothing is measured yet." in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("defaults: [nothing]", r"mine\.yaml: No reproduction 'nothing'"),
        ("defaults: [mine]", r"mine\.yaml: its defaults lead back to mine"),
        ("defaults: low_data", r"mine\.yaml: .* its defaults are a list, as \[low_data, _self_\]"),
        ("- 1", r"mine\.yaml: a reproduction has keys"),
        ("small: []", r"mine\.yaml: (.|\n)*give rows or a grid"),
        ("grid: {cells: {a: [model.cell=gru], b: [model.cell=gru]}, plans: {none: []}}\nsmall: []",
         "mine: the rows a none and b none are the same run"),
    ],
)  # fmt: skip
def test_a_wrong_file_of_one_s_own_is_one_message(
    text: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rnndrop_conf" / "reproduce").mkdir(parents=True)
    (tmp_path / "rnndrop_conf" / "reproduce" / "mine.yaml").write_text(f"# Mine.\n{text}\n")
    with pytest.raises(RequestError, match=says):
        plans(load("mine"), "full")


def test_one_of_one_s_own_starts_from_one_that_starts_from_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rnndrop_conf" / "reproduce").mkdir(parents=True)
    text = "# Mine.\ndefaults: [modern_cells_synthetic, _self_]\nseeds: '7'\ngrid: {first: []}\n"
    (tmp_path / "rnndrop_conf" / "reproduce" / "mine.yaml").write_text(text)
    mine, theirs = load("mine"), load("modern_cells_synthetic")
    assert (mine.about, mine.seeds, mine.rows, mine.common) == ("Mine.", "7", theirs.rows, theirs.common)
    assert mine.grid and mine.grid.first == []
