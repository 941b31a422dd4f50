"""A real Ray cluster of two nodes on this machine."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from scripts.kills import essences
from tests.conftest import TINY
from tests.processes import RNNDROP, running, wait_until
from tests.warm import Warm

SWEEP = [
    "sweep", "data.train_tokens=6000", "model.hidden=16",
    "trainer.threads=1", "trainer.device=cpu", "trainer.epochs=20", "trainer.checkpoint_seconds=0.5",
    "evaluation.batch_size=100",
]  # fmt: skip
PLANS = ["dropout=none,variational", "seed=range(2)"]
PATIENCE = 400  # seconds: what takes one on a quiet machine takes many beside all else that starts here

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("ray")]


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def session(process: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.getsid(process)
    return None


class Node:
    """A machine of the cluster: all that `ray start` starts, which is all that is in its session."""

    def __init__(self, base: Path, *arguments: str) -> None:
        self.said = base / f"{len(list(base.iterdir()))}.out"
        ray = Path(sys.executable).parent / "ray"
        environment = {
            **os.environ, "RAY_health_check_failure_threshold": "3", "RAY_health_check_period_ms": "1000",
            "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip
        with self.said.open("w") as out:
            self.process = subprocess.Popen(
                [ray, "start", "--block", "--num-cpus=1", "--num-gpus=1", "--object-store-memory=80000000",
                 "--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}",
                 *arguments],
                env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def wait(self) -> None:
        """Wait until it has started."""
        wait_until(lambda: self.process.poll() is not None or "Ray runtime started" in self.said.read_text())
        assert self.process.poll() is None, self.said.read_text()

    @property
    def address(self) -> str:
        return self.said.read_text().partition("--address='")[2].partition("'")[0]

    def processes(self) -> list[int]:
        """Those that live."""
        numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        return [number for number in numbers if session(number) == self.process.pid]

    def kill(self) -> None:
        """Everything dies at once, as with a power failure."""
        while found := self.processes():
            for number in found:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            self.process.poll()
        self.process.wait()


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Node, Node]]:
    if not find_spec("ray"):
        pytest.skip("Ray is NOT tested here: pip install 'rnndrop[ray]'")
    base = Path(tempfile.mkdtemp(prefix="rr", dir="/tmp"))  # Ray's sockets lie below, and their names must be short
    started = []
    try:
        started.append(
            Node(
                base, "--head", "--port=0", "--include-dashboard=false", f"--temp-dir={base}/ray",
                f"--ray-client-server-port={free_port()}",
            )
        )  # fmt: skip
        started[0].wait()
        started.append(Node(base, f"--address={started[0].address}"))
        started[1].wait()
        yield started[0], started[1]
    finally:
        for node in reversed(started):
            node.kill()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def command(nodes: tuple[Node, Node]) -> list[str]:
    return [*SWEEP, "hydra/launcher=ray", f"hydra.launcher.address={nodes[0].address}", "hydra.launcher.num_gpus=0.5"]


@pytest.fixture(scope="module")
def local(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the same sweep comes to on this machine."""
    folder = tmp_path_factory.mktemp("local")
    assert warm.call([*SWEEP, *PLANS, "--jobs", "2"], folder).returncode == 0
    return essences(folder / "results" / "runs")


def halted(process: subprocess.Popen[str], folder: Path) -> set[int]:
    """Stop the two first runs as soon as they have a checkpoint, however fast they are; their processes."""
    found: set[int] = set()

    def two() -> bool:
        for path in folder.rglob("heartbeat.json"):
            if list(path.parent.glob("checkpoint-*")) and (number := json.loads(path.read_text())["pid"]) not in found:
                os.kill(number, signal.SIGSTOP)
                found.add(number)
        return len(found) == 2 or process.poll() is not None

    wait_until(two)
    return found


def go_on(runs: Iterable[int]) -> None:
    for run in runs:
        os.kill(run, signal.SIGCONT)


def taken_up(process: subprocess.Popen[str]) -> int:
    """How many jobs a sweep has found; it reads what the sweep says before it waits for them."""
    return sum("taking up job" in line for line in islice(process.stderr, 5))


