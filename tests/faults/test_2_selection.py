"""What chose is not what is reported, and a task's own metric is named wherever one is."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from rnndrop.config.compose import choices
from rnndrop.config.tasks import TASKS, score, task_by_metric, task_of_row
from rnndrop.errors import RequestError
from rnndrop.reproduction.measured import Measured
from rnndrop.reproduction.outcomes import cells, outcomes
from rnndrop.reproduction.recipe import Plan, Reproduction, load, plans
from rnndrop.store import records
from rnndrop.store.records import Record
from rnndrop.sweeps.tuning import fresh, search
from tests.conftest import ROOT, TINY, Command
from tests.reviews import SMALL, write


def finish(plan: Plan, factor: float, metrics: dict[str, float]) -> None:
    job = plan.trials[factor]
    tree = job.config.model_dump(mode="json")
    job.record = Record(records.SCHEMA, "", job.config.seed, "finished", job.overrides, tree, metrics=metrics)
    job.state = "finished"


@pytest.mark.parametrize("name", [name for name in choices("reproduce") if len(load(name).factors) > 1])
@pytest.mark.parametrize("scale", ["full", "small"])
def test_2_3_the_seed_that_chose_the_rates_is_not_reported(name: str, scale: str) -> None:
    searched = [plan for plan in plans(load(name), scale) if plan.trials]
    assert searched
    for plan in searched:
        choosing = [*plan.first.values(), *plan.trials.values()]
        assert set(plan.trials) == set(plan.jobs)
        assert not {job.config.seed for job in choosing} & set(plan.seeds)
        assert not {job.folder for job in choosing} & {job.folder for jobs in plan.jobs.values() for job in jobs}


@pytest.mark.parametrize("seeds", ["seed=0", "seed=range(3)", "++seed=5,0"])
def test_2_3_the_seed_that_chooses_is_refused_by_name(seeds: str) -> None:
    with pytest.raises(RequestError, match="seed=0 chooses the rates of low_data"):
        plans(load("low_data"), "full", [seeds])


def test_2_3_committed_runs_that_chose_are_in_no_row_of_the_page() -> None:
    measured = Measured.read(ROOT / "results", "low_data", "full")
    assert set(measured.runs["seed"]) == {0, 1, 2, 3} and len(measured.runs) == 80
    assert {job.config.seed for jobs in measured.rows.values() for job in jobs} == {1, 2, 3}
    assert set(measured.compared["n"]) == {3}
    assert all(each.factor is not None for each in measured.plans if each.row in measured.rows)
    assert "no row above counts it" in (ROOT / "results" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("given", "measured"),
    [
        (["dropout=naive"], ["dropout=naive", "seed=1,2,3"]),
        (["seed=7", "dropout.recurrent.kind=locked"], ["dropout.recurrent.kind=locked", "seed=8,9,10"]),
        (["++seed=2"], ["seed=3,4,5"]),
    ],
)
def test_2_3_what_tune_chose_is_measured_with_fresh_seeds(given: list[str], measured: list[str]) -> None:
    asked = search([*given, "trainer.learning_rate=0.001,0.002"], 2, 3)
    assert fresh(given, asked.seeds) == measured
    assert asked.seed not in asked.seeds and {trial.job.config.seed for trial in asked.trials} == {asked.seed}


@pytest.mark.parametrize("searched", ["seed=0,1,2", "seed=range(3)", "task=language_model,sentiment", "data=ptb,pydoc"])
def test_2_3_tune_does_not_choose_a_seed_or_data(searched: str) -> None:
    with pytest.raises(RequestError, match="cannot be searched"):
        search(["dropout.recurrent.kind=locked", "dropout.recurrent.p=interval(0,0.6)", searched], 2, 0)


def test_2_3_tune_says_that_its_best_is_too_good(rnndrop: Command) -> None:
    request = ["tune", *TINY, "trainer.epochs=1", "evaluation.batch_size=200", "dropout=naive", "seed=3",
               "dropout.input.p=interval(0,0.6)", "--trials", "1", "--seeds", "0"]  # fmt: skip
    done = rnndrop(*request)
    assert done.returncode == 0, done.stderr
    *_, measure, note, _ = done.stdout.splitlines()
    assert "optimistic" in note and "test" not in done.stdout + done.stderr
    command = shlex.split(measure)
    assert command[:2] == ["rnndrop", "sweep"] and command[-1] == "seed=4,5,6"
    assert json.loads(rnndrop(*request, "--json").stdout)["plans"][0]["measure"] == measure
    plan = rnndrop(*command[1:], "--dry-run", "--json")
    assert [row["state"] for row in json.loads(plan.stdout)] == ["new"] * 3


@pytest.mark.parametrize(
    ("metric", "task"),
    [
        ("test_rmse_mc", "sentiment"),
        ("rmse", "sentiment"),
        ("valid_rmse", "sentiment"),
        ("perplexity", "language_model"),
        ("test_perplexity_mc_stderr", "language_model"),
        ("valid_perplexity_cache", "language_model"),
    ],
)
def test_2_11_a_metric_names_its_task(metric: str, task: str) -> None:
    assert task_by_metric(metric).name == task


@pytest.mark.parametrize(
    "metric", ["", "epochs", "test", "valid_rmsea", "my_rmse", "test_perplexities", "test_mc_rmse"]
)
def test_2_11_what_is_no_metric_belongs_to_no_task(metric: str) -> None:
    with pytest.raises(KeyError):
        task_by_metric(metric)


def test_2_11_a_row_with_any_split_names_its_task() -> None:
    assert task_of_row({"test_rmse": 0.2}).name == "sentiment" and score({"test_rmse": 0.2}, "test") == 0.2
    assert task_of_row({}).name == "language_model"


def test_2_11_a_search_of_another_task_goes_by_its_own_metric(tmp_path: Path) -> None:
    write(tmp_path / "reviews.tsv")
    reproduction = Reproduction(
        name="ratings",
        about="",
        common=[*SMALL, f"data.file={tmp_path}/reviews.tsv"],
        rows={"naive": {"run": ["dropout=naive"]}},  # type: ignore[dict-item]
        seeds="1,2",
        small=[],
        factors=[0.5, 1.0],
    )
    (plan,) = plans(reproduction, "full", [f"output={tmp_path}"])
    assert plan.factor is None and plan.task is TASKS["sentiment"]
    finish(plan, 0.5, {"valid_rmse": 0.16, "test_rmse": 0.1, "train_rmse": 0.1})
    finish(plan, 1.0, {"valid_rmse": 0.15, "test_rmse": 0.2, "train_rmse": 0.1})
    assert plan.factor == 1.0 and [job.config.seed for job in plan.chosen] == [1, 2]
    measured = {"naive": [{"valid_rmse": 0.15, "test_rmse": 0.16}, {"valid_rmse": 0.16, "test_rmse": 0.17}]}
    found = outcomes(reproduction, "full", measured, task=plan.task)
    assert [(each.metric, each.n) for each in found] == [("valid_rmse", 2), ("test_rmse", 2)]
    assert cells(found[1])[:4] == ("naive", "test", "2", "0.1650 ± 0.0071")
    (nothing,) = outcomes(reproduction, "full", {}, task=plan.task)
    assert nothing.metric == "test_rmse"


def test_2_11_tune_names_the_metric_of_its_task(rnndrop: Command, tmp_path: Path) -> None:
    write(tmp_path / "reviews.tsv")
    done = rnndrop("tune", *SMALL, "data.file=reviews.tsv", "trainer.epochs=1", "dropout=naive",
                   "dropout.input.p=interval(0,0.6)", "--trials", "1", "--seeds", "1", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (plan,) = found["plans"]
    assert found["metric"] == "rmse" and 0 < plan["trials"][0]["valid"] < 10 and 0 < plan["fresh"][0]["test"] < 10
