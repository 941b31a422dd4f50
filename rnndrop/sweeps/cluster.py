"""Jobs through submitit: on Slurm, or each in a process of its own here. An Executor.

What became of a job is read from its run folder, which every host sees; the scheduler is asked only whether a job is
still there. So a job that dies hard, or with its node, is noticed without accounting, and given again: it goes on
from its checkpoint.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from rnndrop.config.schema import Config
from rnndrop.display.streams import replace_unknown
from rnndrop.errors import RequestError, unknown
from rnndrop.extras import need
from rnndrop.store import files, heartbeat, records
from rnndrop.store.records import TICKET
from rnndrop.sweeps.places import Places
from rnndrop.sweeps.scheduler import Event, Job, failure
from rnndrop.sweeps.workers import run_task, take_place, threads_each

FOLDER = ".submitit"  # beside the runs: scripts, logs and submitit's own files
GRACE = 10.0  # seconds that a job may be gone from the scheduler before its record must be there
LOST = "lost_after_s"  # our own setting: seconds without a heartbeat after which a job's node is taken for dead
SILENCE = 60.0  # seconds without an answer of the scheduler that are worth a message
VISIBLE = "CUDA_VISIBLE_DEVICES"
ASK_EVERY = 2.0  # seconds between two questions to the scheduler
_GENERAL = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")
_SLURM = (
    "partition", "qos", "account", "constraint", "exclude", "gres", "comment", "setup", "time", "mem", "mem_per_cpu",
    "mem_per_gpu", "cpus_per_gpu", "gpus_per_task", "signal_delay_s", "additional_parameters", "array_parallelism",
    "exclusive", "srun_args", "use_srun",
)  # fmt: skip

log = logging.getLogger("rnndrop")


class Scheduler(Protocol):
    """What the cluster is asked of its jobs."""

    def present(self) -> set[str] | None:
        """The ids of the jobs that wait or run; None if it cannot be asked now."""

    def cancel(self, identity: str) -> None:
        """Have a job take a checkpoint and leave."""

    def out_of_memory(self, identity: str) -> int:
        """Of how many GPUs one had too little memory for a job that is gone and those beside it; else 0."""


@dataclass
class Submitted:
    """A job in the scheduler's hands."""

    identity: str
    record_then: int  # the time of its record's file when it was given: a later one is its own …
    settled: Collection[str]  # … as is an earlier one with one of these statuses, by someone else
    place: int = -1  # where it is, of the places of this machine
    beat_then: int = 0  # the heartbeat's time when last seen to change …
    beat_at: float = 0.0  # … and when that was
    gone_since: float | None = None


