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
    with pytest.raises(
        RequestError, match=r"--where task=mine_\w+:(Words|Largest) or --where task=mine_\w+:(Words|Largest)"
    ):
        table("results/runs", metric="test_score")
    assert len(table("results/runs", conditions=["task=mine_tasks:Words"]).frame) == 1
    with pytest.raises(RequestError, match="No run here has test_perplexity: none has task=language_model"):
        table("results/runs", metric="test_perplexity")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer.ar=1"],
            "trainer.ar has no meaning for task=mine_largest:Largest: the class of the task",
        ),
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


@pytest.mark.parametrize("method", ["model", "check"])
def test_a_task_that_raises_as_it_checks_or_builds_is_refused(method: str, here: Path) -> None:
    (here / "mine_tasks.py").write_text(
        OTHERS.replace("    pass", f"    def {method}(self, *_):\n        raise TypeError('as it is')", 1), "utf-8"
    )
    words = [*SHAPE, "data.train_tokens=1500", "task=mine_tasks:Words"]
    for command in (rnndrop.run, rnndrop.sweep):
        with pytest.raises(
            RequestError, match=r"task=mine_tasks:Words: .*mine_tasks.py, line \d+, raises TypeError: as"
        ):
            command(words)
    assert not (here / "results").exists()


def changed(here: Path, old: str, new: str) -> None:
    """The guide's file with something else in it."""
    path = here / "mine_largest.py"
    source = path.read_text("utf-8")
    assert old in source
    path.write_text(source.replace(old, new), "utf-8")


DEEP = "__import__('functools').reduce(lambda tree, _: [tree], range({}), 0)"
FACTS = 'facts = {"name": "digits", "sha256": "ten digits, seed 0"}'


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ('{"sha256": "0", "train_tokens": torch.ones(1).numpy()[0]}', "no JSON: 'train_tokens': np.float32"),
        ('{"sha256": "0", "chance": float("nan")}', "no JSON: 'chance': nan"),
        ('{"sha256": "0", "parts": {1, 2}}', "no JSON: 'parts': {1, 2}"),
        (f'{{"sha256": "0", "tree": {DEEP.format(99999)}}}', "'tree': nested too deep"),
        (f'{{"sha256": "0", "tree": {DEEP.format(500)}}}', "fits no record: "),
        ('{"sha256": 12345}', "fits no record: sha256: Input should be a valid string, not 12345"),
        ('{"sha256": ""}', "fits no record: sha256: "),
        ('{"name": "digits"}', "fits no record: sha256: Field required"),
        ('{"sha256": "0", "train_tokens": "many"}', "fits no record: train_tokens: .*'many'"),
        ('{"sha256": "0", "vocab_size": None}', "fits no record: vocab_size: "),
        ('{"sha256": "0", "floor_perplexity": "low"}', "fits no record: floor_perplexity: "),
        ("None", "is of type NoneType, and not a dict with a sha256"),
        ("{}[1]", r"data=mine_largest:DIGITS: .*mine_largest.py, line \d+, raises KeyError: 1"),
    ],
)  # fmt: skip
def test_what_no_record_can_hold_of_the_data_is_refused_before_training(facts: str, said: str, here: Path) -> None:
    changed(here, "fingerprint=lambda: facts", f"fingerprint=lambda: {facts}")
    with pytest.raises(RequestError, match=said) as refused:
        rnndrop.run(QUICK)
    assert "data=mine_largest:DIGITS" in str(refused.value) and "\n" not in str(refused.value)
    assert not (here / "results").exists()


def test_what_json_spells_otherwise_is_recorded_as_it_will_be_read(here: Path) -> None:
    changed(here, FACTS, 'facts = {"name": "d\u00e9", "sha256": "0", "sizes": (1, 2), "of": {10: 1, 9: 2.0}}')
    record = finished()
    read = records.read_record(here / "results" / "runs" / record.run_id / "seed-0")
    assert read is not None and read.data["sizes"] == [1, 2] and read.data["of"] == {"10": 1, "9": 2.0}
    assert finished().environment == record.environment and not list(here.glob("**/*.damaged*"))


def test_numbers_of_numpy_and_torch_are_numbers_of_the_record(here: Path) -> None:
    """Whatever a task gives as a loss or a score: the epochs, checkpoints and scores are those of floats."""
    expected = finished("evaluation.mc.samples=2", "output=floats")
    changed(here, "loss.item() * count, targets=count", "loss * count, targets=torch.tensor(count)")
    changed(here, "return loss\n", "return torch.tensor(loss, dtype=torch.float64)\n")
    changed(here, "nll_loss(p.log(), digits.amax(0)).item()", "nll_loss(p.log(), digits.amax(0)).double().numpy()[()]")
    changed(here, 'float("nan"))', 'torch.tensor(float("nan")))')
    record = finished("evaluation.mc.samples=2", "trainer.checkpoint_epochs=1")
    for name, value in expected.metrics.items():
        assert record.metrics[name] == (pytest.approx(value) if isinstance(value, float) else value)
    folder = here / "results" / "runs" / record.run_id / "seed-0"
    assert records.read_record(folder) is not None and len(records.read_history(folder)) == 3


def test_a_score_that_is_none_is_said_and_recorded(here: Path) -> None:
    """A test score that is not finite is a run that diverged; one that is no number fails in the first epoch."""
    score = "return Scored(self.of_mean(model, getattr(data, split), [masks]))"
    changed(here, score, 'return Scored(float("nan") if split == "test" else 1.0)')
    record = rnndrop.run(QUICK)
    assert record.status == "diverged" and "is nan on the test split (score)" in str(record.error)
    changed(here, 'float("nan") if split == "test" else 1.0', "None")
    record = rnndrop.run(QUICK)
    assert record.status == "failed" and "TypeError: the score of valid is None, and not a number" in str(record.error)


def test_a_mode_whose_settings_fit_no_record_spoils_none(here: Path) -> None:
    (here / "mine_tasks.py").write_text(
        OTHERS.replace("    pass", '    modes = {"cache": lambda *_: ({"of": [1, 2]}, {"test": 2.0})}', 1), "utf-8"
    )
    record = rnndrop.run([*SHAPE, "trainer.epochs=1", "data.train_tokens=1500", "task=mine_tasks:Words"])
    folder = here / "results" / "runs" / record.run_id / "seed-0"
    with pytest.raises(RequestError, match=r"what it measures fits no record: metrics\.cache\.of"):
        evaluate(folder, ["evaluation=cache"])
    kept = records.read_record(folder)
    assert kept is not None and kept.metrics == record.metrics


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
