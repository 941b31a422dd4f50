"""`rnndrop tune`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rnndrop.config.tasks import score
from rnndrop.display.digits import number
from rnndrop.errors import RequestError
from rnndrop.store.files import DamagedRecordError
from rnndrop.sweeps.contest import Lasting
from rnndrop.sweeps.launchers import split_launcher
from rnndrop.sweeps.scheduler import Job, check_readable, settled_statuses
from rnndrop.sweeps.search_file import PlanEntry, SearchFile, best_of, read
from rnndrop.sweeps.search_outcome import path_of, write
from rnndrop.sweeps.tuning import FACTOR, SETTLED, Search, Study, at_the_end, search

from .output import show
from .progress import console, tell_idle
from .run import result_line
from .sweep import WOULD, Options, carry_out, executor_for, summary

SHOWN = (1, 2, 5, 10, 20, 50, 100)  # trials of which the expected best is printed


def tune(overrides: Sequence[str], trials: int, seeds: int, prune: bool, options: Options) -> int:
    """Search every plan, train the best of each with other seeds, and print the table; return the exit code."""
    launcher, rest = split_launcher(overrides)
    with console.status("checking every run"):
        asked = search(rest, trials, seeds, prune)
    for line in _opening(asked):
        console.print(line, soft_wrap=True)
    if options.dry_run:
        return _dry_run(asked, options)
    check_readable(trial.job for trial in asked.trials)
    _check_longer(asked)
    tell_idle([study.trials[0].job.config for study in asked.studies])
    _run(asked, launcher, replace(options, quiet=True))
    found = write(asked)
    if options.as_json:
        print(found.to_json(), end="")
    else:
        _show(asked, found)
    every = [job for study in asked.studies for job in (*(t.job for t in study.trials), *study.fresh)]
    if any(job.state == "unreadable" for job in every):
        return 2
    failed = any(job.state != "finished" for study in asked.studies for job in study.fresh)
    return 1 if failed or any(study.best is None for study in asked.studies) else 0


def _opening(asked: Search) -> list[str]:
    """What is searched, and which plans have fewer runs than trials."""
    ranges = " ".join(
        f"{key}={','.join(of)}" if isinstance(of, list) else f"{key}={'log ' * of.log}{of.low:g}…{of.high:g}"
        for key, of in asked.ranges.items()
    )
    about = f" ({FACTOR} multiplies every rate of a plan)" if FACTOR in asked.ranges else ""
    seeds = f"; then seed {', '.join(map(str, asked.seeds))}" if asked.seeds else ""
    plans = len(asked.studies)
    first = f"{plans} plan{'s' * (plans != 1)} × {asked.budget} trials with seed {asked.seed}{seeds}: {ranges}{about}"
    return [first, *(f"{study.name}: {_fewer(study, asked)}" for study in asked.studies if _fewer(study, asked))]


def _fewer(study: Study, asked: Search) -> str:
    """Why a plan has fewer trials; empty where it has as many."""
    if not study.ranges:
        return f"nothing to search; one trial stands for all {asked.budget}."
    own = len(study.trials)
    return f"these ranges have {own} different runs; they stand for {asked.budget} trials." * (own < asked.budget)


def _check_longer(asked: Search) -> None:
    """Raise RequestError where more trials have ended than are asked for now: they are not to be forgotten."""
    path = path_of(asked)
    try:
        before = read(path)
    except DamagedRecordError as problem:
        console.print(f"{path}: {problem}. It is written anew from the records.", soft_wrap=True)
        return
    ended = [sum(trial.state in SETTLED for trial in plan.trials) for plan in before.plans] if before else []
    if (most := max(ended, default=0)) > asked.budget:
        raise RequestError(
            f"--trials {asked.budget}: {path} has {most} trials of a plan already, and they count. Give --trials {most}"
            " or more."
        )


def _run(asked: Search, launcher: dict[str, str], options: Options) -> None:
    """Run the trials and then what they choose; the file is kept up to date."""
    settled = _settled(asked, options)
    workers = Lasting(executor_for(launcher, (trial.job for trial in asked.trials), options))
    owner = {trial.job: study for study in asked.studies for trial in study.trials}
    params = {trial.job: trial.params for trial in asked.trials}

    def told(job: Job) -> bool:
        if job.state in SETTLED:
            console.print(_line(job, owner.get(job), params.get(job), asked), soft_wrap=True)
            write(asked)
        return False

    try:
        trials = list(params)
        console.print(summary(trials, settled, options.jobs))
        write(asked)
        carry_out(trials, workers, settled, options, told)
        asked.measure()
        fresh = [job for study in asked.studies for job in study.fresh]
        if fresh:
            console.print(summary(fresh, settled, options.jobs))
            carry_out(fresh, workers, settled, options, told)
    finally:
        workers.close()


def _settled(asked: Search, options: Options) -> frozenset[str]:
    """The states with which a run is left alone."""
    return settled_statuses(options.retry_failed, force=False) | ({"pruned"} if asked.prune else frozenset())


def _line(job: Job, study: Study | None, params: dict[str, Any] | None, asked: Search) -> str:
    """What a run has come to."""
    if study is None or params is None:
        return f"{job.name}: {result_line(job.record, job.folder)}" if job.record else f"{job.name}: {job.state}"
    valid = ""
    if job.record and job.state in ("finished", "pruned"):
        valid = f"  valid {number(score(job.record.metrics, 'valid'))}"
    epochs = f" after epoch {job.record.metrics['epochs']}" if job.record and job.state == "pruned" else ""
    values = " ".join(f"{key}={value}" for key, value in params.items())
    return f"{study.name}  {study.over}/{len(study.trials)}  {job.state}{epochs}{valid}  {values}"


def _dry_run(asked: Search, options: Options) -> int:
    """Print a row for each trial on stdout; nothing is written."""
    settled = _settled(asked, options)
    rows = [
        {"run": trial.job.name, "state": trial.job.state, **trial.params,
         "would": "skip" if trial.job.state in settled else WOULD.get(trial.job.state, "run"),
         "folder": str(trial.job.folder)}
        for trial in asked.trials
    ]  # fmt: skip
    if options.as_json:
        print(json.dumps(rows, indent=1))
        return 0
    from tabulate import tabulate

    print(tabulate(rows, headers="keys", disable_numparse=True))
    if asked.seeds:
        console.print(f"and {len(asked.studies)} × {len(asked.seeds)} more: the seeds of what the search will choose")
    return 0


def _show(asked: Search, found: SearchFile) -> None:
    """The curves and what was chosen, then the table of the fresh seeds, then what measures it again."""
    from tabulate import tabulate

    shown = [n for n in SHOWN if n <= found.trials]
    header = ["", "trials", *(f"best of {n}" for n in shown), "chosen"]
    print(f"Expected best valid {asked.task.title} of n trials")
    print(tabulate([_cells(plan, shown) for plan in found.plans], header, disable_numparse=True))
    if any(trial.state == "pruned" for plan in found.plans for trial in plan.trials):
        print("A pruned trial counts with its best so far: these means are upper bounds, unbiased with --no-prune.")
    for plan in found.plans:
        chosen = best.params if (best := best_of(plan)) else {}
        for key, value in chosen.items():
            if at_the_end(asked.ranges[key], value):
                print(f"{plan.name}: {key}={value} is near the end of its range, and what lies beyond was not tried.")
    if any(job.state == "finished" for study in asked.studies for job in study.fresh):
        print()
        _table(asked)
    print()
    for plan in found.plans:
        print(plan.measure or f"{plan.name}: no trial finished. Search other ranges.")
    if not asked.seeds:
        print("The best valid scores are optimistic: their seed chose the settings. These commands measure them anew.")
    print(path_of(asked))


def _cells(plan: PlanEntry, shown: Sequence[int]) -> list[str]:
    """A line of the curves."""
    states = Counter(trial.state for trial in plan.trials)
    unsound = [f"{states[state]} {state}" for state in ("pruned", "diverged", "failed") if states[state]]
    trials = f"{len(plan.trials)}" + (f" ({', '.join(unsound)})" if unsound else "")
    means = [plan.expected_best[n - 1] if n <= len(plan.expected_best) else None for n in shown]
    chosen = {} if plan.chosen is None else plan.trials[plan.chosen].params
    settings = " ".join(f"{key}={value}" for key, value in chosen.items())
    return [plan.name, trials, *("—" if mean is None else number(mean) for mean in means), settings]


def _table(asked: Search) -> None:
    """The runs with fresh seeds, as `report` prints them."""
    from rnndrop.report.compare import compare
    from rnndrop.report.frames import load_runs
    from rnndrop.report.tables import render

    runs = load_runs(*(job.folder for study in asked.studies for job in study.fresh if job.record))
    metric = f"test_{asked.task.metric}"
    show(render(compare(runs, metric, intervals=False), runs, "rich", metric))
