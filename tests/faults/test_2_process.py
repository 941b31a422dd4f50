"""A run leaves the process that asked for it as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import rnndrop
from rnndrop.errors import RequestError
from rnndrop.runs import environment
from rnndrop.runs.reevaluate import evaluate
from rnndrop.store.ownership import folder_of
from tests.conftest import TINY


def state() -> tuple[int, str, bool]:
    return torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def test_2_10_threads_and_precision_are_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, asked = state(), [*TINY, f"output={tmp_path}"]
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("high")
    try:
        mine = state()
        record = rnndrop.run(asked)
        assert state() == mine and record.environment["threads"] == 1
        rnndrop.run([*asked, "evaluation.mc.samples=2"])
        assert state() == mine
        from rnndrop.config.compose import compose

        evaluate(folder_of(compose(asked)), ["evaluation=cache"])
        assert state() == mine
        for wrong in ("trainer.precision=tf32", "data.train_tokens=999999999"):
            with pytest.raises(RequestError):
                rnndrop.run([*asked, wrong])
            assert state() == mine
        monkeypatch.setattr("rnndrop.tasks.language_model.stream_nll", lambda *_: 1 / 0)
        assert rnndrop.run([*asked, "seed=5"]).status == "failed" and state() == mine
        assert rnndrop.run([*TINY[:-1], f"output={tmp_path}", "seed=6"]).environment["threads"] == 2
    finally:
        torch.set_num_threads(before[0])
        environment.set_precision("float32")
