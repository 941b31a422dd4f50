"""`rnndrop reproduce`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from importlib.resources import as_file, files

from rnndrop.config.identity import of_identity
from rnndrop.errors import RequestError
from rnndrop.reproduction.recipe import Plan, Reproduction, load, plans
from rnndrop.sweeps.launchers import split_launcher
from rnndrop.sweeps.scheduler import Job
from rnndrop.values import Scale

from .progress import console
from .run import result_line
from .sweep import Options, run_all


def reproduce(name: str, scale: Scale, overrides: Sequence[str], options: Options) -> int:
    """Run every row with every seed and print ours beside the published; return the exit code.

    Where the rates are searched, the search runs first, with a seed of its own that is not reported.
    """
    reproduction = load(name)
    launcher, rest = split_launcher(overrides)
    with console.status("checking every run"):
        table = plans(reproduction, scale, rest)
    name = title(reproduction, scale, rest)
    console.print(name, soft_wrap=True)
    silent = replace(options, as_json=options.as_json and options.dry_run, quiet=True)
    if options.dry_run:
        every = [job for plan in table for job in (*plan.first.values(), *plan.search, *plan.chosen)]
        code = run_all(_once(every), silent, launcher)
        if later := sum(len(plan.trials) for plan in table if not plan.begun):
            console.print(f"and {later} more: the search, with what the runs that come first will choose")
        if later := sum(len(plan.seeds) for plan in table if plan.factor is None):
            console.print(f"and {later} more: the seeds of the rates that the search will choose")
        return code
    code = 0
    for rows in reproduction.parts:
        if first := _once(job for plan in table if plan.row in rows for job in plan.first.values()):
            code = max(code, run_all(first, silent, launcher))
            table = plans(reproduction, scale, rest)
        part = [plan for plan in table if plan.row in rows]
        if search := [job for plan in part for job in plan.search]:
            code = max(code, run_all(search, silent, launcher))
        code = max(code, run_all([job for plan in part for job in plan.chosen], silent, launcher))
    for job in _once(job for plan in table for job in (*plan.first.values(), *plan.search, *plan.chosen)):
        if job.record and job.state != "finished":
            console.print(f"{job.name}: {result_line(job.record, job.folder)}", soft_wrap=True)
    if not options.as_json:
        print(name)
    _show(reproduction, scale, table, of_identity(rest), options.as_json)
    return code


def _once(jobs: Iterable[Job]) -> list[Job]:
    """Each job of a folder once."""
    return list({job.folder: job for job in jobs}.values())


def title(reproduction: Reproduction, scale: str, overrides: Sequence[str]) -> str:
    """What is reproduced, what a reduction changes, and with which overrides."""
    changes = f": {' '.join(reproduction.small)}; not comparable with the published numbers"
    asked = f"; with {' '.join(own)}" if (own := of_identity(overrides)) else ""
    return f"{reproduction.name}, {scale} scale{changes if scale == 'small' else ''}{asked}"


def committed(name: str, scale: Scale, overrides: Sequence[str], as_json: bool) -> int:
    """Print what the results that come with rnndrop have of a reproduction; return the exit code."""
    from rnndrop.reproduction.measured import Measured

    if overrides:
        raise RequestError(f"--committed shows runs that are there: it takes no settings, as {overrides[0]}.")
    with as_file(files("rnndrop.results")) as folder:
        measured = Measured.read(folder, name, scale)
    if not as_json:
        print(f"{title(measured.reproduction, scale, [])}: the results that come with rnndrop")
    _show(measured.reproduction, scale, measured.plans, [], as_json)
    return 0


def _show(
    reproduction: Reproduction, scale: str, table: Sequence[Plan], overrides: Sequence[str], as_json: bool
) -> None:
    """The outcomes on stdout."""
    from tabulate import tabulate

    from rnndrop.reproduction.outcomes import HEADER, cells, metrics, notes, outcomes, precisions

    found = outcomes(reproduction, scale, metrics(table), overrides, table[0].task)
    factors = {plan.row: plan.factor for plan in table if plan.search}
    if as_json:
        print(json.dumps([asdict(each) | {"factor": factors.get(each.row)} for each in found], indent=1))
        return
    body = [
        (f"{row} × {factors[row]:g}" if factors.get(row) is not None else row, *others)
        for row, *others in map(cells, found)
    ]
    below = notes(found, "docs/guide/papers.md", precisions(table))
    header = HEADER if reproduction.published else HEADER[: HEADER.index("published")]
    shown = [row[: len(header)] for row in body]
    print(tabulate(shown, header, disable_numparse=True), *below, sep="\n")
