"""What a sweep makes of the jobs in a scheduler's hands, whichever it is."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnndrop.store import heartbeat, records
from rnndrop.store.files import write_atomically
from rnndrop.sweeps.cluster import ASK_EVERY, Cluster, Task
from rnndrop.sweeps.cluster_submitit import Slurm
from rnndrop.sweeps.scheduler import Job, plan_jobs
from tests.conftest import TINY


class Pretended:
    """A scheduler whose jobs wait until the test lets them do something."""

    launcher, most, every = "pretended", 10, ASK_EVERY

    def __init__(self, room: int = 100) -> None:
        self.room, self.given, self.cancelled, self.silent = room, 0, list[str](), False

    def submit(self, output: Path, tasks: Sequence[Task], others: Collection[str]) -> Iterator[str]:
        for _ in tasks:
            if self.given == self.room:
                raise OSError("no room")
            self.given += 1
            yield str(self.given)

    def present(self) -> set[str] | None:
        return None if self.silent else {str(number + 1) for number in range(self.given)}

    def cancel(self, identities: Collection[str]) -> None:
        self.cancelled += identities

    def short_of_memory(self, identity: str) -> str:
        return ""

    def cause(self, output: Path, identity: str) -> str:
        return ""


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return plan_jobs([*TINY, f"output={tmp_path}", "seed=0,1,2"])


def polled(cluster: Cluster) -> list[str]:
    return [event.kind for _ in range(3) for event in cluster.poll(0.01)]


def test_a_job_that_waits_is_not_lost_for_the_heartbeat_of_the_one_before(jobs: list[Job]) -> None:
    cluster = Cluster(backend := Pretended(), lost=1e-6)
    beat = jobs[0].folder / heartbeat.HEARTBEAT
    records.prepare(jobs[0].folder)
    write_atomically(beat, "{}")  # its node has died
    cluster.submit(jobs[:1], frozenset())
    assert polled(cluster) == [] and not backend.cancelled
    os.utime(beat, (1, 1))  # it begins, and is silent from then on
    assert polled(cluster) == ["died"] and backend.cancelled == ["1"]


def test_what_a_scheduler_takes_is_known_to_the_next_sweep_when_it_takes_no_more(jobs: list[Job]) -> None:
    backend = Pretended(room=2)
    cluster = Cluster(backend)
    cluster.submit(jobs, frozenset())
    assert polled(cluster) == ["busy"]  # it is tried again
    tickets = [json.loads((job.folder / records.TICKET).read_text()) for job in jobs[:2]]
    assert tickets == [{"launcher": "pretended", "id": number} for number in ("1", "2")]
    backend.room = 3
    Cluster(backend).submit(jobs, frozenset())
    assert backend.given == 3


def test_slurm_is_given_no_more_jobs_in_an_array_than_it_takes(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    arrays: list[int] = []

    def give(self: Slurm, output: Path, calls: Sequence[object]) -> list[SimpleNamespace]:
        arrays.append(len(calls))
        return [SimpleNamespace(job_id=f"{len(arrays)}_{number}") for number in range(len(calls))]

    monkeypatch.setattr(Slurm, "_give", give)
    task = Task("", jobs[0].config, [], jobs[0].folder, False, frozenset())
    found = list(Slurm({}, 10_000).submit(Path(), [task] * 2500, []))
    assert arrays == [1000, 1000, 500] and len(set(found)) == 2500


def test_what_a_silent_scheduler_may_still_have_is_not_given_again(
    jobs: list[Job], caplog: pytest.LogCaptureFixture
) -> None:
    backend = Pretended()
    Cluster(backend).submit(jobs[:2], frozenset())
    backend.silent = True
    cluster = Cluster(backend)
    cluster.submit(jobs, frozenset())
    assert polled(cluster) == ["busy", "busy"] and backend.given == 3  # the third has no ticket
    assert caplog.text.count("The scheduler does not answer") == 1
    backend.silent = False
    cluster.submit(jobs[:2], frozenset())
    assert polled(cluster) == [] and backend.given == 3 and len(cluster.submitted) == 3
