"""results/README.md is what the script makes of the committed CSVs, and says what they do not have."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from rnndrop.config.identity import run_id
from rnndrop.report.committed import collected
from rnndrop.report.published import published
from rnndrop.reproduction.beside import measured, percentages
from rnndrop.reproduction.measured import named
from rnndrop.reproduction.outcomes import Outcome
from rnndrop.reproduction.recipe import load, plans
from rnndrop.store.records import HISTORY, RECORD, SCHEMA, Record
from scripts import collect_evaluations, collect_results, results_page
from tests.conftest import ROOT
from tests.invented import write_run

RESULTS = ROOT / "results"


def test_the_committed_page_is_up_to_date() -> None:
    assert results_page.main(["--check"]) == 0, "run: python scripts/results_page.py"


def test_its_links_lead_somewhere_and_nothing_names_a_machine() -> None:
    text = (RESULTS / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (RESULTS / target).exists(), target
    for path in [RESULTS / "README.md", *RESULTS.rglob("*.csv"), *RESULTS.rglob("*.svg")]:
        assert not re.search(r"/(work|home|Users|tmp|root)/", path.read_text("utf-8")), path


@pytest.fixture
def invented(tmp_path: Path) -> Path:
    """Results of `low_data` without `awd`: of `naive` one seed failed. × 0.5 is best by valid."""
    for plan in plans(load("low_data"), "full"):
        if plan.row != "awd":
            for factor, job in plan.trials.items():
                _write(tmp_path / "runs", job.config, plan.row, factor)
            for job in plan.jobs[0.5 if plan.trials else 1.0]:
                _write(tmp_path / "runs", job.config, plan.row, 0.5 if plan.trials else 1.0)
    return tmp_path


def _write(folder: Path, config: object, row: str, factor: float) -> None:
    from rnndrop.config.schema import Config

    assert isinstance(config, Config)
    valid = 300.0 if row == "none" else 250 + 20 * factor + config.seed
    metrics = {"valid_perplexity": valid, "test_perplexity": valid - 10 * factor, "train_perplexity": valid / 2,
               "best_epoch": 2, "epochs": 2}  # fmt: skip
    failed = row == "naive" and config.seed == 2
    record = Record(
        SCHEMA, run_id(config), config.seed, "failed" if failed else "finished", ["data=ptb"],
        config.model_dump(mode="json"), {"name": "ptb", "sha256": "a" * 64}, {"parameters": 10},
        {} if failed else metrics, {"train_seconds": 3600.0, "tokens_per_second": 100.0},
        {"device": "cpu", "device_name": "invented CPU", "threads": 1, "host": "somewhere", "torch": "2",
         "git_revision": "0" * 40, "git_dirty": False},
    )  # fmt: skip
    place = folder / record.run_id / f"seed-{record.seed}"
    place.mkdir(parents=True)
    (place / RECORD).write_text(record.to_json())
    rows = [{"epoch": epoch, "train_perplexity": valid / epoch, "valid_perplexity": valid} for epoch in (1, 2)]
    (place / HISTORY).write_text("".join(json.dumps(each) + "\n" for each in rows))


def test_a_page_from_records(invented: Path) -> None:
    results = invented / "results"
    results.mkdir()
    assert collect_results.main([str(invented / "runs"), "--to", str(results / "low_data.csv")]) == 0
    assert results_page.main(["--results", str(results), "--check"]) == 1
    assert results_page.main(["--results", str(results)]) == 0
    assert results_page.main(["--results", str(results), "--check"]) == 0
    text = (results / "README.md").read_text()

    assert "| `rnndrop reproduce low_data` | awd | – |" in text and "Not yet measured: awd." in text
    assert "| `none` | – | 3 | 300.0 ± 0.0 | 290.0 ± 0.0 | 150.0 ± 0.0 | 2.00 | +0.0 % | – |" in text
    naive = next(line for line in text.splitlines() if line.startswith("| `naive` | 0.5 |"))
    assert naive.startswith("| `naive` | 0.5 | 2 | 262.0 ± 1.4 | 257.0 ± 1.4 |") and "-11.4 % [" in naive
    assert "| `naive` | **260.0** | 270.0 | 280.0 | 290.0 |" in text
    assert "The smallest factor was best, and none beyond it was tried, for naive, variational," in text
    assert "| invented CPU | cpu | 1 | bf16 | 2 | 0000000 | 73 | 73.0 |" in text and "somewhere" not in text
    figures = sorted(path.name for path in (results / "figures").iterdir())
    assert figures == ["low_data-curves.svg", "low_data-forest.svg"]
    before = {path: path.read_bytes() for path in (results / "figures").iterdir()}
    assert results_page.main(["--results", str(results)]) == 0
    assert before == {path: path.read_bytes() for path in (results / "figures").iterdir()}
    (results / "figures" / "low_data-forest.svg").unlink()
    assert results_page.main(["--results", str(results), "--check"]) == 1


def test_a_row_counts_runs_of_any_precision_and_the_page_says_which(tmp_path: Path) -> None:
    results, runs = tmp_path / "results", tmp_path / "runs"
    results.mkdir()
    (small,) = plans(load("zaremba_small"), "full", ["seed=1,2"])
    (rounded,) = plans(load("zaremba_small"), "full", ["seed=2,3", "trainer.precision=bf16"])
    for job in [*small.chosen, *rounded.chosen]:  # seed 2 in both: that in float32 is what the recipe asks for
        _write(runs, job.config, "small", 1.0 if job in small.chosen else 2.0)
    assert collect_results.main([str(runs), "--to", str(results / "zaremba_small.csv")]) == 0
    assert results_page.main(["--results", str(results)]) == 0
    text = (results / "README.md").read_text()
    assert "| `small` | 3 | 278.7 ± 12.4 | 265.3 ± 6.7 | 139.3 ± 6.2 | 2.00 | +0.0 % |" in text
    assert "does: zaremba_small small (bf16 float32).\n" in text
    assert "| invented CPU | cpu | 1 | bf16 | 2 | 0000000 | 1 | 1.0 |" in text
    assert "| invented CPU | cpu | 1 | float32 | 2 | 0000000 | 2 | 2.0 |" in text
    csv = results / "zaremba_small.csv"
    assert sorted(named(collected(csv), csv)["seed"]) == [1, 2, 3]
    table = pd.read_csv(csv, dtype=str)
    table.assign(overrides=None).to_csv(csv, index=False)  # runs of the defaults alone
    assert list(collected(csv)["overrides"]) == [[]] * 4


def test_rows_of_characters_are_shown_in_bits(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    for plan in plans(load("zoneout_char"), "small", ["seed=1,2"]):
        for job in plan.chosen:
            _write(tmp_path / "runs", job.config, plan.row, 1.0)
    assert collect_results.main([str(tmp_path / "runs"), "--to", str(results / "zoneout_char.csv")]) == 0
    assert results_page.main(["--results", str(results)]) == 0
    text = (results / "README.md").read_text()
    assert "## zoneout_char, small scale" in text and "In bits per character; ratios" in text
    assert "| `zoneout` | 2 | 8.085 ± 0.004 | 8.031 ± 0.004 | 7.085 ± 0.004 | 2.00 | +0.0 % |" in text


def test_of_a_folder_with_several_reproductions_a_csv_gets_its_own(
    invented: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what has no label, as runs of a sweep; a run that is in both is in both, whichever ran it."""
    theirs = {plan.row: plan.jobs[1.0][0].config for plan in plans(load("new_rows"), "full")}
    _write(invented / "runs", theirs["word_dropout"], "word_dropout", 1.0)
    _write(invented / "runs", theirs["word_dropout"].model_copy(update={"label": None, "seed": 4}), "none", 1.0)
    _write(invented / "runs", theirs["awd"], "awd", 1.0)
    (invented / "results").mkdir()
    assert collect_results.main([str(invented / "runs"), "--to", str(invented / "results" / "low_data.csv")]) == 0
    assert "left out: 1 runs of new_rows" in capsys.readouterr().out
    found = pd.read_csv(invented / "results" / "low_data.csv")
    assert len(found) == 75 and found["label"].isna().sum() == 1
    assert found["label"].value_counts().to_dict() == {"low_data": 33, "trial-low_data": 40, "new_rows": 1}


