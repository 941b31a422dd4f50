"""Jobs that a scheduler runs: on Slurm, on a Ray cluster, or each in a process of its own here. An Executor.

What became of a job is read from its run folder, which every host sees; the scheduler (a `Backend`) is asked only
whether a job is still there. So a job that dies hard, or with its node, is noticed without accounting, and given
again: it goes on from its checkpoint. A ticket in the run folder says which job works on it, for the next sweep.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rnndrop.config.private_hydra import value_of
from rnndrop.config.schema import Config
from rnndrop.display.streams import replace_unknown
from rnndrop.errors import RequestError, unknown
from rnndrop.store import files, heartbeat, records
from rnndrop.store.ownership import is_planned, unmeasured
from rnndrop.store.records import TICKET
from rnndrop.sweeps.scheduler import Event, Job, failure, newest_checkpoint
from rnndrop.sweeps.workers import run_task

GRACE = 10.0  # seconds that a job may be gone from the scheduler before its record must be there
LOST = "lost_after_s"  # a setting of every cluster: seconds without a heartbeat after which a node is taken for dead
SILENCE = 60.0  # seconds without an answer of the scheduler that are worth a message
ASK_EVERY = 2.0  # seconds between two questions to a scheduler, where that costs nobody much

log = logging.getLogger("rnndrop")


@dataclass(frozen=True)
class Task:
    """What the process of a job is told."""

    folder: str  # the sweep's own, from which paths count
    config: Config
    overrides: list[str]
    planned: Path
    force: bool
    settled: frozenset[str]
    rivals: tuple[Path, ...] = ()


class Backend(Protocol):
    """A scheduler."""

    launcher: str
    """Its name in `LAUNCHERS`."""

    every: float
    """Seconds between two questions to it."""

    @property
    def most(self) -> int:
        """How many jobs at a time it is to have."""

    def submit(self, output: Path, tasks: Sequence[Task], others: Collection[str]) -> Generator[str]:
        """Give it `run_remote` of each task, beside the jobs that it has; yield each job's id.

        Raises whatever it says where it takes none. Closed early, it takes back those whose ids nobody has.
        """

    def present(self) -> set[str] | None:
        """The ids of the jobs that wait or run; None if it cannot be asked now."""

    def cancel(self, identities: Collection[str]) -> None:
        """Have jobs take a checkpoint and leave."""

    def short_of_memory(self, identity: str) -> str:
        """What follows where a job is gone because there was too little memory for it beside others; else nothing."""

    def cause(self, output: Path, identity: str) -> str:
        """Why a job is gone, or where that is said."""


class Written(NamedTuple):
    """When a record was written, and the checksums of what it is about."""

    time: int
    files: dict[str, str]

    @classmethod
    def of(cls, job: Job) -> Written:
        """Of a run's record, as it is now."""
        record = _record(job)
        return cls(_time(job.folder / records.RECORD), record.files if record else {})

    def trained_since(self, job: Job) -> bool:
        """Whether the record is of another training by now: a later evaluation writes it too, about the same files."""
        now = self.of(job)
        return now.time != self.time and not (now.files and now.files == self.files)


@dataclass
class Submitted:
    """A job in the scheduler's hands."""

    identity: str
    record_then: Written  # its record's when it was given: a later one is its own …
    settled: Collection[str]  # … as is an earlier one with one of these statuses, by someone else
    beat_then: int  # the heartbeat's time when last seen to change …
    beat_at: float | None = None  # … and when that was: before, the job may still wait
    gone_since: float | None = None


