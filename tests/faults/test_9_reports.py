"""Reports that counted, hid or said what was not so."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnndrop.config.metrics import Metric
from rnndrop.decisions.race import Rule
from rnndrop.decisions.words import _of_bound
from rnndrop.errors import RequestError
from rnndrop.report import paper
from rnndrop.report.comparable import caveats
from rnndrop.report.compare import compare
from rnndrop.report.frames import SkippedRecordWarning, load_runs
from rnndrop.report.select import without_trials
from rnndrop.report.sheet import sheets
from rnndrop.reproduction.grid import tally
from rnndrop.reproduction.measured import Measured
from rnndrop.reproduction.outcomes import notes
from rnndrop.reproduction.recipe import load, plans
from rnndrop.store.nll_blocks import to_bytes
from rnndrop.sweeps.ablation import effects, rows
from rnndrop.sweeps.contest import contest
from scripts import collect_results
from tests.edited import as_json
from tests.invented import write_run

FIVE = {"samples": 5, "masks": "pass", "embedding": False}
TWO = {"samples": 2, "masks": "window", "embedding": False}


def seeds(folder: Path, overrides: list[str], tests: list[float], **content: Any) -> None:
    """Runs of a plan with seeds from 1."""
    for seed, test in enumerate(tests, 1):
        write_run(folder, overrides, seed, test, **content)


def test_the_seed_that_chose_the_rates_is_no_seed_of_a_report(tmp_path: Path) -> None:
    for plan in plans(load("low_data"), "full", [f"output={tmp_path}"]):
        for job in [*plan.chosen, *plan.trials.values()]:
            write_run(tmp_path, job.overrides, job.config.seed, 100.0)
    runs = load_runs(tmp_path)
    kept = without_trials(runs, [])
    assert set(runs["seed"]) - set(kept["seed"]) == {0} and set(kept["label"]) == {"low_data"}
    assert set(runs["label"]) == {"low_data", "trial-low_data"} and len(without_trials(runs, ["label=x"])) == len(runs)


def test_copies_of_one_run_are_not_seeds(tmp_path: Path) -> None:
    fixed = ["dropout=none", "seeds.init=0"]
    seeds(tmp_path, fixed, [100.0, 100.0, 100.0])
    seeds(tmp_path, ["dropout=variational", "seeds.init=0"], [90.0, 91.0, 92.0])  # its masks differ
    runs = load_runs(tmp_path)
    table = compare(runs, baseline="none").set_index("dropout")
    assert table["n"].to_dict() == {"none": 1, "variational": 3} and table["p"].isna().all()
    assert any(line.startswith("counted once: 2 runs") for line in caveats(runs))
    with pytest.raises(RequestError, match="is the same run with every seed"):
        contest(["dropout=none", "seeds.init=0", "model.hidden=100,200"], Rule(), 20)
    asked = ["seeds.init=0", "seed=1,2", f"output={tmp_path / 'ablated'}"]
    for row in rows("locked", "add", asked):
        for job in row.jobs:
            write_run(tmp_path / "ablated", job.overrides, job.config.seed, 90.0 + job.config.seed)
    baseline, *others = effects(rows("locked", "add", asked), "add")
    assert baseline.n == 1 and {each.n for each in others} == {2} and {each.low for each in others} == {None}


def test_rules_of_before_are_left_out_of_a_folder_too(tmp_path: Path) -> None:
    seeds(tmp_path, ["dropout=rnndrop"], [90.0, 91.0])
    seeds(tmp_path, ["dropout=naive"], [80.0, 81.0])
    for path in tmp_path.rglob("record.json"):
        record = json.loads(path.read_text("utf-8"))
        if record["seed"] == 2:  # both plans: only the one that was defined anew has changed
            path.write_text(as_json(record | {"run_id": "0123abcd"}), "utf-8")
    with pytest.warns(SkippedRecordWarning, match="the meaning of their settings has changed"):
        runs = load_runs(tmp_path)
    assert runs.groupby("dropout").size().to_dict() == {"naive": 2, "rnndrop": 1}


def test_an_ambiguous_baseline_is_refused(tmp_path: Path) -> None:
    seeds(tmp_path, ["dropout=naive"], [80.0, 81.0])
    seeds(tmp_path, ["dropout=none"], [90.0, 91.0])
    runs = load_runs(tmp_path)
    again = runs[runs["dropout"] == "none"].assign(run_id="f" * 16)
    with pytest.raises(RequestError, match="is several rows here"):
        compare(pd.concat([runs, again], ignore_index=True), baseline="none")


@pytest.mark.parametrize("rate", ["0.2", "0"])
def test_a_baseline_can_be_a_rate(tmp_path: Path, rate: str) -> None:
    """Of a location all else being equal; nothing is dropped there in any way."""
    for p, test in ((0, 100.0), (0.1, 95.0), (0.2, 90.0)):
        for hidden in (100, 200):
            own = ["dropout=embedding", f"dropout.embedding.p={p}", f"model.hidden={hidden}"]
            seeds(tmp_path, own, [test, test + 1])
            seeds(tmp_path, [*own, "dropout.input.kind=locked", "dropout.input.p=0.3"], [test - 5, test - 4])
    table = compare(load_runs(tmp_path), baseline=f"dropout.embedding.p={rate}")
    settings = table.set_index("run_id")["settings"].to_dict()
    pairs = [(settings[a], settings[b]) for a, b in zip(table["run_id"], table["baseline"], strict=True) if pd.notna(b)]
    assert len(pairs) == {"0.2": 4, "0": 8}[rate]
    for own, other in pairs:
        unlike = {key for key in own if own[key] != other.get(key)} - {"seeds.masks"}
        assert unlike <= {"dropout.embedding.p", *(["dropout.embedding.kind"] if rate == "0" else [])}


def test_the_note_on_valid_is_right_for_a_metric_that_is_to_be_high(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Metric("chance", "language_model", "chance", lower_is_better=False, of=lambda x, _: 1 / x)
    monkeypatch.setattr("rnndrop.config.metrics.added", lambda: (of,))
    seeds(tmp_path, ["dropout=none"], [100.0, 101.0])
    seeds(tmp_path, ["dropout=naive"], [90.0, 91.0])
    runs = load_runs(tmp_path)
    assert "By the valid split" not in paper.render(compare(runs, "test_chance"), runs, "test_chance")


def test_an_interval_of_the_text_is_of_the_runs_beside_it(tmp_path: Path) -> None:
    for plan, base in (("none", 4.6), ("naive", 4.5)):
        for seed in (1, 2, 3):
            folder = write_run(tmp_path, [f"dropout={plan}"], seed, math.exp(base + seed / 100))
            nll = np.random.default_rng([seed, len(plan)]).normal(base + seed / 100, 0.1, (1, 50)) * 20
            content = to_bytes(np.concatenate([nll, np.full((1, 50), 20)]).astype("float32"))
            (folder / "test_nll.npy").write_bytes(content)
            record = json.loads((folder / "record.json").read_text("utf-8"))
            record["files"] = {"test_nll.npy": hashlib.sha256(content).hexdigest()}
            (folder / "record.json").write_text(as_json(record), "utf-8")
    runs = load_runs(tmp_path)
    whole = compare(runs, baseline="none", interval="text").set_index("dropout").loc["naive"]
    assert whole["change_low"] < whole["change"] < whole["change_high"]
    next(tmp_path.glob(f"{whole['run_id']}/seed-2/test_nll.npy")).unlink()
    table = compare(runs, baseline="none", interval="text", bootstrap=True)
    lacking = table.set_index("dropout").loc["naive"]
    assert lacking["change"] == whole["change"] and lacking[["change_low", "p", "test_low"]].isna().all()
    (sheet,) = sheets(table, runs, "test_perplexity")
    assert any("no interval for naive: it needs the test_nll.npy of every run" in note for note in sheet.notes)


def test_a_csv_keeps_how_the_scores_were_sampled(tmp_path: Path) -> None:
    one = [*next(iter(load("gal_medium").rows.values())).run]
    for seed, value, mc in ((0, 78.0, FIVE), (1, 60.0, TWO), (2, 79.0, FIVE)):
        write_run(tmp_path / "runs", one, seed, 80.0, metrics={"test_perplexity_mc": value, "mc": mc})
    to = tmp_path / "gal_medium.csv"
    assert collect_results.main([str(tmp_path / "runs"), "--to", str(to)]) == 0
    measured = Measured.read(tmp_path, "gal_medium", "full")
    found = next(each for each in measured.outcomes if (each.row, each.metric) == ("tied", "test_perplexity_mc"))
    assert (found.n, found.ours, found.sampled) == (2, 78.5, "samples=5 masks=pass embedding=false")
    assert f"MC: {found.sampled}." in notes(measured.outcomes, "why", {})
    assert compare(load_runs(to), "test_perplexity_mc")["test_perplexity_mc"].to_list() == [78.5]


def test_a_failure_here_does_not_hide_what_finished_elsewhere(tmp_path: Path) -> None:
    one = [*next(iter(load("gal_medium").rows.values())).run]
    seeds(tmp_path / "there", one, [80.0, 81.0])
    seeds(tmp_path / "here", one, [0.0, 0.0], status="failed", error="out of memory", metrics={})
    to = tmp_path / "gal_medium.csv"
    assert collect_results.main([str(tmp_path / "there"), "--to", str(to)]) == 0
    for paths in ((tmp_path / "here", to), (to, tmp_path / "here")):
        runs = load_runs(*paths)
        assert runs["status"].to_list() == ["finished"] * 2 and compare(runs)["n"].to_list() == [2]
    table = pd.read_csv(to, dtype=str)
    failed = table.assign(status="failed", test_perplexity=None)
    pd.concat([table, failed]).to_csv(to, index=False)  # by whatever hand
    assert load_runs(to)["status"].to_list() == ["finished"] * 2
    assert Measured.read(tmp_path, "gal_medium", "full").rows.keys() == {"tied"}


def test_scores_below_zero_have_a_difference_and_no_ratio(tmp_path: Path) -> None:
    for plan, scores in (("none", (-0.80, -0.82)), ("naive", (-0.95, -0.93))):
        for seed, value in enumerate(scores):
            write_run(tmp_path, [f"dropout={plan}"], seed, 1.0, metrics={"test_perplexity": value})
    runs = load_runs(tmp_path)
    table = compare(runs, baseline="none")
    (sheet,) = sheets(table, runs, "test_perplexity")
    cells = {row.cells[0]: row.cells for row in sheet.rows}
    assert "−0.1300 (no ratio)" in cells["naive"] and not any("(0." in cell for cell in cells["none"])
    assert any(note.startswith("no ratio: ") for note in sheet.notes)


def test_differences_of_one_seed_are_counted_as_such(tmp_path: Path) -> None:
    every = {job.folder: job for plan in plans(load("modern_cells"), "full", ["seed=1"]) for job in plan.every}
    for job in every.values():
        write_run(tmp_path / "runs", job.overrides, job.config.seed, 100.0)
    to = tmp_path / "modern_cells.csv"
    assert collect_results.main([str(tmp_path / "runs"), "--to", str(to)]) == 0
    said = tally(Measured.read(tmp_path, "modern_cells", "full"))
    assert said.endswith("0 undecided, 54 of one seed, which are not tested")


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 0, -1e-3, -1e-6])
@pytest.mark.parametrize("contestants", [2, 8])
def test_evidence_beside_its_bound_shows_which_is_larger(gap: float, contestants: int) -> None:
    entries = [SimpleNamespace() for _ in range(contestants)]
    decision: Any = SimpleNamespace(rule=Rule(), contestants=entries)
    left, sign, right = _of_bound(Rule().ln_bound(contestants) + gap, decision).split()
    assert (float(left) >= float(right)) == (sign == "≥") == (gap >= 0)
