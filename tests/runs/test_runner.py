"""A run from overrides to record: repeatable, identified by what it computes, honest about failure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.store.records import Record, read_history, run_folder
from tests.conftest import TINY


def run(tmp_path: Path, *overrides: str) -> Record:
    return rnndrop.run([*TINY, f"output={tmp_path}", *overrides])


@pytest.mark.parametrize("dropout", ["none", "variational", "dropconnect"])
def test_same_seed_same_record(tmp_path: Path, dropout: str) -> None:
    one, two = (run(tmp_path / folder, f"dropout={dropout}") for folder in ("one", "two"))
    assert one.metrics == two.metrics and one.run_id == two.run_id
    for record in (one, two):
        rows = read_history(run_folder(record.config["output"], record.run_id, 0))
        assert [row["valid_perplexity"] for row in rows][-1] == one.metrics["valid_perplexity"]
    other = run(tmp_path / "one", f"dropout={dropout}", "seed=1")
    assert other.run_id == one.run_id and other.metrics != one.metrics


def test_every_kind_at_p_0_is_none_bit_for_bit(tmp_path: Path) -> None:
    none = run(tmp_path, "dropout=none")
    zero = [f"dropout.{place}.p=0" for place in ("embedding", "input", "hidden", "recurrent", "output")]
    assert run(tmp_path, "dropout=variational", *zero).metrics == none.metrics


def test_run_id_names_what_is_computed() -> None:
    def name(*overrides: str) -> str:
        return run_id(compose(overrides))

    same = [("seed=3",), ("output=elsewhere",), ("trainer.device=cpu",), ("trainer.threads=1",), ("data.root=here",)]
    assert {name(*overrides) for overrides in same} == {name()}
    assert name("model=lstm") == name("model=small") == name("trainer.learning_rate=3e-3") == name()
    different = [("model.hidden=201",), ("dropout=locked",), ("trainer.init=0.2",), ("evaluation.window=7",)]
    assert len({name(), *(name(*overrides) for overrides in different)}) == len(different) + 1


def test_own_text_counts_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\n" * 50)
    (tmp_path / "b.txt").write_text("one two\n" * 50)
    (tmp_path / "c.txt").write_text("one three\n" * 50)
    a, b, c = (run_id(compose(["data=text", f"data.file={tmp_path / name}.txt"])) for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("dropout", ["none", "variational", "awd"])
def test_the_model_learns_what_can_be_learnt(tmp_path: Path, dropout: str) -> None:
    (tmp_path / "cycle.txt").write_text("to be or not to be that is the question\n" * 300)
    record = rnndrop.run(
        ["data=text", f"data.file={tmp_path}/cycle.txt", f"dropout={dropout}", "model.hidden=32", "trainer.epochs=12",
         "trainer.batch_size=5", "trainer.learning_rate=0.01", "trainer.threads=1", f"output={tmp_path}"]
    )  # fmt: skip
    assert record.data["vocab_size"] == 9
    assert record.metrics["test_perplexity"] < 1.2  # the text is certain; a unigram stands above 8


def test_a_diverged_run_stops_at_once_and_says_when(tmp_path: Path) -> None:
    record = run(tmp_path, "trainer.optimizer=sgd", "trainer.learning_rate=1e4", "trainer.clip=null")
    assert record.status == "diverged" and 1 <= record.metrics["diverged_step"] <= 10
    assert "step" in (record.error or "")


def test_a_failed_run_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> np.ndarray:
        raise RuntimeError("the roof fell in")

    monkeypatch.setattr("rnndrop.tasks.language_model.stream_nll", broken)
    record = run(tmp_path)
    assert record.status == "failed" and "the roof fell in" in (record.error or "") and "Traceback" in record.error


@pytest.mark.parametrize("model", ["gru", "rnn", "[gru,medium]"])
def test_cells_and_sizes(tmp_path: Path, model: str) -> None:
    record = rnndrop.run([f"model={model}", *TINY, f"output={tmp_path}", "dropout=variational"])
    assert record.status == "finished"


def test_weight_tying_shares_the_embedding(tmp_path: Path) -> None:
    tied, free = run(tmp_path, "model.tie_weights=true"), run(tmp_path)
    assert free.model["parameters"] - tied.model["parameters"] == 2000 * 12


def test_early_stopping(tmp_path: Path) -> None:
    record = run(tmp_path, "trainer.epochs=30", "trainer.patience=1", "trainer.learning_rate=0.05", "model.hidden=32")
    assert record.metrics["epochs"] == record.metrics["best_epoch"] + 1 < 30


def test_real_penn_treebank(tmp_path: Path, ptb: Path) -> None:
    record = rnndrop.run(
        ["data=ptb", f"data.root={ptb}", f"output={tmp_path}", "data.train_tokens=2000", "model.hidden=8",
         "trainer.epochs=1", "trainer.threads=1", "evaluation.batch_size=100"]
    )  # fmt: skip
    assert record.data["valid_tokens"] == 73_760 and record.data["vocab_size"] == 10_000
