"""Several runs on a GPU: where each goes, and what becomes of the number of runs where the memory does not suffice."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from rnndrop.errors import RequestError
from rnndrop.ops.allocator import out_of_memory
from rnndrop.sweeps.launchers import executor
from rnndrop.sweeps.places import Places
from rnndrop.sweeps.scheduler import plan_jobs
from rnndrop.sweeps.workers import processors, run_task, sharing, take_place, threads_each
from scripts.kills import essences
from tests.conftest import TINY, Command
from tests.processes import crowded, wait_until
from tests.warm import Warm


def places(count: int, gpus: int) -> Places:
    made = Places(count)
    made.gpus = gpus
    return made


def gpus_of(made: Places, runs: int) -> list[int]:
    taken: list[int] = []
    for _ in range(runs):
        taken.append(made.next(taken))
    return [place % made.gpus for place in taken]


def test_runs_are_spread_over_the_gpus() -> None:
    assert gpus_of(places(16, 8), 16) == [*range(8), *range(8)]
    assert sorted(gpus_of(places(5, 3), 3)) == [0, 1, 2]
    assert sorted(gpus_of(places(5, 3), 5)) == [0, 0, 1, 1, 2]


def test_a_run_goes_where_the_fewest_are() -> None:
    made = places(6, 3)
    assert made.next({0, 2, 3, 4}) % 3 == 1 or made.next({0, 2, 3, 4}) % 3 == 2
    assert made.next({0, 1, 3, 4}, started={5}) == 5
    assert made.next({0, 1, 3, 4}, started={2}) == 2


def test_without_gpus_a_process_that_is_there_is_taken() -> None:
    assert Places(4).next({0}, started={0, 2}) == 2
    assert Places(4).next({0, 2}, started={0, 2}) == 1


def test_too_little_memory_takes_one_place_of_that_gpu_alone() -> None:
    made = places(6, 2)
    assert "GPU 1 " in made.short_of_memory(3) and made.open == {0, 1, 2, 4, 5}
    assert "2 runs at a time" in made.short_of_memory(0) and made.beside(2) == {2, 4}
    assert "1 run at a time" in made.short_of_memory(4) and made.open == {1, 2, 5}


def test_the_last_place_of_a_gpu_stays() -> None:
    made = places(4, 2)
    made.short_of_memory(2)
    assert "1 run at a time" in made.short_of_memory(0) and made.beside(0) == {0}
    assert len(made.beside(1)) == 2


def test_what_found_too_little_memory_goes_where_it_is_alone() -> None:
    made = places(4, 2)
    made.short_of_memory(3)
    assert made.next(()) == 1


@pytest.mark.parametrize(("count", "asked", "device", "share"), [(8, 3, 1, 3), (8, None, 4, 8), (2, 8, 0, 2)])
def test_a_process_takes_its_gpu_for_the_first_run_that_computes_on_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int, asked: int | None, device: int, share: int
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert take_place(4, asked, None) == share and not taken
    for name, takes in (("cpu", []), ("cuda", [device])):
        (job,) = plan_jobs([*TINY, f"trainer.device={name}", f"output={tmp_path}"])
        config = job.config.model_copy(update={"output": str(tmp_path / "nobody" / "else")})
        run_task(config, job.overrides, job.folder, False, frozenset(), lambda told: None, (), False, 4 % share)
        assert taken == takes


def test_runs_that_name_their_gpu_share_it_whatever_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device, alone in (("cuda:1", False), ("cuda", True)):
        made = Places(2)
        made.gpus = take_place(1, sharing(device, None), None)
        assert (len(made.beside(1)) == 1) is alone


def test_threads_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert processors() == 1 and threads_each(16) == 1 and threads_each(1) is None


class WrappedError(Exception):
    """As torch.compile raises what its parts do."""

    def __init__(self, inner: Exception) -> None:
        self.inner_exception = inner


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (WrappedError(RuntimeError("Triton Error [CUDA]: out of memory")), True),
        (WrappedError(RuntimeError("no compiler")), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (MemoryError(), False),
    ],
)
def test_what_says_that_a_gpu_has_too_little_memory(error: Exception, means: bool) -> None:
    assert out_of_memory(error) is means


@pytest.mark.parametrize(
    ("launcher", "jobs", "gpus", "visible", "says"),
    [
        ({}, 8, 4, "1,3", r"finds 2 GPUs here \(CUDA_VISIBLE_DEVICES=1,3\)\. Without --gpus"),
        ({"name": "submitit_local"}, 8, 3, None, r"--gpus 3: torch finds 2 GPUs here\. Without"),
        ({}, 1, 2, None, r"1 run at a time uses no more than 1\. Give --jobs 2"),
        ({"name": "submitit_slurm"}, 8, 2, None, "gpus_per_node=1"),
    ],
)
def test_wrong_numbers_of_gpus(
    monkeypatch: pytest.MonkeyPatch, launcher: dict[str, str], jobs: int, gpus: int, visible: str | None, says: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(RequestError, match=says):
        executor(launcher, jobs, gpus=gpus)


def test_gpus_that_are_not_there_or_not_used(rnndrop: Command, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        done = rnndrop("sweep", *[each for each in TINY if "device" not in each], "--jobs", "2", "--gpus", "2")
        assert done.returncode == 2 and done.stderr.startswith("--gpus 2: torch finds no GPU here.")
    done = rnndrop("decide", "dropout=none,naive", *TINY, "--jobs", "2", "--gpus", "1")
    assert done.returncode == 2 and "with trainer.device=cpu no run uses a GPU" in done.stderr
    assert not list(tmp_path.iterdir())


# ---- processes -------------------------------------------------------------------------------------------------------


Crowd = Callable[..., Command]


@pytest.fixture
def crowd(rnndrop: Command, tmp_path: Path) -> Crowd:
    """The command with GPUs that have memory for `room` hidden units each."""

    def made(gpus: int, room: int, runs: int) -> Command:
        return partial(rnndrop, before="tests.processes:crowd_gpus", **crowded(tmp_path, gpus, room, runs))

    return made


def resumed(folder: Path) -> list[bool]:
    return sorted(
        bool(json.loads(path.read_text())["timing"]["resumed_from_steps"]) for path in folder.rglob("record.json")
    )


def test_too_little_memory_beside_others_loses_nothing(crowd: Crowd, rnndrop: Command, tmp_path: Path) -> None:
    """Two GPUs for four runs, with memory for one each: two runs go on from their checkpoints when there is room."""
    grid = ["sweep", *TINY, "seed=range(4)"]
    done = crowd(gpus=2, room=20, runs=4)(*grid, "--jobs", "4", "--gpus", "2", "output=crowded")
    assert done.returncode == 2  # for trainer.device=cpu
    done = crowd(gpus=2, room=20, runs=4)(*grid, "--jobs", "4", "output=crowded")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "too little memory" in line]
    assert len(said) == 2 and "GPU 0" in "".join(said) and "GPU 1" in "".join(said)
    assert all("1 run at a time there from now on; the run will be resumed" in line for line in said)
    assert "failed" not in done.stderr and done.stdout.count("✓") == 4
    assert resumed(tmp_path / "crowded") == [False, False, True, True]
    assert rnndrop(*grid, "output=plain").returncode == 0
    assert essences(tmp_path / "crowded") == essences(tmp_path / "plain")


def test_what_a_gpu_has_no_memory_for_fails_alone(crowd: Crowd, tmp_path: Path) -> None:
    grid = ["sweep", *TINY, "model.hidden=12,30", "--jobs", "2"]
    done = crowd(gpus=1, room=20, runs=1)(*grid)
    assert done.returncode == 1 and "GPU 0 has too little memory: 1 run at a time" in done.stderr
    found = {record["config"]["model"]["hidden"]: record for record in
             (json.loads(path.read_text()) for path in tmp_path.rglob("record.json"))}  # fmt: skip
    assert found[12]["status"] == "finished" and found[30]["status"] == "failed"
    assert "Traceback" in found[30]["error"] and "OutOfMemoryError: CUDA out of memory" in found[30]["error"]
    again = crowd(gpus=1, room=20, runs=1)(*grid)
    assert again.returncode == 1 and "1 failed or diverged before: skipped" in again.stderr


def test_a_run_alone_on_its_gpu_fails_at_once(crowd: Crowd) -> None:
    done = crowd(gpus=2, room=20, runs=1)("sweep", *TINY, "model.hidden=12,30", "--jobs", "2")
    assert done.returncode == 1 and done.stdout.count("✗ failed") == 1
    assert "too little memory" not in done.stderr


def test_measurements_share_the_gpus_too(crowd: Crowd, rnndrop: Command, tmp_path: Path) -> None:
    assert rnndrop("sweep", *TINY, "seed=range(2)").returncode == 0
    done = crowd(gpus=1, room=20, runs=2)("eval", "results/runs", "--mc", "2", "--jobs", "2", "trainer.device=cpu")
    assert done.returncode == 0 and done.stderr.count("1 run at a time there from now on") == 1, done.stderr
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    assert all("test_perplexity_mc" in record["metrics"] for record in records)


@pytest.mark.slow
def test_processes_of_submitit_share_the_gpus_too(tmp_path: Path, crowd: Crowd) -> None:
    grid = ["sweep", *TINY, "seed=range(2)", "hydra/launcher=submitit_local", "--jobs", "2"]
    done = crowd(gpus=1, room=20, runs=2)(*grid)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("GPU 0 has too little memory: 1 run at a time there from now on") == 1
    assert resumed(tmp_path) == [False, True]


@pytest.mark.parametrize("for_memory", [True, False])
def test_a_process_that_the_kernel_kills_for_memory_is_one_fewer(tmp_path: Path, warm: Warm, for_memory: bool) -> None:
    kills = tmp_path / "kills"
    kills.write_text("3")
    grid = ["sweep", *TINY, "trainer.epochs=10", "seed=range(3)", "--jobs", "2", "trainer.checkpoint_seconds=0"]
    with warm.running(grid, tmp_path, before="tests.processes:count_kills", KILLS=str(kills)) as process:
        beats = partial(tmp_path.rglob, "heartbeat.json")
        wait_until(lambda: len(list(beats())) == 2 and list(tmp_path.rglob("checkpoint-*")))
        kills.write_text("4" if for_memory else "3")
        os.kill(json.loads(next(beats()).read_text())["pid"], signal.SIGKILL)
        out, err = process.communicate()
    assert process.returncode == 0 and out.count("✓") == 3, err
    assert ("the machine has too little memory: 1 run at a time from now on" in err) is for_memory
    assert ("its process died (SIGKILL" in err) is not for_memory
