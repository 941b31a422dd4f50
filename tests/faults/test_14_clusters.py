"""What the fourteenth look found: on clusters, and where two search at once."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rnndrop.cli import sweep

from rnndrop.config.compose import compose
from rnndrop.runs.runner import run_one
from rnndrop.store import heartbeat, records
from rnndrop.store.removal import foreign
from rnndrop.sweeps import cluster_submitit
from rnndrop.sweeps.cluster_submitit import Slurm
from rnndrop.sweeps.scheduler import Event, Job, failure, plan_jobs
from tests.conftest import TINY
from tests.invented import write_run


def test_14_a_trial_that_was_left_is_not_trained_on_by_who_searches_too(tmp_path: Path) -> None:
    """It is by whoever asks for the run itself."""
    request = [*TINY, "dropout=naive", f"output={tmp_path}"]
    left = {"pruned": 1, "epochs": 1}
    folder = write_run(tmp_path, [*request, "label=trial"], 0, 100.0, status="interrupted", metrics=left)
    record = records.read_record(folder)
    assert records.settles(record, {"pruned"}, "trial") and not records.settles(record, {"finished"}, "trial")
    assert not records.settles(record, {"pruned"}, None)
    config = compose([*request, "seed=0", "label=trial"])
    kept = run_one(config, [], settled={"finished", "pruned"})
    assert kept.status == "interrupted" and kept.metrics["pruned"] == 1
    own = run_one(compose([*request, "seed=0"]), [], settled={"finished", "pruned"})
    assert own.status == "finished" and own.metrics["epochs"] == 2


def test_14_a_beat_that_cannot_be_written_is_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beating = heartbeat.Heartbeat(tmp_path)
    beating._write()
    os.utime(tmp_path / heartbeat.HEARTBEAT, (1, 1))

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(heartbeat, "write_atomically", full)
    beating._write()
    assert heartbeat.fresh(heartbeat.read(tmp_path))


class Failing:
    """An executor whose first job fails; it asks whether to cancel as a cluster does."""

    free = 1

    def __init__(self, cancel: Callable[[int], bool]) -> None:
        self.cancel, self.jobs, self.cancelled = cancel, list[Job](), list[bool]()

    def submit(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
        self.jobs += jobs

    def poll(self, seconds: float) -> Iterable[Event]:
        return [Event(job, "done", failure(job.config, job.overrides, "no room")) for job in self.jobs]

    def stop(self) -> None:
        self.cancelled.append(self.cancel(1))


def test_14_fail_fast_stops_the_jobs_of_a_cluster_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Failing] = []

    def executor(launcher: Any, jobs: int, cancel: Callable[[int], bool], gpus: Any) -> Failing:
        made.append(Failing(cancel))
        return made[-1]

    monkeypatch.setattr(sweep, "executor", executor)
    monkeypatch.setattr(sweep, "ask_to_cancel", lambda count: False)
    for fail_fast in (True, False):
        jobs = plan_jobs([*TINY, "seed=0,1", f"output={tmp_path}/{fail_fast}"])
        assert sweep.run_all(jobs, sweep.Options(fail_fast=fail_fast)) == 1
        assert made[-1].cancelled == [fail_fast]


def test_14_a_process_of_submitit_dies_of_a_signal_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)  # as submitit does
    try:
        there = lambda task, shared, gpu: signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # noqa: E731
        monkeypatch.setattr(cluster_submitit, "run_remote", lambda *given: "memory" if there(*given) else "done")
        here: Any = SimpleNamespace(take=lambda: (False, None), places=SimpleNamespace(gpus=3))
        assert cluster_submitit._run_here(None, here) == 3  # type: ignore[arg-type]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_14_where_the_output_of_an_arrays_job_is() -> None:
    assert Slurm.cause(object.__new__(Slurm), Path("runs"), "123_4").endswith("/123_4")


def test_14_a_half_written_ticket_keeps_no_run_from_being_deleted(tmp_path: Path) -> None:
    folder = write_run(tmp_path, ["dropout=none"], 0, 100.0)
    (folder / f".{records.TICKET}.1a2b3c4d").touch()
    (folder / "notes.txt").touch()
    assert foreign(folder) == ["notes.txt"]
