"""submitit as the scheduler of a `Cluster`: on Slurm, or processes of this machine."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnndrop.errors import RequestError
from rnndrop.extras import need
from rnndrop.sweeps.cluster import ASK_EVERY, Task, run_remote
from rnndrop.sweeps.places import Places
from rnndrop.sweeps.workers import sharing, take_place, threads_each

FOLDER = ".submitit"  # beside the runs: scripts, logs and submitit's own files
ARRAY = 1000  # jobs: Slurm takes no more in an array, unless its MaxArraySize says otherwise
VISIBLE = "CUDA_VISIBLE_DEVICES"
PREEMPT = "SUBMITIT_PREEMPT_SIGNAL"
LEAVE = 60.0  # seconds that a process of this machine may take for its last checkpoint
_GENERAL = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")
_SLURM = (
    "partition", "qos", "account", "constraint", "exclude", "gres", "comment", "setup", "time", "mem", "mem_per_cpu",
    "mem_per_gpu", "cpus_per_gpu", "gpus_per_task", "signal_delay_s", "additional_parameters", "array_parallelism",
    "exclusive", "srun_args", "use_srun",
)  # fmt: skip
SETTINGS = (*_GENERAL, *_SLURM)
TEXTS = (
    "name", "partition", "qos", "account", "constraint", "exclude", "gres", "comment", "time", "mem", "mem_per_cpu",
    "mem_per_gpu",
)  # fmt: skip


log = logging.getLogger("rnndrop")


class _Submitit:
    """What both have in common; `settings` are those of Hydra's submitit launcher."""

    timeout = 60  # minutes
    every = ASK_EVERY

    def __init__(self, kind: str, settings: dict[str, Any]) -> None:
        self.kind, self.launcher = kind, f"submitit_{kind}"
        for key in ("nodes", "tasks_per_node"):
            if settings.get(key) not in (None, 1):
                raise RequestError(f"hydra.launcher.{key}={settings[key]}: a run is one process of one machine.")
        os.environ[PREEMPT] = "USR2"  # what a run hears, whatever other programs have set
        self.parameters = {key if key in _GENERAL else f"slurm_{key}": value for key, value in settings.items()}
        self.parameters = {"name": "rnndrop", "timeout_min": self.timeout, **self.parameters}
        need("submitit", "slurm", "hydra/launcher=submitit_…")

    def _give(self, output: Path, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Give calls, a function and its arguments, as one array of jobs; submitit's handles."""
        executor = self._executor(output / FOLDER)
        with executor.batch():
            return [executor.submit(*call) for call in calls]

    def _ids(self, handles: Sequence[Any]) -> Generator[str]:
        """Their ids; closed early, it cancels those whose ids nobody has."""
        taken = 0
        try:
            for handle in handles:
                taken += 1
                yield handle.job_id
        finally:
            self.cancel([handle.job_id for handle in handles[taken:]])

    def cancel(self, identities: Collection[str]) -> None:
        """Have jobs take a checkpoint and leave."""
        raise NotImplementedError

    def _executor(self, folder: Path) -> Any:
        submitit = need("submitit", "slurm", "hydra/launcher=submitit_…")
        try:
            executor = submitit.AutoExecutor(folder=folder / "%j", cluster=self.kind)
            executor.update_parameters(**self.parameters)
        except (RuntimeError, ValueError, TypeError, NameError) as error:
            raise RequestError(f"hydra/launcher={self.launcher}: {error}") from None
        return executor

    def cause(self, output: Path, identity: str) -> str:
        """Where its output is."""
        return f"its output is in {output / FOLDER / identity}"


class Slurm(_Submitit):
    """Slurm, asked through its commands: they need no accounting."""

    every = 10.0  # seconds between two questions: its controller answers everyone

    def __init__(self, settings: dict[str, Any], most: int) -> None:
        cores = settings.get("cpus_per_task")
        usual: dict[str, Any] = {"tasks_per_node": 1, "array_parallelism": ARRAY}  # submitit's are none, and 256
        if cores is not None:  # since 22.05 srun does not take it over from sbatch
            usual["srun_args"] = [f"--cpus-per-task={cores}"]
        given = {key: value for key, value in settings.items() if value is not None}
        more = given.pop("additional_parameters", {})
        if not isinstance(more, dict):
            raise RequestError(
                f"hydra.launcher.additional_parameters={more}: give names and values, {{mail-type:END}}."
            )
        time = {"time": given.pop("time")} if "time" in given else {}  # submitit itself reckons in minutes
        super().__init__("slurm", {**usual, **given, "additional_parameters": {"requeue": True, **time, **more}})
        self.most = most

    def submit(self, output: Path, tasks: Sequence[Task], others: Collection[str]) -> Generator[str]:
        """Give it the jobs in arrays; their ids."""
        for start in range(0, len(tasks), ARRAY):
            calls = [(_run_on_slurm, task) for task in tasks[start : start + ARRAY]]
            with _outside_of_a_job():
                handles = self._give(output, calls)
            yield from self._ids(handles)

    def present(self) -> set[str] | None:
        """The ids of the jobs that wait or run."""
        command = ["squeue", "--me", "--all", "--noheader", "--array", "--format=%i"]  # hidden partitions too
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=30, check=True, env=_without("SQUEUE_")
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return set(done.stdout.split())

    def cancel(self, identities: Collection[str]) -> None:
        """Slurm sends SIGTERM, on which a job takes a checkpoint, and SIGKILL after KillWait."""
        names = list(identities)
        for start in range(0, len(names), ARRAY):
            command = ["scancel", *names[start : start + ARRAY]]
            try:
                subprocess.run(command, capture_output=True, timeout=60, check=False, env=_without("SCANCEL_"))
            except (OSError, subprocess.SubprocessError) as error:
                log.warning("scancel has not answered (%s): jobs may run on.", type(error).__name__)

    def short_of_memory(self, identity: str) -> str:
        """Nothing: a job of Slurm's has its GPU for itself, and records what that lacks."""
        return ""


class Local(_Submitit):
    """Processes of this machine, at most `count`, which share the first `gpus` of its GPUs (None: all)."""

    timeout = 5_000_000  # ten years: nobody waits for this machine

    def __init__(self, settings: dict[str, Any], count: int, gpus: int | None = None) -> None:
        super().__init__("local", settings)
        self.places, self.gpus, self.threads = Places(count), gpus, threads_each(count)
        self.handles: dict[str, Any] = {}
        self.at: dict[str, int] = {}  # the place of each

    @property
    def most(self) -> int:
        """As many as there are places left."""
        return len(self.places.open)

    def submit(self, output: Path, tasks: Sequence[Task], others: Collection[str]) -> Generator[str]:
        """Start the processes; their ids."""
        taken = [self.at[identity] for identity in others]
        for _ in tasks:
            taken.append(self.places.next(taken))
        places = taken[len(others) :]
        visible = os.environ.get(VISIBLE)
        here = [
            Here(visible, place, self.places, sharing(task.config.trainer.device, self.gpus), self.threads)
            for task, place in zip(tasks, places, strict=True)
        ]
        with _deaf():  # a Ctrl-C reaches these processes too, and the sweep decides
            handles = self._give(output, [(_run_here, task, place) for task, place in zip(tasks, here, strict=True)])
        for handle, place in zip(handles, places, strict=True):
            self.handles[handle.job_id], self.at[handle.job_id] = handle, place
        yield from self._ids(handles)

    def short_of_memory(self, identity: str) -> str:
        """What the process has returned says of how many GPUs one had too little memory for it and those beside it."""
        handle = self.handles[identity]
        with suppress(Exception):  # it has ended otherwise
            if handle.paths.result_pickle.exists() and (gpus := handle.result()):
                self.places.gpus = gpus
                return self.places.short_of_memory(self.at[identity])
        return ""

    def present(self) -> set[str]:
        """The ids of those that run."""
        return {identity for identity, handle in self.handles.items() if handle._process.poll() is None}

    def cancel(self, identities: Collection[str]) -> None:
        """Ask processes to take a checkpoint and leave, and wait until they have."""
        processes = [self.handles[identity]._process for identity in identities]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=LEAVE)
            except subprocess.TimeoutExpired:
                process.kill()


