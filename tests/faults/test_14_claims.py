"""What the fourteenth look found: what is said of scores that a search chose, that are no more, or that never came."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rnndrop.cli.board import Board

from rnndrop.errors import RequestError
from rnndrop.report import series
from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.report.searched import searches
from rnndrop.report.sheet import sheets
from rnndrop.store.records import RECORD, read_record
from rnndrop.sweeps import search_file
from rnndrop.sweeps.scheduler import plan_jobs
from rnndrop.sweeps.tuning import at_the_end, search
from tests.conftest import SMALL, TINY, Command
from tests.invented import write_run


def found_by_a_search(rnndrop: Command) -> list[str]:
    """The request of the trial that a search of two has chosen."""
    done = rnndrop("tune", *SMALL, "dropout=naive", "--trials", "2", "--seeds", "0", "--json")
    (plan,) = search_file.SearchFile.from_json(done.stdout).plans
    return plan.chosen_overrides


def test_14_a_seed_that_a_search_chose_by_decides_nothing(rnndrop: Command) -> None:
    request = [each for each in found_by_a_search(rnndrop) if not each.startswith("seed=")]
    rate = next(each for each in request if ".p=" in each)
    asked = [*(each for each in request if each != rate), f"{rate},0.05"]
    refused = rnndrop("decide", *asked)
    assert refused.returncode == 2 and "the best of 2 trials with seed 0" in refused.stderr, refused
    assert "'seed=range(1,21)'" in refused.stderr
    fresh = rnndrop("decide", *asked, "seed=range(1,21)", "--dry-run")
    assert fresh.returncode == 0, fresh.stderr


def test_14_a_report_names_a_score_by_which_a_search_chose(rnndrop: Command) -> None:
    assert rnndrop("sweep", *found_by_a_search(rnndrop)).returncode == 0
    for style in ("rich", "csv"):
        done = rnndrop("report", "--format", style)
        said = done.stderr if style == "csv" else done.stdout
        assert "naive seed 0 is the best of 2 trials of a search: its score is optimistic" in " ".join(said.split())


def test_14_seeds_of_any_kind_are_not_searched() -> None:
    with pytest.raises(RequestError, match=r"seeds\.init cannot be searched: the best of several seeds"):
        search([*TINY, "dropout=variational", "seeds.init=range(4)"], 2, 0)


def test_14_what_was_measured_and_diverged_is_said(tmp_path: Path) -> None:
    way = {"rule": "sgd", "learning_rate": 1.0}
    for seed, score in enumerate((80.0, 81.0, None)):
        own: dict[str, Any] = {"dynamic": way, "test_perplexity_dynamic": score, "valid_perplexity_dynamic": score}
        write_run(tmp_path, ["dropout=naive"], seed, 100 + seed, metrics=own)
    runs = load_runs(tmp_path)
    (sheet,) = sheets(compare(runs, "test_perplexity_dynamic"), runs, "test_perplexity_dynamic")
    assert "dynamic: left out of the means: 1 run without a finite score" in sheet.warnings
    one = runs[runs["seed"] == 2]
    with pytest.raises(RequestError, match="all that were measured so diverged"):
        compare(one, "test_perplexity_dynamic")


def test_14_runs_without_a_record_are_not_passed_over_in_silence(rnndrop: Command, tmp_path: Path) -> None:
    write_run(tmp_path / "results/runs", ["dropout=none"], 0, 100)
    for seed in (1, 2):
        folder = tmp_path / f"results/runs/{'a' * 16}/seed-{seed}"
        folder.mkdir(parents=True)
        (folder / "heartbeat.json").write_text("{}")
    done = rnndrop("report", "--format", "csv")
    assert done.returncode == 0 and "2 runs have no record yet" in done.stderr
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize("change", [{"status": "diverged"}, {"status": "failed", "error": "OSError: gone"}])
def test_14_a_decision_about_runs_that_have_no_score_any_more_is_left_out(
    rnndrop: Command, tmp_path: Path, change: dict[str, str]
) -> None:
    output = tmp_path / "results/runs"
    scores = 5 + 0.01 * np.random.default_rng(0).standard_normal((8, 2)) + [0.0, 0.2]
    folders = {}
    for seed, row in enumerate(scores):
        for plan, value in zip(("none", "naive"), row, strict=True):
            folders[plan, seed] = write_run(output, [f"dropout={plan}"], seed, math.exp(value))
    assert rnndrop("decide", "dropout=none,naive").returncode == 0
    record = read_record(folders["naive", 1])
    assert record
    for name, value in change.items():
        setattr(record, name, value)
    (folders["naive", 1] / RECORD).write_text(record.to_json())
    done = rnndrop("report")
    assert "decided:" not in done.stdout and f"its record says {change['status']}" in done.stderr


def test_14_a_pruned_trial_makes_no_expectation_but_a_bound(tmp_path: Path) -> None:
    trials = [
        search_file.TrialEntry(number, {}, "a" * 16, state, 9.0 - number, 3)
        for number, state in enumerate(("finished", "pruned", "pruned"))
    ]
    plans = [search_file.PlanEntry("naive", [], [], trials, [9.0, 8.0, 8.0], 0, [], None, [])]
    (tmp_path / "searches").mkdir()
    made = search_file.SearchFile(1, "1", "perplexity", {}, 3, 0, [], plans)
    (tmp_path / "searches/1.json").write_text(made.to_json(), "utf-8")
    ((found,),) = [search.curves for search in searches(tmp_path)]
    assert found == "naive (2 pruned: an upper bound)"


def test_14_a_grid_says_of_which_settings_it_is_and_how_many_are_not_in_it(rnndrop: Command, tmp_path: Path) -> None:
    for hidden, kinds in ((200, ("naive", "locked")), (650, ("locked",))):
        for kind in (None, *kinds):
            own = [f"dropout.input.kind={kind}", "dropout.input.p=.2"] if kind else []
            write_run(tmp_path / "results/runs", [f"model.hidden={hidden}", *own], 0, 100 + len(kinds))
    done = rnndrop("plot", "heatmap")
    said = " ".join(done.stdout.split())
    assert "of lstm 2×200" in said and "2 more plans with other settings not shown" in said, said


def test_14_baselines_that_differ_are_named_by_what_was_asked(tmp_path: Path) -> None:
    for layers in (1, 2):
        for hidden in (200, 650):
            for seed in (0, 1):
                write_run(tmp_path, [f"model.layers={layers}", f"model.hidden={hidden}"], seed, 100 + layers + seed)
    runs = load_runs(tmp_path)
    assert series.against(compare(runs, baseline="model.hidden=200")) == "hidden=200, all else equal"


def test_14_a_row_has_one_name_wherever_it_is_named(tmp_path: Path) -> None:
    """Of `variational` with two sizes one alone has no interval."""
    for hidden in (200, 650):
        for plan in ("none", "variational"):
            for seed in range(1 if (hidden, plan) == (650, "variational") else 3):
                write_run(tmp_path, [f"dropout={plan}", f"model.hidden={hidden}"], seed, 100 + seed)
    runs = load_runs(tmp_path)
    table = compare(runs, baseline="none")
    part = table[table["n"] == 1]
    assert series.labels_of(part, table) == ["variational · lstm 2×650"]


@pytest.mark.parametrize(
    ("values", "chosen", "said"),
    [(["0.1", "0.2", "0.3"], "0.3", True), (["0.1", "0.2", "0.3"], "0.2", False), (["lstm", "gru"], "gru", False),
     (["0.1", "0.2"], "0.2", False)],
)  # fmt: skip
def test_14_a_choice_at_the_end_of_a_list_is_told(values: list[str], chosen: str, said: bool) -> None:
    assert at_the_end(values, chosen) is said


def test_14_a_choice_near_the_end_of_an_interval_is_told(rnndrop: Command) -> None:
    (study,) = search([*TINY, "trainer.learning_rate=tag(log,interval(0.001,1))"], 3, 0).studies
    span = study.ranges["trainer.learning_rate"]
    assert at_the_end(span, 0.0011) and at_the_end(span, 0.9) and not at_the_end(span, 0.01)
    done = rnndrop("tune", *SMALL, "dropout.recurrent.kind=locked", "dropout.recurrent.p=0.1,0.8,0.9", "--seeds", "0")
    near = "dropout.recurrent.p=0.1 is near the end of its range, and what lies beyond was not tried"
    assert near in done.stdout, done


def test_14_a_pruned_trial_is_over_for_the_board(tmp_path: Path) -> None:
    jobs = plan_jobs([*TINY, "seed=range(3)", f"output={tmp_path}"])
    board = Board(jobs, set())
    jobs[0].state, jobs[1].state = "pruned", "running"
    assert board.line.startswith("1 of 3 runs · 1 running · 1 waiting")