class Cluster:
    """Jobs in the hands of a scheduler. One without a heartbeat for `lost` seconds is lost.

    `cancel` is asked with the number of jobs, when the sweep leaves, whether to cancel them.
    """

    def __init__(self, backend: Backend, lost: float = 60, cancel: Callable[[int], bool] = lambda count: True) -> None:
        self.backend, self.lost, self.cancel = backend, lost, cancel
        self.submitted: dict[Job, Submitted] = {}
        self._asked = 0.0
        self._answered = time.monotonic()
        self._works = False  # whether the scheduler has ever taken a job: if not, the request is wrong
        self._refused: list[Job] = []
        self._complaint = ""  # why it takes none, as last said

    @property
    def free(self) -> int:
        """How many more jobs it takes now."""
        return max(0, self.backend.most - len(self.submitted))

    def submit(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
        """Give the jobs to the scheduler; take those up that an earlier sweep has given."""
        present = self.backend.present()
        fresh: list[Job] = []
        for job in jobs:
            identity = _ticket(job, self.backend.launcher)
            if identity is None or (present is not None and identity not in present):
                fresh.append(job)
            elif present is None:  # it may still be there: given again, it would wait for itself
                self._complain("The scheduler does not answer; runs that it was given before wait until it does.")
                self._refused.append(job)
            else:
                log.info("%s: taking up job %s.", job.name, identity)
                self.submitted[job] = Submitted(identity, Written.of(job), settled, 0)
        if not fresh:
            return
        here, others = str(Path.cwd()), [submitted.identity for submitted in self.submitted.values()]
        given = frozenset(settled)
        tasks = [Task(here, job.config, job.overrides, job.folder, job.force, given, job.rivals) for job in fresh]
        before = [(Written.of(job), _time(job.folder / heartbeat.HEARTBEAT)) for job in fresh]
        with closing(self.backend.submit(_output(fresh[0]), tasks, others)) as identities:
            for index, (job, (record, beat)) in enumerate(zip(fresh, before, strict=True)):
                if (identity := self._taken(identities)) is None:
                    self._refused += fresh[index:]
                    return
                self.submitted[job] = Submitted(identity, record, settled, beat)
                records.prepare(job.folder)
                try:
                    ticket = {"launcher": self.backend.launcher, "id": identity}
                    files.write_atomically(job.folder / TICKET, json.dumps(ticket))
                except FileNotFoundError:  # removed in between: a later sweep then waits for the lock instead
                    pass
                except OSError as error:
                    log.warning("%s: cannot note job %s (%s).", job.folder, identity, error.strerror)

    def _taken(self, identities: Iterator[str]) -> str | None:
        """The id of the next job; None where the scheduler takes none now. Raises RequestError where it never did."""
        try:
            identity = next(identities)
        except Exception as error:  # whatever the scheduler's commands say
            if not self._works:
                said = "" if isinstance(error, RequestError) else f"hydra/launcher={self.backend.launcher}: "
                raise RequestError(f"{said}{error}") from None
            self._complain(f"The scheduler takes no jobs now, trying again: {error}")
            return None
        self._works, self._complaint = True, ""
        return identity

    def _complain(self, words: str) -> None:
        """Say it, unless it was said last."""
        if words != self._complaint:
            log.warning("%s", words)
        self._complaint = words

    def poll(self, seconds: float) -> Iterable[Event]:
        """Look into the run folders, and now and then at the scheduler."""
        refused, self._refused = [Event(job, "busy") for job in self._refused], []
        if not self.submitted:
            time.sleep(0 if refused else seconds)
            return refused
        time.sleep(seconds)
        present = None
        if time.monotonic() - self._asked > self.backend.every:
            present = self.backend.present()
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
        missing = record is not None and record.status == "finished" and bool(unmeasured(job.config, record))
        if final and not missing and submitted.record_then.trained_since(job):
            return Event(job, "done", record)
        now, beat = time.monotonic(), _time(job.folder / heartbeat.HEARTBEAT)
        if beat != submitted.beat_then:
            submitted.beat_then, submitted.beat_at = beat, now
            state = heartbeat.read(job.folder)
            return Event(job, "progress", state) if state and state.keys() & {"epoch", "measuring"} else None
        if beat and submitted.beat_at and now - submitted.beat_at > self.lost:
            self.backend.cancel([submitted.identity])
            return Event(job, "died", f"no heartbeat for {self.lost:.0f} s; is its node down?")
        if present is None or submitted.identity in present:
            submitted.gone_since = None if present is not None else submitted.gone_since
            return None
        if words := self.backend.short_of_memory(submitted.identity):
            return Event(job, "memory", words)
        submitted.gone_since = submitted.gone_since or now
        if now - submitted.gone_since < GRACE:
            return None
        settled = records.settles(record, submitted.settled, job.config.label)
        if settled and not missing:  # it was done by someone else before our job came to it
            return Event(job, "done", record)
        cause = self.backend.cause(_output(job), submitted.identity)
        if settled:
            return Event(job, "refused", f"it was not measured: {cause}")
        interrupted = newest_checkpoint(job) != job.seen_checkpoint  # or it has come further, and goes on from there
        ended = submitted.beat_at and not beat and not interrupted
        if record is not None and record.status == "finished" and ended and not missing:
            kept = f"It ended without a result, and its finished record is kept: {cause}."
            return Event(job, "done", replace(record, status="failed", error=kept, metrics={}, files={}))
        return Event(job, "died", f"job {submitted.identity} is gone; {cause}")

    def stop(self) -> None:
        """Cancel the jobs or leave them running, as the user wants."""
        if self.submitted and self.cancel(len(self.submitted)):
            self.backend.cancel([submitted.identity for submitted in self.submitted.values()])
            for job in self.submitted:
                (job.folder / TICKET).unlink(missing_ok=True)
        elif self.submitted:
            left = "1 job goes" if len(self.submitted) == 1 else f"{len(self.submitted)} jobs go"
            log.warning("%s on running; the same command picks up what runs.", left)
        self.submitted.clear()


def run_remote(task: Task, shared: bool = False, gpu: int | None = None) -> str:
    """What the process of a job does, wherever it runs; how it ended, as `run_task` says. Interrupted passes through.

    `shared`: others may compute on its GPU, `gpu`.
    """
    replace_unknown()
    os.chdir(task.folder)
    while True:
        kind, content = run_task(
            task.config,
            task.overrides,
            task.planned,
            task.force,
            task.settled,
            lambda _: None,
            task.rivals,
            shared,
            gpu,
        )
        if kind != "busy":
            break
        time.sleep(1.0)
    if kind == "refused" and is_planned(task.config, task.planned):  # else the sweep finds out, and says so
        failure(task.config, task.overrides, content)
    if kind == "done" and content is not None and content.status == "failed":  # a finished record may hide it
        with suppress(OSError):  # of a log on a full disk
            print(content.error, file=sys.stderr)
    return kind


def read_settings(
    launcher: str, settings: dict[str, str], known: Collection[str], texts: Collection[str]
) -> dict[str, Any]:
    """The values of a launcher's settings, in Hydra's grammar; those of `texts` as they stand. Raises RequestError."""
    for key in settings:
        if key not in (*known, LOST):
            raise unknown(f"setting of hydra/launcher={launcher}", key, (*known, LOST))
    return {key: _text(text) if key in texts else _value(key, text) for key, text in settings.items()}


def check_number(key: str, value: Any, what: str) -> None:
    """Raise RequestError for a setting that is no number above 0; `what` says what it must be."""
    if not (type(value) in (int, float) and 0 < value < math.inf):
        raise RequestError(f"hydra.launcher.{key}={value}: it must be {what}.")


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


def _ticket(job: Job, launcher: str) -> str | None:
    """The id of the job that a scheduler was given before."""
    try:
        ticket = json.loads(files.read_file(job.folder / TICKET) or b"{}")
        return str(ticket["id"]) if ticket["launcher"] == launcher else None
    except (ValueError, KeyError, TypeError):
        return None


def _output(job: Job) -> Path:
    return Path(job.config.output).absolute()


def _text(text: str) -> str | None:
    """What a scheduler reads itself: 4:00:00 is a time to it, and on a name."""
    return None if text == "null" else text.strip("'\"")


def _value(key: str, text: str) -> Any:
    try:
        value = value_of(f"{key}={text}")
    except Exception:  # beyond reason Hydra raises nearly anything
        raise RequestError(f"hydra.launcher.{key}={text}: cannot be read; quote a text.") from None
    if key == LOST:
        check_number(key, value, "a number of seconds")
    return value