def _without(prefix: str) -> dict[str, str]:
    """The environment without the variables from which a command of Slurm takes options."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefix)}


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Within, the environment has nothing of the job that a sweep may itself be: its jobs would inherit it."""
    before = dict(os.environ)
    if "SLURM_JOB_ID" in before:
        for name in before:
            if name.startswith(("SLURM_", "SLURMD_", "SRUN_")) and name != "SLURM_CONF":
                del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


@contextmanager
def _deaf() -> Iterator[None]:
    """Within, processes that are started hear no Ctrl-C; outside the main thread, which has the signals, they do."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# ---- in the process of a job ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Here:
    """What a process of this machine needs to know of its place."""

    visible: str | None  # GPUs, to the sweep: submitit shows a process none, or the same first ones to all
    place: int
    places: Places
    gpus: int | None
    threads: int | None

    def take(self) -> tuple[bool, int | None]:
        """Compute there from now on; whether others may compute on the same GPU, and which that is."""
        os.environ.pop(VISIBLE, None)
        os.environ |= {} if self.visible is None else {VISIBLE: self.visible}
        self.places.gpus = take_place(self.place, self.gpus, self.threads)
        gpus = self.places.gpus
        return len(self.places.beside(self.place)) > 1, self.place % gpus if gpus else None


def _run_here(task: Task, here: Here) -> int:
    """Returns 0 or, if a GPU had too little memory for all runs there, how many GPUs there are."""
    from rnndrop.runs.signals import Interrupted

    # submitit's handler only logs it; a training has one of its own, which takes a checkpoint.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    (shared, gpu), kind = here.take(), ""
    with suppress(Interrupted):
        kind = run_remote(task, shared, gpu)
    return here.places.gpus if kind == "memory" else 0


def _run_on_slurm(task: Task) -> None:
    """Told that its time is up (SIGUSR2), the job asks to be given again."""
    from rnndrop.runs.signals import Interrupted

    if os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
        task = replace(task, force=False)  # it started afresh the first time
    if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
        import torch

        torch.set_num_threads(int(cores))
    try:
        run_remote(task)
    except Interrupted as stop:
        identity = os.environ.get("SLURM_JOB_ID")
        if stop.signum == getattr(signal, "SIGUSR2", None) and identity:
            subprocess.run(["scontrol", "requeue", identity], check=False)
