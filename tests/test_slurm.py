"""A real Slurm of two nodes on this machine (scripts/slurm_cluster.sh): needs root and Debian's slurm-wlm and munge."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.kills import essences
from tests.conftest import ROOT

RNNDROP = Path(sys.executable).parent / "rnndrop"
SCRIPT = ROOT / "scripts" / "slurm_cluster.sh"
GRID = [
    "dropout=none,variational", "seed=range(2)", "data.train_tokens=6000", "model.hidden=16", "trainer.threads=1",
    "trainer.device=cpu", "trainer.checkpoint_seconds=0.5", "evaluation.batch_size=100",
]  # fmt: skip
SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=debug", "hydra.launcher.timeout_min=10"]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which the commands find the cluster."""
    if not os.environ.get("RNNDROP_SLURM"):  # minutes of waiting for a scheduler, and not yet steady on a busy machine
        pytest.skip("Slurm is NOT tested here: set RNNDROP_SLURM=1 to start a cluster of two nodes")
    if os.geteuid() != 0 or not shutil.which("slurmctld") or not Path("/usr/sbin/munged").exists():
        pytest.skip("Slurm is NOT tested here: it needs root and the Debian packages slurm-wlm and munge")
    base = Path(tempfile.mkdtemp(prefix="rnndrop-slurm-"))  # pytest's own folders are closed to the user slurm
    environment = {**os.environ, "SLURM_TEST_BASE": str(base), "SLURM_CONF": str(base / "slurm.conf")}
    started = subprocess.run([SCRIPT, "start"], env=environment, capture_output=True, text=True, timeout=60)
    if started.returncode != 0:
        subprocess.run([SCRIPT, "stop"], env=environment, timeout=60, check=False)
        pytest.skip(f"Slurm is NOT tested here: it did not start: {started.stderr}")
    yield environment
    subprocess.run(["scancel", "--me"], env=environment, check=False)
    subprocess.run([SCRIPT, "stop"], env=environment, timeout=60, check=True)


def sweep(folder: Path, environment: dict[str, str], *overrides: str) -> subprocess.Popen[str]:
    command = [str(RNNDROP), "sweep", *GRID, *overrides]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def nodes_at_work(environment: dict[str, str]) -> set[str]:
    command = ["squeue", "--me", "--noheader", "--states=running", "--format=%N"]
    return set(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split())


def test_a_node_dies_and_the_sweep_ends_as_a_local_one(tmp_path: Path, slurm: dict[str, str]) -> None:
    with sweep(tmp_path, slurm, "trainer.epochs=60", *SLURM) as process:
        beats = list[Path]()
        deadline = time.monotonic() + 120
        while len(beats) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
            beats = [path.parent for path in tmp_path.rglob("heartbeat.json") if list(path.parent.glob("checkpoint-*"))]
        assert nodes_at_work(slurm) == {"n1", "n2"}
        subprocess.run([SCRIPT, "kill-node", "n2"], env=slurm, check=True)
        out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert out.count("✓ valid") == 4 and "its process died" in err
    found = essences(tmp_path / "results" / "runs")
    timings = [json.loads(path.read_text())["timing"] for path in tmp_path.rglob("record.json")]
    assert [timing["resumed_from_steps"] for timing in timings if timing["resumed_from_steps"]], "none was resumed"

    with sweep(tmp_path, slurm, "trainer.epochs=60", "output=local", "--jobs", "2") as process:
        process.communicate(timeout=400)
    assert process.returncode == 0
    assert len(found) == 4 and found == essences(tmp_path / "local")


def test_leaving_the_jobs_running_and_taking_them_up(tmp_path: Path, slurm: dict[str, str]) -> None:
    with sweep(tmp_path, slurm, "trainer.epochs=61", *SLURM) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("heartbeat.json")) and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "jobs go on" in err
    assert nodes_at_work(slurm)
    with sweep(tmp_path, slurm, "trainer.epochs=61", *SLURM) as process:
        out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert "taking up job" in err and out.count("✓ valid") == 4
    timings = [json.loads(path.read_text())["timing"] for path in tmp_path.rglob("record.json")]
    assert all(timing["resumed_from_steps"] == [] for timing in timings)
