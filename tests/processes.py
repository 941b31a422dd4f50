"""Processes that a test starts and that never outlive it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

RNNDROP = Path(sys.executable).parent / "rnndrop"


@contextmanager
def running(arguments: Sequence[object], folder: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, which is killed at the end, however that comes about."""
    process = subprocess.Popen(
        [str(RNNDROP), *map(str, arguments)], cwd=folder, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for a condition; fail with its source line if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def crowd_gpus() -> None:
    """Have this process, and what it forks, believe in GPUs that have memory for so many hidden units and no more.

    $CROWD is a folder and the numbers of GPUs, of units that each has, and of runs. A run takes its units with its
    second epoch, or for a measurement, and the first wait there until so many have come. All is computed on the CPU.
    """
    import torch

    from rnndrop.runs.execution import Execution
    from rnndrop.sweeps import workers
    from rnndrop.training.trainer import Training

    place, gpus, room, crowd = os.environ["CROWD"].split()
    folder, mine = Path(place), [0]
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: int(gpus)  # type: ignore[assignment]
    workers.use_gpu = lambda gpu, device: mine.append(gpu or 0)  # runs have trainer.device=cpu

    def claim(units: int) -> Path:
        """Take so much of the memory; raises what torch does where there is too little."""
        claimed = folder / f"gpu-{mine[-1]}-{os.getpid()}"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f"came-{time.monotonic_ns()}").touch()
            others = sum(int(path.read_text()) for path in folder.glob(f"gpu-{mine[-1]}-*"))
            fits = others + units <= int(room)
            if fits:
                claimed.write_text(str(units))
        if not fits:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {units} units")
        wait_until(lambda: len(list(folder.glob("came-*"))) >= int(crowd))
        return claimed

    step, train, measure = Training._step, Training.run, Execution.measure

    def stepping(self: Training, *arguments: Any) -> Any:
        if self.history and not hasattr(self, "claimed"):
            self.claimed = claim(self.model.sizes.layers[0][1])  # type: ignore[attr-defined]
        return step(self, *arguments)

    def training(self: Training, *arguments: Any) -> None:
        try:
            train(self, *arguments)
        finally:
            if hasattr(self, "claimed"):
                self.claimed.unlink()

    def measuring(self: Execution, *arguments: Any) -> Any:
        claimed = claim(self.config.model.hidden)
        try:
            return measure(self, *arguments)
        finally:
            claimed.unlink()

    Training._step = stepping  # type: ignore[method-assign]
    Training.run = training  # type: ignore[method-assign, assignment]
    Execution.measure = measuring  # type: ignore[method-assign, assignment]


HOOK = """
import sys
if {"submitit.core._submit", "--multiprocessing-fork"} & set(sys.orig_argv):
    from tests.processes import crowd_gpus
    crowd_gpus()
"""


def crowded(folder: Path, gpus: int, room: int, runs: int) -> dict[str, str]:
    """The environment in which processes that are started anew call `crowd_gpus` first."""
    hook = folder / "hook"
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(HOOK)
    paths = [str(hook), str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"CROWD": f"{hook} {gpus} {room} {runs}", "PYTHONPATH": os.pathsep.join(paths)}


def count_kills() -> None:
    """Have this process read in the file $KILLS how many processes the kernel has killed for want of memory.

    A step takes 20 ms more here, and in what this process forks: no run ends before the test has killed it.
    """
    from rnndrop.sweeps import workers
    from rnndrop.training.trainer import Training

    step = Training._step

    def slow(self: Training, *arguments: Any) -> Any:
        time.sleep(0.02)
        return step(self, *arguments)

    Training._step = slow  # type: ignore[method-assign, assignment]
    workers.killed_for_memory = lambda: int(Path(os.environ["KILLS"]).read_text())  # type: ignore[assignment]


BROKEN = 1e20
"""From this `trainer.init` on a step of training raises an exception, after `break_training`."""


def break_training() -> None:
    """Have this process, and what it forks, raise where `BROKEN` says."""
    from rnndrop.training import trainer

    step = trainer.Training._step

    def broken(self: trainer.Training, *arguments: Any) -> Any:
        if self.settings.init >= BROKEN:
            raise RuntimeError("the roof fell in")
        return step(self, *arguments)

    trainer.Training._step = broken  # type: ignore[method-assign, assignment]