def test_a_page_without_results_says_that_nothing_is_measured(tmp_path: Path) -> None:
    assert results_page.main(["--results", str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text()
    assert "| `rnndrop reproduce zaremba_small` | small | valid 120.7 (121.8), test 114.5 |" in text
    assert "0 of their numbers are measured" in text and "## zaremba_small" not in text
    assert f"of the {len(published())} published rows" in text


def test_ours_beside_the_published_in_per_cent() -> None:
    """Three seeds of 80.1 ± .4 where 79.7 ± .1 is published: +.5 %, within .13 %, Student's margin 4.303 · .4/√3."""
    several = Outcome("gal_medium", "full", (), "tied", "test_perplexity", 3, 80.1, 0.4, 79.7, 0.1, 79.7, "", True,
                      0.4, 0.1, False)  # fmt: skip
    assert percentages(several) == pytest.approx((0.50188, 0.12547, 1.2467), rel=1e-4)
    difference, _, margin = percentages(replace(several, n=1, ours_std=None))
    assert difference == pytest.approx(0.50188, rel=1e-4) and math.isnan(margin)
    assert measured([several, replace(several, difference=None)]) == [several]


def test_a_folder_without_runs_is_a_wrong_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert collect_results.main([str(tmp_path), "--to", str(tmp_path / "x.csv")]) == 2
    assert "No runs" in capsys.readouterr().err and not (tmp_path / "x.csv").exists()


def test_evaluations_of_the_same_weights_stand_beside_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, power, value in (("usual", 1, 78.7), ("half", 0.5, 78.8), ("copy", 1, 78.7)):
        sampled = {"mc": {"samples": 50, "power": power}, "test_perplexity_mc": value, "valid_perplexity_mc": value + 3,
                   "test_perplexity_mc_stderr": 0.05, "valid_perplexity_mc_stderr": 0.06}  # fmt: skip
        write_run(tmp_path / name, ["experiment=gal_medium"], 0, 78.9, metrics=sampled)
    folders, csv = [str(tmp_path / name) for name in ("usual", "half", "copy")], tmp_path / "gal_medium.csv"
    assert collect_results.main([folders[0], "--to", str(csv)]) == 0
    ways = tmp_path / "evaluations" / "gal_medium.csv"
    for some in (folders[:2], folders[2:]):  # what it has already stays, once
        assert collect_evaluations.main([*some, "--to", str(ways)]) == 0
    write_run(tmp_path / "other", ["experiment=gal_medium"], 0, 79.3)
    assert collect_evaluations.main([str(tmp_path / "other"), "--to", str(ways)]) == 0
    assert "its weights are not those" in capsys.readouterr().err
    assert pd.read_csv(ways)["test_perplexity"].to_list() == [78.9, 78.8, 78.7]
    assert results_page.main(["--results", str(tmp_path)]) == 0
    page = (tmp_path / "README.md").read_text("utf-8")
    shown = [line for line in page.splitlines() if line.startswith("| `tied` | 0 |")]
    assert [line.split("|")[-2].strip() for line in shown] == ["78.70 ± 0.05", "78.80 ± 0.05", "78.90"]
