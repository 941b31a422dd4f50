"""A task of the user's own: the guide's, from its file to the reports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.errors import RequestError
from rnndrop.report.frames import load_runs
from rnndrop.report.table import table
from rnndrop.runs.doctor import examine
from rnndrop.runs.ensemble import ensemble
from rnndrop.runs.reevaluate import evaluate
from rnndrop.store import records
from rnndrop.sweeps.late import to_measure
from tests.own_files import folder_with
from tests.processes import RNNDROP, running, wait_until

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "task.md").read_text("utf-8")
[LARGEST] = re.findall(r"^```python\n(.*?)^```\n", GUIDE, re.DOTALL | re.MULTILINE)
OTHERS = """
from rnndrop.tasks.base import Task
from rnndrop.tasks.language_model import LanguageModelling


class Words(LanguageModelling):
    pass


class Unfinished(Task):
    def model(self, settings, data):
        return None


class Nothing:
    pass


class Raising(LanguageModelling):
    def __init__(self):
        raise ValueError("no licence")
"""
SHAPE = ["model.hidden=12", "model.layers=1", "trainer.device=cpu", "trainer.threads=1"]
QUICK = [
    *SHAPE,
    "task=mine_largest:Largest",
    "data=mine_largest:DIGITS",
    "trainer.epochs=3",
    "trainer.learning_rate=0.02",
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with the file of the guide and one with other tasks."""
    sources = {"mine_largest": LARGEST.replace("largest:Largest", "mine_largest:Largest"), "mine_tasks": OTHERS}
    yield from folder_with(sources, tmp_path, monkeypatch)


def finished(*overrides: str) -> records.Record:
    record = rnndrop.run([*QUICK, *overrides])
    assert record.status == "finished", record.error
    return record


def test_the_guide_is_learnt_evaluated_and_reported(here: Path) -> None:
    record = finished("trainer.epochs=12", "evaluation.mc.samples=4", "dropout=variational")
    assert record.metrics["test_score"] < 1.2 < 1.75  # a constant guess has 1.75, the entropy of the answers
    assert record.metrics["test_score_mc"] > 0 and "test_perplexity" not in record.metrics
    assert record.model["task"]["name"] == "mine_largest:Largest" and len(record.model["task"]["sha256"]) == 64
    folder = here / "results" / "runs" / record.run_id / "seed-0"
    assert record.metrics["valid_score"] == min(row["valid_score"] for row in records.read_history(folder))
    again = evaluate(folder, ["evaluation.mc.samples=2"])
    assert again.metrics["mc"]["samples"] == 2 and again.metrics["test_score"] == record.metrics["test_score"]
    runs = load_runs()
    assert runs["task"].to_list() == ["mine_largest:Largest"]
    shown = table("results/runs")
    assert shown.metric == "test_score" and len(shown.frame) == 1
    assert [found.sound for found in examine(compose(QUICK)) if found.name in ("data", "step")] == [True, True]


def test_the_source_is_part_of_the_run(here: Path) -> None:
    record = finished()
    folder = here / "results" / "runs" / record.run_id / "seed-0"
    path = here / "mine_largest.py"
    path.write_text(path.read_text("utf-8").replace("in nats", "in bits"), "utf-8")
    assert run_id(compose(QUICK)) != record.run_id
    with pytest.raises(RequestError, match="The source of mine_largest:Largest here is not the one"):
        evaluate(folder, ["evaluation.mc.samples=2"])
    with pytest.raises(RequestError, match="The source of mine_largest:Largest here is not the one"):
        to_measure(folder, ["evaluation.mc.samples=2"])
    with pytest.raises(RequestError, match="seed-0 is of task=mine_largest:Largest, whose score is no perplexity"):
        ensemble([folder], [])
    finished()
    runs = load_runs()
    assert len({settings["task"] for settings in runs["settings"]}) == 2  # with the start of each source's sha256
    path.unlink()
    assert len(load_runs()) == 2 and len(table("results/runs").frame) == 2


def test_one_that_is_based_on_ours_takes_what_ours_does() -> None:
    words = ["data=synthetic", "data.train_tokens=1500", "task=mine_tasks:Words", "trainer.ar=1", "evaluation=cache"]
    own, ours = (rnndrop.run([*SHAPE, "trainer.epochs=1", *words, *more]) for more in ([], ["task=language_model"]))
    of_both = {name.replace("perplexity", "score"): value for name, value in ours.metrics.items()}
    assert own.metrics == of_both and {"test_score", "test_score_cache"} <= of_both.keys()
    assert own.run_id != ours.run_id
    shown = table("results/runs", metric="test_score_cache")
    assert shown.frame["test_score_cache"].to_list() == [own.metrics["test_score_cache"]]


def test_tasks_are_not_ranked_together() -> None:
    finished()
    rnndrop.run([*SHAPE, "data.train_tokens=1500", "trainer.epochs=1", "task=mine_tasks:Words"])
    with pytest.raises(RequestError, match="--where task=mine_largest:Largest or --where task=mine_tasks:Words"):
        table("results/runs", metric="test_score")
    assert len(table("results/runs", conditions=["task=mine_tasks:Words"]).frame) == 1
    with pytest.raises(RequestError, match="No run here has test_perplexity: none has task=language_model"):
        table("results/runs", metric="test_perplexity")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.ar=1"], "trainer.ar has no meaning for task=mine_largest:Largest: its class does not say"),
        (["evaluation=cache"], "evaluation.cache.size has no meaning for task=mine_largest:Largest"),
        (["model.tie_weights=true"], "model.tie_weights has no meaning"),
        (
            ["task=language_model"],
            "data=mine_largest:DIGITS is for task=mine_largest:Largest, and this is task=language",
        ),
        (["task=mine_tasks:Words"], "data=mine_largest:DIGITS is for task=mine_largest:Largest"),
        (["task=mine_tasks:Nothing"], "it is no rnndrop.tasks.base.Task"),
        (["task=mine_tasks:Unfinished"], "it lacks few sampled score steps"),
        (["task=mine_tasks:Raising", "data=synthetic"], r"mine_tasks.py, line \d+, raises ValueError: no licence"),
        (["task=mine_tasks:None_"], "there is no None_"),
        (["task=mine_missing:Task"], "no module mine_missing"),
        (["task=sentimnt"], "(?s)Did you mean 'sentiment'.*PACKAGE.MODULE:NAME of your own"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(overrides: list[str], message: str, here: Path) -> None:
    with pytest.raises(RequestError, match=message):
        rnndrop.run([*QUICK, *overrides])
    assert not (here / "results").exists()


def test_workers_find_it_and_a_killed_run_goes_on(here: Path) -> None:
    found = [*QUICK, "trainer.epochs=40", "trainer.patience=null", "dropout=variational"]
    with running(["run", *found], here) as process:
        wait_until(lambda: list(here.glob("results/runs/*/seed-0/checkpoint-*")))
        os.killpg(process.pid, signal.SIGKILL)
    killed = finished(*found)
    assert killed.timing["resumed_from_steps"]
    whole = finished(*found, f"output={here / 'whole'}")
    assert killed.metrics == whole.metrics
    swept = subprocess.run(
        [RNNDROP, "sweep", *QUICK, "seed=0,1", "--jobs", "2", "--json"], capture_output=True, text=True, check=True
    )
    assert [record["status"] for record in json.loads(swept.stdout)] == ["finished"] * 2
