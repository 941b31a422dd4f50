"""`rnndrop decide`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from rnndrop.decisions.planning import Expectation, expectations
from rnndrop.decisions.race import Look, Race, Rule
from rnndrop.decisions.words import look_lines, margin, sentences
from rnndrop.errors import RequestError
from rnndrop.sweeps.contest import Contest, Lasting, contest
from rnndrop.sweeps.deciding import Deciding
from rnndrop.sweeps.launchers import schedules, split_launcher
from rnndrop.sweeps.scheduler import Job, check_readable, settled_statuses

from .board import again
from .output import entry
from .progress import console, duration, tell_idle
from .run import result_line
from .sweep import Options, ask_to_cancel, carry_out, executor_for, summary


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    margin: str = "1%"
    alpha: float = 0.05
    max_seeds: int = 20
    plan_only: bool = False
    pilot: str | None = None


def decide(overrides: Sequence[str], request: Request, options: Options) -> int:
    """Train seed after seed until it is decided; print the verdict, or the decision as JSON; return the exit code."""
    if request.pilot is not None and not request.plan_only:
        raise RequestError("--pilot needs --plan-only.")
    launcher, rest = split_launcher(overrides)
    rule = Rule(request.alpha, ln_margin(request.margin))
    with console.status("checking every run"):
        decided = contest(rest, rule, request.max_seeds)
    if request.plan_only:
        return _plan(decided, request, options)
    every = [job for row in decided.jobs for job in row]
    deciding = Deciding(decided, settled_statuses(options.retry_failed, force=False), partial(_tell, decided))
    if options.dry_run:
        return _dry_run(decided, options)
    check_readable(every)
    tell_idle([job.config for job in decided.jobs[0]])
    race = _run(deciding, launcher, replace(options, quiet=True))
    decision = decided.decision(race)
    if options.as_json:
        print(decision.to_json(), end="")
    else:
        print("\n".join([*(entry("", each) for each in sentences(decision)), str(deciding.path)]))
    if any(job.state == "unreadable" for job in every):
        return 2
    return 1 if race.diverged or race.going_on else 0


def ln_margin(text: str) -> float:
    """A margin as it is typed, 1% or 0.01, as a difference of logarithms. Raises RequestError."""
    value = _share(text)
    if not 0 < value < 1:
        raise RequestError(f"--margin {text}: it must be more than 0 % and less than 100 %, as 1% or 0.01.")
    return math.log1p(value)


def _share(text: str) -> float:
    """A share as it is typed, 1% or 0.01; NaN where it is none."""
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(%?)", text.strip())
    return float(found[1]) / (100 if found[2] else 1) if found else math.nan


def _tell(decided: Contest, look: Look, number: int) -> None:
    for line in look_lines(look, number, decided.names, decided.rule):
        console.print(line, soft_wrap=True)


def _run(deciding: Deciding, launcher: dict[str, str], options: Options) -> Race:
    """Train what the looks ask for, until nothing is open or a run has failed."""
    leaving = False  # of our own accord: then nobody needs to be asked
    every = (job for row in deciding.contest.jobs for job in row)
    workers = Lasting(executor_for(launcher, every, options, lambda count: leaving or ask_to_cancel(count)))
    at_once = options.jobs if schedules(launcher) else workers.free
    console.print(_opening(deciding.contest), soft_wrap=True)

    def enough(job: Job) -> bool:
        nonlocal leaving
        if job.record and job.state in ("failed", "diverged"):
            console.print(f"{job.name}: {result_line(job.record, job.folder)}", soft_wrap=True)
        leaving = deciding.enough()
        return leaving

    try:
        for jobs in deciding.rounds(at_once):
            console.print(summary(jobs, deciding.settled, options.jobs))
            carry_out(jobs, workers, deciding.settled, options, enough)
            leaving = False
    finally:
        workers.close()
    for job in deciding.waited_for:
        console.print(f"{job.name}: {job.state}. The decision waits for it; {again([job])}.", soft_wrap=True)
    return deciding.race


def _opening(decided: Contest) -> str:
    rule, bound = decided.rule, math.exp(decided.rule.ln_bound(len(decided.names)))
    return (
        f"{len(decided.names)} contestants, at most {len(decided.seeds)} seeds each; decides at E ≥ {bound:.4g} "
        f"(alpha {rule.alpha:g}); equal: within {margin(rule)}"
    )


def _dry_run(decided: Contest, options: Options) -> int:
    """Print a row for each run that may be needed, on stdout; nothing is written."""
    settled = settled_statuses(options.retry_failed, force=False)
    race = decided.race()
    first = decided.next_jobs(race, options.jobs, settled) if race.going_on else []
    rows = [
        {"run": job.name, "state": job.state, "would": _would(job, index, seed, race, first, settled),
         "folder": str(job.folder)}
        for seed, row in enumerate(decided.jobs)
        for index, job in enumerate(row)
    ]  # fmt: skip
    console.print(_opening(decided), soft_wrap=True)
    if options.as_json:
        print(json.dumps(rows, indent=1))
        return 0
    from tabulate import tabulate

    print(tabulate(rows, headers="keys", disable_numparse=True))
    return 0


def _would(job: Job, index: int, seed: int, race: Race, first: Sequence[Job], settled: frozenset[str]) -> str:
    """What would become of a run."""
    if job.state in settled:
        return "skip"
    if job.state == "unreadable":
        return "stop"
    if job in first:
        return "resume" if job.state == "resumable" else "run"
    return "run if undecided" if index in race.remaining and seed >= len(race.looks) else "skip"


def _plan(decided: Contest, request: Request, options: Options) -> int:
    """Say how many seeds are to be expected, without training."""
    std, source = _std(decided, request)
    size = len(decided.names)
    rows = expectations(decided.rule, std, len(decided.seeds), size)
    seconds = decided.seconds()
    times = [None if seconds is None else row.seeds * seconds for row in rows]
    if options.as_json:
        expected = [{**asdict(row), "train_seconds": time} for row, time in zip(rows, times, strict=True)]
        about = {"std": std, "std_from": source, "max_seeds": len(decided.seeds)}
        print(json.dumps({**about, "expected": expected}, indent=1))
        return 0
    from tabulate import tabulate

    print(f"std of the differences {100 * std:.2f} % ({source})")
    header = ("true difference", "better/worse", "equal", "undecided", "seeds", "training")
    print(tabulate(list(map(_cells, rows, times)), header, disable_numparse=True))
    if seconds is None:
        print("The time is not known: not every contestant has a finished run.")
    return 0


def _cells(row: Expectation, time: float | None) -> tuple[str, ...]:
    shares = (f"{share:.0%}" for share in (row.different, row.equal, row.undecided))
    return f"{100 * math.expm1(row.effect):.3g} %", *shares, f"{row.seeds:.1f}", "" if time is None else duration(time)


def _std(decided: Contest, request: Request) -> tuple[float, str]:
    """The std of the differences of ln score and where it is from. Raises RequestError where nothing tells it."""
    if request.pilot is not None:
        parts = list(map(_share, request.pilot.split(",")))
        if len(parts) != 2 or not 0 < math.hypot(*parts) < math.inf:
            raise RequestError(
                f"--pilot {request.pilot}: give the std of ln score over seeds of two contestants, as 0.6%,4.9%"
            )
        return math.hypot(*parts), "from --pilot"
    if (found := decided.spread()) is None:
        raise RequestError(
            "Nothing tells how far seeds differ: no two contestants have two finished seeds each. Train two first with "
            "`rnndrop sweep … seed=0,1`, or give the std over seeds of two contestants, as --pilot 0.6%,4.9%"
        )
    return found