class Cluster:
    """`kind` is "slurm" or "local"; `settings` are those of Hydra's submitit launcher, as text.

    `cancel` is asked with the number of jobs, when the sweep leaves, whether to cancel them. `gpus`: how many of this
    machine's the local processes share; None for all.
    """

    def __init__(
        self,
        kind: str,
        settings: dict[str, str],
        jobs: int,
        cancel: Callable[[int], bool] = lambda count: True,
        gpus: int | None = None,
    ) -> None:
        self.kind, self.cancel = kind, cancel
        for key in settings:
            if key not in (*_GENERAL, *_SLURM, LOST):
                raise unknown(f"setting of hydra/launcher=submitit_{kind}", key, (*_GENERAL, *_SLURM, LOST))
        values = {key: _value(key, text) for key, text in settings.items()}
        self.lost = values.pop(LOST, 60)
        self.parameters = {key if key in _GENERAL else f"slurm_{key}": value for key, value in values.items()}
        self.parameters = {"name": "rnndrop", "timeout_min": 60, **self.parameters}
        self.places = Places(jobs if kind == "local" or jobs > 1 else 10_000)
        self.gpus, self.threads = gpus, threads_each(jobs)
        self.submitted: dict[Job, Submitted] = {}
        self.scheduler: Scheduler = _Slurm() if kind == "slurm" else _Local()
        self._asked = 0.0
        self._answered = time.monotonic()
        self._works = False  # whether the scheduler has ever taken a job: if not, the request is wrong
        self._refused: list[Job] = []
        need("submitit", "slurm", "hydra/launcher=submitit_…")

    @property
    def free(self) -> int:
        """How many more jobs it takes now."""
        return max(0, len(self.places.open) - len(self.submitted))

    def submit(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
        """Give the jobs to the scheduler, as one array; take those up that an earlier sweep has given."""
        present = self.scheduler.present() or set()
        fresh: list[Job] = []
        for job in jobs:
            identity = _ticket(job)
            if identity in present:
                log.info("%s: taking up job %s.", job.name, identity)
                self._follow(job, identity, settled)
            else:
                fresh.append(job)
        if not fresh:
            return
        output = Path(fresh[0].config.output).absolute()
        executor = self._executor(output / FOLDER)
        taken = [submitted.place for submitted in self.submitted.values()]
        for _ in fresh:
            taken.append(self.places.next(taken))
        places = taken[-len(fresh) :]
        try:
            with executor.batch():
                handles = [
                    executor.submit(
                        run_remote,
                        str(Path.cwd()),
                        job.config,
                        job.overrides,
                        job.force,
                        frozenset(settled),
                        self._here(place) if self.kind == "local" else None,
                        job.rivals,
                    )
                    for job, place in zip(fresh, places, strict=True)
                ]
        except Exception as error:  # whatever the scheduler's commands say
            if not self._works:
                raise RequestError(f"hydra/launcher=submitit_{self.kind}: {error}") from None
            log.warning("The scheduler takes no jobs now, trying again: %s", error)
            self._refused += fresh
            return
        self._works = True
        for job, place, handle in zip(fresh, places, handles, strict=True):
            if isinstance(self.scheduler, _Local):
                self.scheduler.handles[handle.job_id] = handle
            records.prepare(job.folder)
            self._follow(job, handle.job_id, settled, place)
            with suppress(FileNotFoundError):  # removed in between: a later sweep then waits for the lock instead
                files.write_atomically(job.folder / TICKET, json.dumps({"launcher": self.kind, "id": handle.job_id}))

    def _follow(self, job: Job, identity: str, settled: Collection[str], place: int = -1) -> None:
        self.submitted[job] = Submitted(identity, _time(job.folder / records.RECORD), settled, place)

    def _here(self, place: int) -> Here:
        return Here(os.environ.get(VISIBLE), place, self.places, self.gpus, self.threads)

    def _executor(self, folder: Path) -> Any:
        submitit = need("submitit", "slurm", "hydra/launcher=submitit_…")
        try:
            executor = submitit.AutoExecutor(folder=folder / "%j", cluster=self.kind)
            executor.update_parameters(**self.parameters)
        except (RuntimeError, ValueError, TypeError, NameError) as error:
            raise RequestError(f"hydra/launcher=submitit_{self.kind}: {error}") from None
        return executor

    def poll(self, seconds: float) -> Iterable[Event]:
        """Look into the run folders, and now and then at the scheduler."""
        refused, self._refused = [Event(job, "busy") for job in self._refused], []
        if not self.submitted:
            return refused
        time.sleep(seconds)
        present = None
        if time.monotonic() - self._asked > ASK_EVERY:
            present = self.scheduler.present()
            self._asked = time.monotonic()
            if present is not None:
                self._answered = self._asked
            elif self._asked - self._answered > SILENCE:
                log.warning("The scheduler has not answered for %.0f s; still waiting.", self._asked - self._answered)
                self._answered = self._asked
        events = refused
        for job, submitted in list(self.submitted.items()):
            event = self._look(job, submitted, present)
            if event is not None:
                events.append(event)
                if event.kind != "progress":
                    del self.submitted[job]
                    (job.folder / TICKET).unlink(missing_ok=True)
        return events

    def _look(self, job: Job, submitted: Submitted, present: set[str] | None) -> Event | None:
        """What there is to say of a job: it is done, it is gone, it is lost, or how far it is."""
        record = _record(job)
        final = record is not None and (record.status in ("finished", "failed", "diverged") or records.pruned(record))
        if final and _time(job.folder / records.RECORD) != submitted.record_then:
            return Event(job, "done", record)
        now, beat = time.monotonic(), _time(job.folder / heartbeat.HEARTBEAT)
        if beat != submitted.beat_then:
            submitted.beat_then, submitted.beat_at = beat, now
            state = heartbeat.read(job.folder)
            return Event(job, "progress", state) if state and "epoch" in state else None
        if beat and now - submitted.beat_at > self.lost:
            self.scheduler.cancel(submitted.identity)
            return Event(job, "died", f"no heartbeat for {self.lost:.0f} s; is its node down?")
        if present is None or submitted.identity in present:
            submitted.gone_since = None if present is not None else submitted.gone_since
            return None
        if gpus := self.scheduler.out_of_memory(submitted.identity):
            self.places.gpus = gpus
            return Event(job, "memory", self.places.short_of_memory(submitted.place))
        submitted.gone_since = submitted.gone_since or now
        if now - submitted.gone_since < GRACE:
            return None
        if records.settles(record, submitted.settled):  # it was done by someone else before our job came to it
            return Event(job, "done", record)
        return Event(job, "died", f"job {submitted.identity} is gone; its output is in {_logs(job, submitted)}")

    def stop(self) -> None:
        """Cancel the jobs or leave them running, as the user wants."""
        if self.submitted and self.cancel(len(self.submitted)):
            for job, submitted in self.submitted.items():
                self.scheduler.cancel(submitted.identity)
                (job.folder / TICKET).unlink(missing_ok=True)
        elif self.submitted:
            log.warning("%d jobs go on running; the same command picks them up again.", len(self.submitted))
        self.submitted.clear()


class _Slurm:
    """Slurm, asked through its commands: they need no accounting."""

    def present(self) -> set[str] | None:
        """The ids of the jobs that wait or run."""
        command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return set(done.stdout.split())

    def cancel(self, identity: str) -> None:
        """Slurm sends SIGTERM, on which the job takes a checkpoint, and SIGKILL after KillWait."""
        subprocess.run(["scancel", identity], capture_output=True, timeout=30, check=False)

    def out_of_memory(self, identity: str) -> int:
        """A job of Slurm's has its GPU for itself, and records what that lacks."""
        return 0


class _Local:
    """Processes of this machine."""

    def __init__(self) -> None:
        self.handles: dict[str, Any] = {}

    def present(self) -> set[str]:
        """The ids of those that run."""
        return {identity for identity, handle in self.handles.items() if handle._process.poll() is None}

    def cancel(self, identity: str) -> None:
        """Ask a process to take a checkpoint and leave, and wait until it has."""
        process = self.handles[identity]._process
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()

    def out_of_memory(self, identity: str) -> int:
        """What the process has returned."""
        handle = self.handles[identity]
        return int(handle.result()) if handle.paths.result_pickle.exists() else 0


@dataclass(frozen=True)
class Here:
    """What a process of this machine needs to know of its place."""

    visible: str | None  # GPUs, to the sweep: submitit shows a process none, or the same first ones to all
    place: int
    places: Places
    gpus: int | None
    threads: int | None

    def take(self) -> bool:
        """Compute there from now on; whether others may compute on the same GPU."""
        os.environ.pop(VISIBLE, None)
        os.environ |= {} if self.visible is None else {VISIBLE: self.visible}
        self.places.gpus = take_place(self.place, self.gpus, self.threads)
        return len(self.places.beside(self.place)) > 1


def run_remote(
    folder: str,
    config: Config,
    overrides: list[str],
    force: bool,
    settled: Collection[str],
    here: Here | None,
    rivals: Sequence[Path] = (),
) -> int:
    """What a job does, wherever it runs. Told that its time is up (SIGUSR2), it asks Slurm to be given again.

    Returns 0; on this machine (`here`), if its GPU had too little memory for all runs there, the number of GPUs.
    """
    from rnndrop.runs.signals import Interrupted

    replace_unknown()
    os.chdir(folder)
    shared = here is not None and here.take()
    if os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
        force = False  # it started afresh the first time
    if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
        import torch

        torch.set_num_threads(int(cores))
    try:
        while True:
            kind, content = run_task(config, overrides, force, settled, lambda progress: None, rivals, shared)
            if kind != "busy":
                break
            time.sleep(1.0)
    except Interrupted as stop:
        identity = os.environ.get("SLURM_JOB_ID")
        if stop.signum == getattr(signal, "SIGUSR2", None) and identity:
            subprocess.run(["scontrol", "requeue", identity], check=False)
        return 0
    if kind == "refused":
        failure(config, overrides, content)
    return here.places.gpus if here and kind == "memory" else 0


def _record(job: Job) -> records.Record | None:
    try:
        return records.read_record(job.folder)
    except (files.DamagedRecordError, files.UnreadableError):
        return None


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _ticket(job: Job) -> str | None:
    try:
        return str(json.loads(files.read_file(job.folder / TICKET) or b"{}")["id"])
    except (ValueError, KeyError, TypeError):
        return None


def _value(key: str, text: str) -> Any:
    """What a setting's text means. Raises RequestError."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RequestError(f"hydra.launcher.{key}={text}: cannot be read; quote a text.") from None
    if key == LOST and not (type(value) in (int, float) and 0 < value < math.inf):
        raise RequestError(f"hydra.launcher.{key}={text}: it must be a number of seconds.")
    return value


def _logs(job: Job, submitted: Submitted) -> Path:
    return Path(job.config.output) / FOLDER / submitted.identity.partition("_")[0]
