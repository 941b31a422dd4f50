"""The check for a GPU, on a CPU: all its parts in tiny sizes, and what it says of faults."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scripts import gpu_check
from scripts.bench_step import BASELINE, plans
from tests.conftest import ROOT, TINY
from tests.processes import crowded

SCRIPT = str(ROOT / "scripts" / "gpu_check.py")


@pytest.mark.e2e
@pytest.mark.slow
def test_all_parts_in_tiny_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "found.json"
    command = [sys.executable, SCRIPT, "--device", "cpu", "--quick", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    assert set(result["seconds"]) == {"environment", "correctness", "resume", "sharing", "benchmark", "row"}
    assert not result["failed"] and not result["unfinished"]
    assert result["environment"]["device"] == "cpu" and "host" not in result["environment"]
    assert [row["dropout"] for row in result["correctness"]] == ["none", "variational", "zoneout"]
    assert all(row["passed"] for row in result["correctness"])
    assert result["resume"]["resumed"] == result["resume"]["test_perplexity"]
    assert result["resume"]["resumed_from_steps"] == [8]  # of 5 windows an epoch
    assert {row["name"] for row in result["benchmark"]} == set(gpu_check.QUICK.contestants)
    assert [row["dropout"] for row in result["row"]] == ["none", "variational"]
    assert gpu_check.main(["--table", str(output)]) == 0
    printed = capsys.readouterr().out
    assert f"| {BASELINE} " in printed and "H=16" in printed
    assert "Sharing: not checked, no GPU to share with --device cpu." in printed
    assert "Correctness: 3 of 3" in printed and "exactly." in printed and "tok/s" in printed


def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    output = tmp_path / "found.json"
    assert gpu_check.main(["--output", str(output)]) == 2
    assert "no GPU" in capsys.readouterr().err and not output.exists()


@pytest.mark.parametrize("fault", [1.01, float("nan")])
def test_a_wrong_gradient_is_reported(monkeypatch: pytest.MonkeyPatch, fault: float) -> None:
    right, calls = gpu_check.loss_and_gradients, 0

    def wrong(*arguments: object) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        found = right(*arguments)
        if calls == 4:  # on the device, under the second plan
            found["layers.1.weight_hh"] *= fault
        return found

    monkeypatch.setattr(gpu_check, "loss_and_gradients", wrong)
    rows = list(gpu_check.correctness(torch.device("cpu"), gpu_check.QUICK))
    result = {"correctness": rows, "resume": {"passed": True}, "sharing": {"passed": True}, "unfinished": {}}
    assert gpu_check.failures(result) == ["lstm variational"]
    assert rows[1]["parameter"] == "layers.1.weight_hh"


def test_what_raises_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(gpu_check, "differences", wrong)
    rows = list(gpu_check.correctness(torch.device("cpu"), gpu_check.QUICK))
    assert not any(row["passed"] for row in rows) and rows[0]["error"] == "RuntimeError: no kernel"


def test_plans_whose_locations_a_cell_lacks_are_left_out() -> None:
    assert not gpu_check.applies(plans()["recurrent_update"], "rnn")
    assert gpu_check.applies(plans()["recurrent_update"], "gru")


@pytest.mark.e2e
def test_a_part_out_of_time_is_stopped_and_the_others_are_reported(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    result = gpu_check.check("cpu", gpu_check.QUICK, 0.1, output)
    assert result == json.loads(output.read_text())
    assert set(result["unfinished"]) == set(gpu_check.PARTS)
    assert [name.partition(":")[0] for name in result["failed"]] == ["correctness", "resume", "sharing"]
    assert gpu_check.tables(result).startswith("Unfinished: environment (stopped after")


@pytest.mark.e2e
@pytest.mark.parametrize("room", [20, 40])
def test_runs_that_share_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """With memory for one of H=12 at a time all is as it should be; with more, what should fail does not."""
    for name, value in crowded(tmp_path, gpus=1, room=room, runs=2).items():
        monkeypatch.setenv(name, value)
    found = gpu_check.shared([*TINY, "model.hidden=12,30", "seed=0,1", f"output={tmp_path}/runs"], fits=12)
    assert found["passed"] is (room == 20)
    if room == 20:
        assert found["resumed"] == 1 and len(found["failed"]) == 2 and found["test_perplexity"] > 1
