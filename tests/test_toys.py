"""Whatever can be added is added through its table, from one file outside the package, and runs end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rnndrop.cli.report import Request, report

import rnndrop
from rnndrop.config import corpora, folders, metrics, tasks
from rnndrop.config.cells import CELLS
from rnndrop.config.compose import compose
from rnndrop.dropout.noises import NOISES
from rnndrop.dropout.rule import KINDS
from rnndrop.report.frames import load_runs
from rnndrop.runs.doctor import examine
from rnndrop.runs.reevaluate import evaluate
from rnndrop.store import records
from tests.toys import cell, corpus, kind, metric, noise, task

SHAPE = ["model.hidden=8", "model.layers=1", "trainer.batch_size=8", "trainer.window=5", "trainer.epochs=2",
         "trainer.device=cpu", "trainer.threads=1"]  # fmt: skip


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The settings of a run on the toy corpus, which is in its table."""
    monkeypatch.setitem(corpora.CORPORA, corpus.ROW.name, corpus.ROW)
    return [*SHAPE, "data.name=toy_sentence", f"output={tmp_path / 'runs'}"]


def table(path: Path, capsys: pytest.CaptureFixture[str], chosen: str | None = None) -> str:
    assert report(Request([str(path)], style="md", metric=chosen)) == 0
    return capsys.readouterr().out


def test_a_corpus(request_: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = rnndrop.run([*request_, "trainer.epochs=20", "trainer.learning_rate=0.02"])
    assert record.data["name"] == "toy_sentence" and record.data["vocab_size"] == len(set(corpus.WORDS))
    assert record.metrics["test_perplexity"] < 2  # each word but the first `the` says the next one
    assert r"data=toy\_sentence" in table(tmp_path / "runs", capsys)


def test_a_kind(request_: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, kind.ROW.name, kind.ROW)
    record = rnndrop.run([*request_, "dropout.recurrent.kind=toy_gates", "dropout.recurrent.p=0.4"])
    assert record.status == "finished"
    assert load_runs(request_[-1].partition("=")[2])["plan"].to_list() == ["recurrent toy_gates .4"]


def test_a_noise(request_: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NOISES, noise.ROW.name, noise.ROW)
    plan = ["dropout.output.kind=naive", "dropout.output.p=0.3"]
    record, plain = (rnndrop.run([*request_, *plan, *more]) for more in (["dropout.output.noise=toy_uniform"], []))
    assert record.status == "finished" and record.run_id != plain.run_id and record.metrics != plain.metrics
    draws = noise.draw((20_000,), 0.3, torch.Generator().manual_seed(0), torch.float64)
    assert draws.mean() == pytest.approx(1, abs=0.02) and draws.var() == pytest.approx(0.3 / 0.7, rel=0.05)


def test_a_cell(request_: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CELLS, cell.ROW.name, cell.ROW)
    rules = ["dropout=variational", "dropout.update.kind=naive", "dropout.update.p=0.1", "dropout.cell.kind=zoneout",
             "dropout.cell.p=0.1", "evaluation.mc.samples=2"]  # fmt: skip
    record = rnndrop.run([*request_, "model.cell=toy_mgu", *rules])
    assert record.status == "finished" and record.model["paths"] == ["unrolled"] and record.model["gates"] == 2
    assert record.metrics["test_perplexity_mc"] > 1


def test_a_metric(
    request_: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rnndrop.run(request_)  # its record knows nothing of the metric
    monkeypatch.setitem(metrics.METRICS, metric.ROW.name, metric.ROW)
    record = rnndrop.run([*request_, "trainer.epochs=6"])
    assert record.metrics["test_toy_chance"] == pytest.approx(1 / record.metrics["test_perplexity"])
    runs = load_runs(tmp_path / "runs")
    assert (runs["test_toy_chance"] * runs["test_perplexity"]).to_list() == pytest.approx([1, 1])
    text = table(tmp_path / "runs", capsys, "test_toy_chance")
    first, second = (line for line in text.splitlines() if line.startswith("| ") and "none" in line)
    assert "test chance" in text and "chance: of the next token" in text
    assert "1.00" in first and "(1.00)" not in second  # the higher is the better
    assert "choose a plan by" not in text  # the best by valid is the best by the metric


def test_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(corpora.CORPORA, task.CORPUS.name, task.CORPUS)
    monkeypatch.setitem(tasks.TASKS, task.ROW.name, task.ROW)
    monkeypatch.setitem(metrics.METRICS, task.METRIC.name, task.METRIC)
    options = tmp_path / "conf" / "task"
    options.mkdir(parents=True)
    (options / "toy_even.yaml").write_text(task.OPTION, encoding="utf-8")
    monkeypatch.setattr(folders, "_named", [tmp_path / "conf"])
    request = [
        *SHAPE,
        "task=toy_even",
        "trainer.epochs=15",
        "trainer.learning_rate=0.02",
        f"output={tmp_path / 'runs'}",
    ]
    naive = [*request, "dropout=naive", "evaluation.mc.samples=2"]
    record = rnndrop.run(request)
    assert record.metrics["test_toy_error"] < 0.02  # a guess of a half has 0.042
    assert rnndrop.run(naive).metrics["test_toy_error_mc"] > 0
    folder = tmp_path / "runs" / record.run_id / "seed-0"
    assert record.metrics["valid_toy_error"] == min(row["valid_toy_error"] for row in records.read_history(folder))
    text = table(tmp_path / "runs", capsys)
    assert r"data=toy\_digits" in text and "naive" in text and "ratio to the best test" in text
    assert [found.sound for found in examine(compose(request)) if found.name == "step"] == [True]
    again = evaluate(folder, ["evaluation.mc.samples=3"])
    assert again.metrics["mc"]["samples"] == 3
