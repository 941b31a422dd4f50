"""A sweep: every run of a grid, checked before the first starts; finished ones skipped, failures kept apart.

What runs the jobs is an `Executor`: worker processes of this machine (`workers.py`) or a cluster (`cluster.py`).
No torch here.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rnndrop.config.compose import compose, expand
from rnndrop.config.identity import MODES, recorded, untracked
from rnndrop.config.schema import Config, has_own_code, own_code
from rnndrop.errors import RequestError
from rnndrop.own import is_own
from rnndrop.store import checkpoint, files, records
from rnndrop.store.lock import BusyError
from rnndrop.store.ownership import check_planned, claims, folder_of, owns, unmeasured
from rnndrop.store.records import Record
from rnndrop.store.status import standing, unfinished

DEATHS = 3  # that many deaths without a new checkpoint between them, and a job is given up
BUSY_EVERY = 1.0  # seconds between two looks at a run that another process works on

log = logging.getLogger("rnndrop")


@dataclass(eq=False)
class Job:
    """One run of a sweep; `name`: how it differs from the others.

    `state`: new, resumable, running, busy (in another process), waiting (to go on), unmeasured (finished, and something
    more is to be measured), trial (recorded as one of a search, and asked for as a run of its own), pruned (a trial
    that fell behind), unreadable (`problem` says why), or its record's status. A run whose valid score is worse than
    that of half of its `rivals`, the folders of others, is pruned.
    """

    overrides: list[str]
    config: Config
    folder: Path
    name: str = "run"
    state: str = "new"
    record: Record | None = None
    problem: str = ""
    progress: dict[str, Any] = field(default_factory=dict)
    force: bool = False
    deaths: int = 0
    seen_checkpoint: str = ""
    rivals: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Event:
    """What an executor says of a job: progress, done, busy, interrupted, or died, memory, refused, unreadable and why.

    memory: there was too little for it and those beside it, and the executor takes fewer at a time from now on.
    """

    job: Job
    kind: str
    content: Any = None


class Executor(Protocol):
    """Something that runs jobs. `free` is how many more it takes now."""

    @property
    def free(self) -> int:
        """How many more jobs it takes now."""

    def submit(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
        """Start jobs, at most `free`; each must end with an event other than progress."""

    def poll(self, seconds: float) -> Iterable[Event]:
        """What has happened; waits up to `seconds` for something to happen."""

    def stop(self) -> None:
        """Have the running jobs take a checkpoint and leave; return when they have."""


def plan_jobs(overrides: Sequence[str]) -> list[Job]:
    """Compose and check every run of a grid; runs that are the same appear once. Raises RequestError."""
    return jobs_of(expand(overrides))


def jobs_of(requests: Iterable[list[str]]) -> list[Job]:
    """A job for each list of overrides, checked, in order and without repetition. Raises RequestError."""
    requests = list(requests)
    jobs: dict[Path, Job] = {}
    for each, name in zip(requests, differing(requests), strict=True):
        config = compose(each)
        folder = folder_of(config)
        if folder in jobs:
            _check_same(jobs[folder].config, config)
            continue
        jobs[folder] = Job(each, config, folder, name or "defaults")
        survey(jobs[folder])
    if same := len(requests) - len(jobs):
        log.info("%d of %d combinations are the same run as another one and are left out.", same, len(requests))
    return list(jobs.values())


def differing(requests: Sequence[Sequence[str]]) -> list[str]:
    """Of each list of overrides those that not all have, as one text."""
    common = set(requests[0]).intersection(*requests) if len(requests) > 1 else set()
    return [" ".join(override for override in each if override not in common) for each in requests]


def check_one_corpus(jobs: Iterable[Job]) -> None:
    """Raise RequestError where finished runs saw different data: their scores have no common ranking.

    Whatever is not in the run id can differ: the text of `pydoc` with Python's version, a file of one's own loader.
    """
    seen = {
        job.record.data.get("sha256"): job for job in jobs if job.record is not None and job.record.status == "finished"
    }
    if len(seen) > 1:
        one, other = (job.folder for job in list(seen.values())[:2])
        raise RequestError(
            f"These runs saw different data, so their scores have no common ranking: {one} and {other}, for instance."
        )


def _check_same(one: Config, other: Config) -> None:
    """Raise RequestError where one run is asked for under two labels, or with two measurements of one kind."""
    pairs = [("label", one.label, other.label)]
    pairs += [(f"evaluation.{mode}", *(getattr(each.evaluation, mode) for each in (one, other))) for mode in MODES]
    for name, a, b in pairs:
        if a != b:
            raise RequestError(
                f"{name} takes several values here, but it does not change which run this is: a run is trained once, "
                "with one label and one measurement of each kind. Give one value; `rnndrop eval` measures more."
            )


def survey(job: Job) -> None:
    """Find out from its folder where a job stands; whoever runs it keeps a damaged or a foreign record aside."""
    found = standing(job.folder)
    own = found.record is not None and owns(job.config, found.record)
    job.problem = found.problem
    job.record = found.record if own else None
    job.state = "new" if found.state == "damaged" or (found.record and not own) else found.state
    if job.record and job.state == "failed" and not records.begun(job.record):
        job.state = unfinished(job.folder)
    if job.record and job.state == "finished" and unmeasured(job.config, job.record):
        job.state = "unmeasured"
    if job.record and job.state in ("finished", "failed", "diverged") and claims(job.config, job.record):
        job.state = "trial"
    if job.record and records.pruned(job.record) and job.config.label == records.TRIAL:
        job.state = "pruned"


ENDED = ("finished", "failed", "diverged", "pruned", "unreadable")
"""The states in which a sweep leaves a job that it has brought to its end."""


def check_readable(jobs: Iterable[Job]) -> None:
    """Raise RequestError where what is there of a run cannot be read, so that nobody knows whether it has finished."""
    if problems := [job.problem for job in jobs if job.state == "unreadable"]:
        raise RequestError("\n".join(problems))


def settled_statuses(retry_failed: bool, force: bool) -> frozenset[str]:
    """The statuses with which a sweep leaves a run alone."""
    return frozenset() if force else frozenset({"finished"} if retry_failed else {"finished", "failed", "diverged"})


def run_jobs(
    jobs: Sequence[Job], executor: Executor, settled: Collection[str], fail_fast: bool = False
) -> Generator[Event]:
    """Run the jobs that are not settled; yield what happens. Every job's `state` and `record` are kept up to date.

    A job whose process dies, or that found too little memory beside others, goes back into the queue and on from its
    checkpoint; after `DEATHS` deaths without any progress it is recorded as failed. Leaving the iterator early, by
    whatever exception, stops the executor. Raises RequestError, before anything runs, for code of the user's own that
    cannot be had, or does not do what is asked of it; and later where such code or a file of data has changed.
    """
    queue = deque(job for job in jobs if job.state not in settled)
    for job in queue:
        job.force = not settled
        job.state = "waiting" if job.state in ENDED else job.state  # what its record says is not yet of this sweep
        if has_own_code(job.config):
            own_code(job.config)
    if own := [job.config for job in queue if job.config.model.module is not None or is_own(job.config.task)]:
        from rnndrop.runs.trial import try_own

        try_own(own)
    running: set[Job] = set()
    busy: dict[Job, float] = {}
    try:
        while queue or running or busy:
            for job in [job for job, since in busy.items() if time.monotonic() - since > BUSY_EVERY]:
                del busy[job]
                queue.append(job)
            batch = [queue.popleft() for _ in range(min(len(queue), executor.free))]
            for job in batch:
                job.state, job.seen_checkpoint = "running", newest_checkpoint(job)
            if batch:
                executor.submit(batch, settled)
                running.update(batch)
            for event in executor.poll(0.2):
                _take_in(event)
                job = event.job
                if event.kind != "progress":
                    running.discard(job)
                    if event.kind == "busy":
                        busy[job] = time.monotonic()
                    elif job.state == "waiting":
                        queue.appendleft(job)
                yield event
                if fail_fast and job.state in ("failed", "diverged"):
                    return
    finally:
        executor.stop()
        for job in (*running, *busy, *queue):
            survey(job)
            if job.state in ENDED and job.state not in settled:  # of before
                job.state = "waiting"


def _take_in(event: Event) -> None:
    """Bring a job up to date with an event. Raises RequestError where it is another run by now than was planned."""
    job = event.job
    if event.kind in ("refused", "died"):
        check_planned(job.config, job.folder)
    if event.kind == "progress":
        job.progress = event.content
        return
    if event.kind != "busy":  # else it has not begun
        job.force = False
    if event.kind == "done":
        job.record = event.content if event.content is not None else records.read_record(job.folder)
        job.state, job.problem = job.record.status if job.record else "failed", ""
        if job.record and records.pruned(job.record):
            job.state = "pruned"
    elif event.kind == "refused":
        if job.record and job.record.status == "finished":  # what could not be done is a measurement more
            job.state, job.problem = "finished", event.content
        else:
            record_failure(job, event.content)
    elif event.kind == "unreadable":
        job.state, job.problem = "unreadable", event.content
    elif event.kind == "busy":
        job.state = "busy"
    elif event.kind == "memory":
        job.state = "waiting"
    else:  # died, or was told to leave by someone else: it goes on from its checkpoint
        job.deaths = job.deaths + 1 if newest_checkpoint(job) == job.seen_checkpoint else 1
        job.state = "waiting"
        if job.deaths >= DEATHS:
            record_failure(job, f"Its process died {DEATHS} times without coming further: {event.content}.")


def record_failure(job: Job, error: str) -> None:
    """Write the record of a job that failed where it could not write one itself."""
    job.record = failure(job.config, job.overrides, error)
    job.state = "failed"


def failure(config: Config, overrides: list[str], error: str) -> Record:
    """Write and return a record that says why a run failed before it could begin, or died."""
    folder = folder_of(config)
    record = Record(
        records.SCHEMA, folder.parent.name, config.seed, "failed", untracked(overrides), recorded(config), error=error
    )
    try:
        with suppress(BusyError), records.claimed(folder, wait=False):  # whoever works on it has more to say
            records.write_less(folder, record)
    except OSError as problem:
        log.warning("%s: cannot write its record: %s.", folder, problem.strerror)
    except (RequestError, files.DamagedRecordError) as problem:
        log.warning("%s: cannot write its record: %s", folder, problem)
    return record


def newest_checkpoint(job: Job) -> str:
    """The name of a job's last checkpoint, empty where there is none."""
    with suppress(files.UnreadableError):
        return next((path.name for path in checkpoint.paths(job.folder)), "")
    return ""


def estimate(jobs: Sequence[Job], settled: Collection[str], workers: int) -> float | None:
    """Seconds that the jobs to run will take, from the epochs of runs like them; None where there is none to go by."""
    rates: dict[str, list[float]] = {}
    epochs = {job: _seconds(job) for job in jobs}
    for job, seconds in epochs.items():
        if seconds:
            rates.setdefault(_kind(job), []).extend(seconds)
    total = 0.0
    everything = [seconds for kind in rates.values() for seconds in kind]
    for job in jobs:
        if job.state in settled or job.state == "unmeasured":
            continue
        known = rates.get(_kind(job)) or everything
        if not known:
            return None
        done = 0 if job.state == "new" else len(epochs[job])
        total += max(0, job.config.trainer.epochs - done) * sum(known) / len(known)
    return total / workers


def _seconds(job: Job) -> list[float]:
    """What each epoch of a run has taken so far; nothing where its history cannot be read."""
    try:
        return [float(row["seconds"]) for row in records.read_history(job.folder, job.record)]
    except (ValueError, KeyError):
        return []


def _kind(job: Job) -> str:
    """What the time of an epoch depends on most."""
    return f"{job.config.data} {job.config.model} {job.config.dropout.name}"
