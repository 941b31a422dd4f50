"""Other people's machines: encodings, GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rnndrop import cluster
from rnndrop.compose import compose
from rnndrop.sweep import plan_jobs
from tests.conftest import TINY


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1:strict"])
def test_5_6_output_that_cannot_encode_a_sign_stops_nothing(tmp_path: Path, encoding: str) -> None:
    program = Path(sys.executable).parent / "rnndrop"
    asked = ["sweep", *TINY, "trainer.epochs=1", "seed=0,1", "label='σ✓'", f"output='{tmp_path / 'rüns'}'"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for command in (asked, ["report", tmp_path / "rüns"], ["report", tmp_path / "rüns", "--format", "md"], ["ls"],
                    ["watch", tmp_path / "rüns", "--once"], ["masks", "dropout=variational"]):  # fmt: skip
        done = subprocess.run([program, *command], env=environment, capture_output=True, cwd=tmp_path)
        assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert len(list(tmp_path.glob("rüns/*/seed-*/record.json"))) == 2


def test_5_7_each_local_job_has_its_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With GPUs that are not there: what would be asked of CUDA is looked at."""
    pytest.importorskip("submitit")
    jobs = plan_jobs([*TINY, "seed=range(5)", f"output={tmp_path}"])
    given: list[Any] = []

    class Executor:
        def batch(self) -> Any:
            return nullcontext()

        def submit(self, function: object, *arguments: Any) -> Any:
            given.append(arguments[-1])
            return SimpleNamespace(job_id=str(len(given)))

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    machine = cluster.Cluster("local", {}, jobs=3)
    monkeypatch.setattr(machine, "_executor", lambda folder: Executor())
    monkeypatch.setattr(machine.scheduler, "present", lambda: set())
    machine.submit(jobs[:3], ())
    del machine.submitted[jobs[1]]  # it has ended: its place is free again
    machine.submit(jobs[3:4], ())
    assert given == [(0, "4,6"), (1, "4,6"), (2, "4,6"), (1, "4,6")]

    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(cluster, "run_task", lambda *_: ("done", os.environ.get("CUDA_VISIBLE_DEVICES")))
    for gpus in given[:3]:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as submitit starts it
        cluster.run_remote(str(tmp_path), compose(TINY), [], False, (), gpus)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,6"
    assert chosen == [0, 1, 0]
