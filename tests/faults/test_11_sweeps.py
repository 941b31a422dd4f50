"""Sweeps, decisions and clusters that said what had not happened, or forgot what they had given away."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.board import Outcome
from rnndrop.decisions.race import Rule
from rnndrop.errors import RequestError
from rnndrop.store import heartbeat, records
from rnndrop.store.files import write_atomically
from rnndrop.sweeps import cluster_submitit
from rnndrop.sweeps.cluster import Cluster, Task
from rnndrop.sweeps.cluster_submitit import Local, Slurm
from rnndrop.sweeps.contest import contest
from rnndrop.sweeps.deciding import Deciding
from rnndrop.sweeps.scheduler import Event, Job, plan_jobs, run_jobs, settled_statuses
from tests.conftest import TINY
from tests.invented import write_run


class Lets:
    """An executor of so many jobs at once that lets a test say what becomes of each."""

    def __init__(self, end: Callable[[Job], Event], at_once: int = 1) -> None:
        self.end, self.at_once, self.given, self.begun = end, at_once, list[Job](), list[Job]()

    @property
    def free(self) -> int:
        return self.at_once - len(self.given)

    def submit(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
        self.given += jobs
        self.begun += jobs

    def poll(self, seconds: float) -> Iterable[Event]:
        ended, self.given = self.given, []
        return [self.end(job) for job in ended]

    def stop(self) -> None:
        self.given = []


def done(job: Job, status: str = "finished") -> Event:
    """The job ends, with a record under its folder."""
    seed, name = job.config.seed, job.config.dropout.name
    if not (job.folder / records.RECORD).exists():
        write_run(Path(job.config.output), [f"dropout={name}", *TINY], seed, 100.0 + seed, status=status)
    record = records.read_record(job.folder)
    assert record is not None
    record.status = status
    return Event(job, "done", record)


def test_11_a_decision_tries_again_what_had_failed(tmp_path: Path) -> None:
    """Whichever comes first, and at whatever seed it had failed."""
    for name, seed in (("naive", 0), ("variational", 2)):
        write_run(tmp_path, [f"dropout={name}", *TINY], seed, status="failed", error="once", metrics={})
    asked = contest(["dropout=variational,naive", *TINY, f"output={tmp_path}"], Rule(0.05, 0.01), 5)
    deciding = Deciding(asked, settled_statuses(retry_failed=True, force=False), lambda look, number: None)
    begun: list[tuple[str, int]] = []

    def again(job: Job) -> Event:
        begun.append((job.config.dropout.name, job.config.seed))
        shutil.rmtree(job.folder, ignore_errors=True)
        return done(job)

    for count, jobs in enumerate(deciding.rounds(1)):
        assert count < 20
        for event in run_jobs(jobs, Lets(again), deciding.settled):
            if event.kind != "progress" and deciding.enough():
                break
    assert len(begun) == len(set(begun)) and {("naive", 0), ("variational", 2)} <= set(begun)
    assert not deciding.waited_for


def test_11_what_fails_again_is_not_tried_for_ever(tmp_path: Path) -> None:
    write_run(tmp_path, ["dropout=naive", *TINY], 0, status="failed", error="once", metrics={})
    asked = contest(["dropout=variational,naive", *TINY, f"output={tmp_path}"], Rule(0.05, 0.01), 5)
    deciding = Deciding(asked, settled_statuses(retry_failed=True, force=False), lambda look, number: None)
    executor = Lets(lambda job: done(job, "failed" if job.config.dropout.name == "naive" else "finished"), 4)
    for count, jobs in enumerate(deciding.rounds(1)):
        assert count < 3
        list(run_jobs(jobs, executor, deciding.settled))
    assert [job.state for job in deciding.waited_for] == ["failed"]
    assert len(executor.begun) == len(set(executor.begun))


@pytest.mark.parametrize("force", [True, False])
def test_11_what_was_not_begun_has_not_run_now(tmp_path: Path, force: bool) -> None:
    status = "finished" if force else "failed"
    for seed in range(4):
        write_run(tmp_path, TINY, seed, 100.0, status=status)
    jobs = plan_jobs([*TINY, f"output={tmp_path}", "seed=0,1,2,3"])
    settled = settled_statuses(retry_failed=not force, force=force)
    outcome = Outcome(jobs, settled)
    events = run_jobs(jobs, Lets(lambda job: Event(job, "done", job.record)), settled)
    next(events)
    events.close()
    assert outcome.counts() == f"4 runs: 1 ran now (1 {status}), 3 are left."


def test_11_force_outlasts_a_run_that_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnndrop.sweeps.scheduler.BUSY_EVERY", -1.0)
    write_run(tmp_path, TINY, 0, 100.0)
    jobs = plan_jobs([*TINY, f"output={tmp_path}", "seed=0"])
    forced: list[bool] = []

    def end(job: Job) -> Event:
        forced.append(job.force)
        return Event(job, "busy") if len(forced) == 1 else Event(job, "done", job.record)

    list(run_jobs(jobs, Lets(end), frozenset()))
    assert forced == [True, True] and not jobs[0].force


class Pretended:
    """A scheduler that keeps what it was given until it is told otherwise."""

    launcher, most, every = "pretended", 10, 2.0

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.taken_back: list[str] = []

    def submit(self, output: Path, tasks: Sequence[Task], others: Collection[str]) -> Generator[str]:
        every = [str(number) for number in range(len(tasks))]
        self.there.update(every)  # all at once, as an array
        taken = 0
        try:
            for identity in every:
                taken += 1
                yield identity
        finally:
            self.taken_back += every[taken:]

    def present(self) -> set[str]:
        return self.there

    def cancel(self, identities: Collection[str]) -> None:
        self.there.difference_update(identities)

    def short_of_memory(self, identity: str) -> str:
        return ""

    def cause(self, output: Path, identity: str) -> str:
        return "its output says why"


def test_11_jobs_that_nobody_has_noted_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = plan_jobs([*TINY, f"output={tmp_path}", "seed=0,1,2"])
    prepare, ready = records.prepare, list[Path]()

    def full(folder: Path) -> None:
        if ready:
            raise RequestError("Cannot write")
        ready.append(folder)
        prepare(folder)

    monkeypatch.setattr(records, "prepare", full)
    cluster = Cluster(backend := Pretended())
    with pytest.raises(RequestError):
        cluster.submit(jobs, frozenset())
    assert backend.taken_back == ["2"] and len(cluster.submitted) == 2  # these are asked about when the sweep leaves


def test_11_slurm_takes_back_what_is_left_of_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    cancelled: list[str] = []
    monkeypatch.setattr(Slurm, "_give", lambda *_: [SimpleNamespace(job_id=f"7_{number}") for number in range(4)])
    monkeypatch.setattr(Slurm, "cancel", lambda own, identities: cancelled.extend(identities))
    (job,) = plan_jobs([*TINY, f"output={tmp_path}"])
    task = Task("", job.config, [], job.folder, False, frozenset())
    ids = Slurm({}, 10).submit(Path(), [task] * 4, [])
    assert next(ids) == "7_0"
    ids.close()
    assert cancelled == ["7_1", "7_2", "7_3"]
    assert list(Slurm({}, 10).submit(Path(), [task] * 4, [])) == [f"7_{number}" for number in range(4)]
    assert len(cancelled) == 3


def test_11_a_job_that_ends_while_others_are_noted_is_done(tmp_path: Path) -> None:
    """Its record is later than when it was given, if not than when it was noted."""
    write_run(tmp_path, TINY, 0, 100.0)
    (job,) = plan_jobs([*TINY, f"output={tmp_path}", "seed=0"])
    os.utime(job.folder / records.RECORD, (1, 1))

    class Quick(Pretended):
        def submit(self, output: Path, tasks: Sequence[Task], others: Collection[str]) -> Generator[str]:
            os.utime(job.folder / records.RECORD, (2, 2))
            yield "0"

    cluster = Cluster(Quick())
    cluster.submit([job], frozenset())
    assert [event.kind for event in cluster.poll(0.01)] == ["done"]


@pytest.mark.parametrize("interrupted", [False, True])
def test_11_a_forced_run_that_failed_over_a_finished_one_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    monkeypatch.setattr("rnndrop.sweeps.cluster.GRACE", -1.0)
    write_run(tmp_path, TINY, 0, 100.0)
    (job,) = plan_jobs([*TINY, f"output={tmp_path}", "seed=0"])
    cluster = Cluster(backend := Pretended())
    backend.every = -1.0
    cluster.submit([job], frozenset())
    write_atomically(job.folder / heartbeat.HEARTBEAT, '{"epoch": 1}')
    assert not any(event.kind != "progress" for event in cluster.poll(0.01))
    (job.folder / heartbeat.HEARTBEAT).unlink()  # as a run does that ends by itself
    if interrupted:  # it has left a checkpoint, and goes on from there
        (job.folder / "checkpoint-00000005-0123456789abcdef.safetensors").write_bytes(b"")
    backend.there.clear()
    events = [event for _ in range(3) for event in cluster.poll(0.01)]
    assert [event.kind for event in events] == ["died" if interrupted else "done"]
    if not interrupted:
        assert events[0].content.status == "failed" and "its output says why" in events[0].content.error
        assert not events[0].content.metrics


def test_11_processes_of_this_machine_have_no_hour_and_hear_no_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    heard: list[Any] = []
    backend = Local({}, 2)
    assert backend.parameters["timeout_min"] > 60 * 24 * 365
    assert Local({"timeout_min": 5}, 2).parameters["timeout_min"] == 5
    assert Slurm({}, 2).parameters["timeout_min"] == 60
    before = signal.getsignal(signal.SIGINT)

    def give(*_: Any) -> list[Any]:
        heard.append(signal.getsignal(signal.SIGINT))
        return []

    monkeypatch.setattr(cluster_submitit._Submitit, "_give", give)
    list(backend.submit(Path(), [], []))
    assert heard == [signal.SIG_IGN] and signal.getsignal(signal.SIGINT) == before
