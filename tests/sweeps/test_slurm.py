"""A real Slurm of two nodes on this machine (scripts/slurm_cluster.sh): needs root and Debian's slurm-wlm and munge."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.kills import essences
from tests.conftest import ROOT
from tests.processes import running, wait_until
from tests.warm import Warm

SCRIPT = ROOT / "scripts" / "slurm_cluster.sh"
GRID = [
    "dropout=none,variational", "data.train_tokens=6000", "model.hidden=16", "trainer.threads=1",
    "trainer.device=cpu", "trainer.checkpoint_seconds=0.5", "evaluation.batch_size=100",
]  # fmt: skip
SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=debug", "hydra.launcher.timeout_min=10"]

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("slurm")]


@pytest.fixture
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which the commands find the cluster."""
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


def started(folder: Path) -> int:
    """How many runs have a sign of life and a checkpoint."""
    return sum(bool(list(path.parent.glob("checkpoint-*"))) for path in folder.rglob("heartbeat.json"))


def nodes_at_work(environment: dict[str, str]) -> set[str]:
    command = ["squeue", "--me", "--noheader", "--states=running", "--format=%N"]
    return set(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split())


def test_a_node_dies_and_the_sweep_ends_as_a_local_one(tmp_path: Path, warm: Warm, slurm: dict[str, str]) -> None:
    grid = ["sweep", *GRID, "seed=range(2)", "trainer.epochs=30"]
    with running([*grid, *SLURM, "hydra.launcher.lost_after_s=30"], tmp_path, env=slurm) as process:
        wait_until(
            lambda: process.poll() is not None or (started(tmp_path) >= 2 and nodes_at_work(slurm) == {"n1", "n2"})
        )
        subprocess.run([SCRIPT, "kill-node", "n2"], env=slurm, check=True)
        out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert out.count("✓ valid") == 4 and "its process died" in err
    found = essences(tmp_path / "results" / "runs")
    timings = [json.loads(path.read_text())["timing"] for path in tmp_path.rglob("record.json")]
    assert [timing["resumed_from_steps"] for timing in timings if timing["resumed_from_steps"]], "none was resumed"

    assert warm.call([*grid, "output=local", "--jobs", "2"], tmp_path, timeout=400).returncode == 0
    assert len(found) == 4 and found == essences(tmp_path / "local")


def test_leaving_the_jobs_running_and_taking_them_up(tmp_path: Path, slurm: dict[str, str]) -> None:
    command = ["sweep", *GRID, "trainer.epochs=20", *SLURM]
    with running(command, tmp_path, env=slurm) as process:
        wait_until(lambda: process.poll() is not None or started(tmp_path))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "jobs go on" in err, err
    with running(command, tmp_path, env=slurm) as process:
        out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert "taking up job" in err and out.count("✓ valid") == 2
    timings = [json.loads(path.read_text())["timing"] for path in tmp_path.rglob("record.json")]
    assert all(timing["resumed_from_steps"] == [] for timing in timings)