def resumed(folder: Path) -> list[list[int]]:
    return [json.loads(path.read_text())["timing"]["resumed_from_steps"] for path in folder.rglob("record.json")]


def test_a_sweep_leaves_and_another_is_killed_and_the_next_finds_what_runs(
    tmp_path: Path, command: list[str], local: dict[str, dict[str, Any]]
) -> None:
    with running([*command, *PLANS], tmp_path) as process:
        runs = halted(process, tmp_path)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "4 jobs go on" in err, err
    with running([*command, *PLANS], tmp_path) as process:
        assert taken_up(process) == 4
        process.kill()
    with running([*command, *PLANS], tmp_path) as process:
        assert taken_up(process) == 4
        visible = [Path(f"/proc/{run}/environ").read_text().split("\0") for run in runs]
        go_on(runs)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and out.count("✓ valid") == 4, err
    assert resumed(tmp_path) == [[]] * 4
    assert essences(tmp_path / "results" / "runs") == local
    assert all("CUDA_VISIBLE_DEVICES=0" in each and "OMP_NUM_THREADS=1" in each for each in visible)


def test_cancelled_jobs_leave_their_checkpoints(
    tmp_path: Path, command: list[str], local: dict[str, dict[str, Any]]
) -> None:
    grid = ["dropout=none", "seed=range(3)"]  # two at work, and one that waits
    terminal, stdin = pty.openpty()
    process = subprocess.Popen(
        [RNNDROP, *command, *grid], cwd=tmp_path, text=True, start_new_session=True, stdin=stdin,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        runs = halted(process, tmp_path)
        process.send_signal(signal.SIGINT)
        os.write(terminal, b"y\n")
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)
        os.close(stdin)
    assert process.returncode == 130 and "Cancel the 3 jobs?" in err, err
    assert not list(tmp_path.rglob("job.json"))
    go_on(runs)
    wait_until(lambda: not any(session(run) for run in runs))
    assert len(list(tmp_path.rglob("checkpoint-*"))) >= 2
    with running([*command, *grid], tmp_path) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and out.count("✓ valid") == 3, err
    assert "taking up" not in err and sum(map(bool, resumed(tmp_path))) == 2
    found = essences(tmp_path / "results" / "runs")
    assert {name: found[name] for name in local if name in found}.items() <= local.items()


def test_a_node_dies_and_the_sweep_ends_as_a_local_one(
    tmp_path: Path, nodes: tuple[Node, Node], command: list[str], local: dict[str, dict[str, Any]]
) -> None:
    """The last: afterwards there is one node."""
    with running([*command, *PLANS], tmp_path) as process:
        runs = halted(process, tmp_path)
        assert {session(run) for run in runs} == {node.process.pid for node in nodes}
        nodes[1].kill()
        go_on(run for run in runs if session(run))
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and out.count("✓ valid") == 4, err
    assert any(resumed(tmp_path))
    assert essences(tmp_path / "results" / "runs") == local


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["hydra.launcher.address=127.0.0.1:1"], "hydra.launcher.address=127.0.0.1:1: no Ray cluster"),
        (["hydra.launcher.mem_gb=100000"], "hydra.launcher.mem_gb=100000: no machine"),
    ],
)
def test_a_cluster_that_is_not_there_or_too_small(
    tmp_path: Path, command: list[str], settings: list[str], said: str
) -> None:
    with running([*command, *settings], tmp_path) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2 and said in err and "Traceback" not in err and not out
    assert not list(tmp_path.iterdir())


def test_without_ray(tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "ray.py"
    absent.parent.mkdir()
    absent.write_text("raise ModuleNotFoundError(name='ray')")
    environment = {**os.environ, "PYTHONPATH": str(absent.parent)}
    with running(["sweep", *TINY, "seed=1,2", "hydra/launcher=ray"], tmp_path, env=environment) as process:
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2 and "pip install 'ray>=2.60'" in err and "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["absent"]
