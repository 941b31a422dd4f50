"""`rnndrop sweep`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass

import typer
from rich.live import Live

from rnndrop.errors import RequestError
from rnndrop.runs.signals import Stop
from rnndrop.store.ownership import relabelled
from rnndrop.sweeps.launchers import executor, split_launcher
from rnndrop.sweeps.scheduler import Executor, Job, estimate, plan_jobs, run_jobs, settled_statuses

from .board import Board, Outcome
from .progress import console, duration, each, resumable, tell_idle
from .run import result_line

WORDS = {
    "resumable": "to resume",
    "running": "running elsewhere",
    "unmeasured": "to measure",
    "trial": "done in a search",
}
TOLD_EVERY = 60.0  # seconds between two lines on progress, where there is no terminal
WOULD = {"resumable": "resume", "unmeasured": "measure", "unreadable": "stop", "trial": "take over"}


@dataclass(frozen=True)
class Options:
    """How to sweep."""

    jobs: int = 1
    as_json: bool = False
    dry_run: bool = False
    retry_failed: bool = False
    fail_fast: bool = False
    force: bool = False
    quiet: bool = False  # no line a run on stdout
    gpus: int | None = None


def sweep(overrides: Sequence[str], options: Options) -> int:
    """Run a grid; print a line a run, or the records as a JSON list; return the exit code."""
    launcher, rest = split_launcher(overrides)
    with console.status("checking every run"):
        jobs = plan_jobs(rest)
    return run_all(jobs, options, launcher)


def run_all(
    jobs: Sequence[Job],
    options: Options,
    launcher: dict[str, str] | None = None,
    told: Callable[[Job], str] = lambda job: "",
) -> int:
    """Run jobs, or say what would run; return the exit code. `told`: what is said of a job instead of its scores."""
    settled = settled_statuses(options.retry_failed, options.force)
    todo = [job for job in jobs if job.state not in settled]

    def cancel(count: int) -> bool:
        failed = options.fail_fast and any(job.state in ("failed", "diverged") for job in todo)
        return failed or ask_to_cancel(count)

    workers = executor_for(launcher or {}, jobs, options, cancel)
    console.print(summary(jobs, settled, options.jobs))
    tell_idle([job.config for job in jobs])
    if skipped := sum(job.state in settled and job.state in ("failed", "diverged") for job in jobs):
        console.print(f"{skipped} failed or diverged before: skipped. --retry-failed runs them again.")
    unreadable = [job for job in jobs if job.state == "unreadable"]
    if options.dry_run:
        for job in unreadable:
            console.print(f"{job.name}: {job.problem}", soft_wrap=True)
        return _dry_run(jobs, settled, options)
    if unreadable:
        raise RequestError("\n".join(job.problem for job in unreadable))
    for job in jobs:
        if job.state in settled:
            _report(job, options, before=True, told=told)
            if job.record and (note := relabelled(job.config, job.record)):
                console.print(f"{job.name}: {note}")
    outcome = Outcome(jobs, settled)
    carry_out(jobs, workers, settled, options, outcome=outcome, told=told)
    console.print(outcome.ended(advise=not options.quiet), soft_wrap=True)
    if options.as_json:
        print(json.dumps([asdict(job.record) for job in jobs if job.record], indent=1))
    if any(job.state == "unreadable" for job in jobs):
        return 2
    return 0 if all(job.state == "finished" and not job.problem for job in jobs) else 1


def executor_for(
    launcher: dict[str, str],
    jobs: Iterable[Job],
    options: Options,
    cancel: Callable[[int], bool] | None = None,
) -> Executor:
    """What runs the jobs. Raises RequestError where it cannot run them as is asked; `cancel` as `executor` has it."""
    if options.gpus and all(job.config.trainer.device == "cpu" for job in jobs):
        raise RequestError(f"--gpus {options.gpus}: with trainer.device=cpu no run uses a GPU. Leave one of them out.")
    return executor(launcher, options.jobs, cancel or ask_to_cancel, options.gpus)


def carry_out(
    jobs: Sequence[Job],
    workers: Executor,
    settled: Collection[str],
    options: Options,
    enough: Callable[[Job], bool] = lambda job: False,
    outcome: Outcome | None = None,
    told: Callable[[Job], str] = lambda job: "",
) -> None:
    """Run jobs and show where they stand; leave early where `enough`, asked when a job has come to its end, says so."""
    stop, board = Stop(), Board(jobs, settled)
    # Lines on stdout go above what is drawn, but only where they go to a terminal, too.
    live = Live(console=console, transient=True, auto_refresh=False, redirect_stdout=sys.stdout.isatty())
    events = closing(run_jobs(jobs, workers, settled, options.fail_fast))
    plain = (
        nullcontext() if console.is_interactive else each(TOLD_EVERY, lambda: console.print(board.line, soft_wrap=True))
    )
    so_far = outcome.counts if outcome else str
    with resumable(options.force, so_far), live, plain, stop.listening(), stop.anywhere(), events as happening:
        for event in happening:
            if event.kind != "progress" and event.job.state in ("finished", "failed", "diverged"):
                _report(event.job, options, told=told)
            elif event.kind in ("died", "interrupted"):
                console.print(f"{event.job.name}: its process died ({event.content}); the run will be resumed")
            elif event.kind == "memory":
                console.print(f"{event.job.name}: {event.content}; the run will be resumed", soft_wrap=True)
            if event.kind == "unreadable" or (event.kind == "refused" and event.job.problem):
                console.print(f"{event.job.name}: {event.content}", soft_wrap=True)
            board.take(event)
            if console.is_interactive and (event.kind != "progress" or board.old):
                live.update(board.screen(console.width, console.height), refresh=True)
            if event.kind != "progress" and enough(event.job):
                return


def ask_to_cancel(count: int) -> bool:
    """Whether jobs of a cluster shall be cancelled when the sweep leaves; without a terminal they go on."""
    if not sys.stdin.isatty():
        return False
    try:
        return typer.confirm(
            f"Cancel the {count} jobs? They write a checkpoint first. Otherwise they keep running", err=True
        )
    except (KeyboardInterrupt, typer.Abort):
        return False


def summary(jobs: Sequence[Job], settled: Collection[str], workers: int) -> str:
    """How many runs there are, in which state, and about how long they will take."""
    counts = Counter(job.state for job in jobs)
    states = " · ".join(f"{count} {WORDS.get(state, state)}" for state, count in counts.items())
    seconds = estimate(jobs, settled, workers)
    time = f"   about {duration(seconds)}" if seconds else ""
    return f"{len(jobs)} run{'' if len(jobs) == 1 else 's'}: {states}{time}"


def _dry_run(jobs: Sequence[Job], settled: Collection[str], options: Options) -> int:
    """Print a row for each run on stdout."""
    rows = [
        {
            "run": job.name,
            "state": job.state,
            "would": "skip" if job.state in settled else WOULD.get(job.state, "run"),
            "folder": str(job.folder),
        }
        for job in jobs
    ]
    if options.as_json:
        print(json.dumps(rows, indent=1))
        return 0
    from tabulate import tabulate

    print(tabulate(rows, headers="keys", disable_numparse=True))
    return 0


def _report(job: Job, options: Options, before: bool = False, told: Callable[[Job], str] = lambda job: "") -> None:
    """Print a line for a run that ended, now or `before` this sweep."""
    if job.record and not options.as_json and not options.quiet:
        note = f"   (already {job.state})" if before else ""
        print(f"{job.name}: {told(job) or result_line(job.record, job.folder)}{note}", flush=True)
