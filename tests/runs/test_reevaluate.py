"""A finished run evaluated anew: as a run that was told so from the start, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rnndrop
from rnndrop.errors import RequestError
from rnndrop.runs.reevaluate import evaluate
from rnndrop.store import records
from rnndrop.store.records import run_folder
from rnndrop.sweeps.late import to_measure
from scripts.crashes import write_text
from tests.conftest import TINY
from tests.edited import as_json


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    """A run on a text of 4,000 words: dynamic evaluation takes a step for each five of them."""
    return [*TINY, "data=text", f"data.file={write_text(tmp_path / 'words.txt')}", f"output={tmp_path}"]


@pytest.fixture
def folder(asked: list[str], tmp_path: Path) -> Path:
    record = rnndrop.run(asked)
    return run_folder(str(tmp_path), record.run_id, 0)


@pytest.mark.parametrize("mode", ["cache", "dynamic", "temperature"])
def test_a_mode_afterwards_is_the_mode_in_the_run(folder: Path, asked: list[str], mode: str) -> None:
    weights = (folder / records.WEIGHTS).read_bytes()
    metrics = evaluate(folder, [f"evaluation={mode}"]).metrics
    within = rnndrop.run([*asked, f"evaluation={mode}"]).metrics
    for split in ("valid", "test"):
        name = f"{split}_perplexity_{mode}"
        assert metrics[name] == within[name] != metrics[f"{split}_perplexity"]
    assert (folder / records.WEIGHTS).read_bytes() == weights
    assert records.read_record(folder).metrics == metrics  # type: ignore[union-attr]


def test_of_many_the_reason_why_one_is_left_out_is_true(folder: Path, tmp_path: Path) -> None:
    """That the file was edited moves the run to another place; where it reads the same, it is measured alone."""
    text, wanted = tmp_path / "words.txt", ["evaluation.mc.samples=2"]
    assert to_measure(folder, wanted).state == "unmeasured"
    text.write_text(text.read_text() + " ")
    with pytest.raises(RequestError, match="is not at its run's own place: it is measured if it is named alone"):
        to_measure(folder, wanted)
    assert evaluate(folder, wanted).metrics["mc"]["samples"] == 2
    text.write_text(text.read_text() + "more")
    with pytest.raises(RequestError, match="The corpus 'text' here is not the one") as many:
        to_measure(folder, wanted)
    with pytest.raises(RequestError) as alone:
        evaluate(folder, wanted)
    assert str(many.value) == str(alone.value)
    text.unlink()
    with pytest.raises(RequestError, match=r"words\.txt"):
        to_measure(folder, wanted)


def test_two_evaluations_at_once_both_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(*_: Any) -> dict[str, Any]:
        path = folder / records.RECORD
        tree = json.loads(path.read_text())
        tree["metrics"]["by_another"] = 1.0
        path.write_text(as_json(tree))
        return {"by_us": 2.0}

    monkeypatch.setattr("rnndrop.tasks.base.Task.measure", meanwhile)
    assert evaluate(folder, ["evaluation=cache"]).metrics.items() >= {("by_another", 1.0), ("by_us", 2.0)}


@pytest.mark.parametrize(
    ("override", "needle"),
    [
        ("evaluation.batch_size=1", "Nothing is asked for"),
        ("model.hidden=3", "only be given settings of `evaluation`"),
        ("trainer.device=warp", "trainer.device"),
    ],
)
def test_a_wrong_request(folder: Path, override: str, needle: str) -> None:
    with pytest.raises(RequestError, match=needle):
        evaluate(folder, [override])


def test_it_can_move_to_another_device(folder: Path) -> None:
    path = folder / records.RECORD
    tree = json.loads(path.read_text())
    tree["config"]["trainer"]["device"] = "mps"
    path.write_text(as_json(tree))
    with pytest.raises(RequestError, match="mps"):
        evaluate(folder, ["evaluation=cache"])
    assert evaluate(folder, ["evaluation=cache", "trainer.device=cpu"]).metrics["test_perplexity_cache"]
