"""`rnndrop variance`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from rnndrop.display.digits import number
from rnndrop.sweeps.launchers import split_launcher
from rnndrop.sweeps.variance import Spread, finished, sources, spreads

from .progress import console
from .sweep import Options, run_all


def variance(overrides: Sequence[str], options: Options) -> int:
    """Run a plan with one source of chance varying at a time and print what each is worth; return the exit code."""
    launcher, rest = split_launcher(overrides)
    with console.status("checking every run"):
        found = sources(rest)
    jobs = list({job.folder: job for source in found for job in source.jobs}.values())
    code = run_all(jobs, replace(options, as_json=options.as_json and options.dry_run, quiet=True), launcher)
    if options.dry_run:
        return code
    measured = spreads(finished(found))
    print(json.dumps([asdict(spread) for spread in measured], indent=1) if options.as_json else _text(measured))
    return code


def _text(measured: Sequence[Spread]) -> str:
    from tabulate import tabulate

    header = ("what varies", "runs", "test", "std", "95 %", "share of the variance")
    return str(tabulate([_cells(spread) for spread in measured], header, disable_numparse=True))


def _cells(spread: Spread) -> tuple[str, ...]:
    bounds = "" if spread.low is None or spread.high is None else f"[{spread.low:.2%}, {spread.high:.2%}]"
    return (
        spread.source,
        str(spread.n),
        "" if spread.test is None else number(spread.test),
        "" if spread.std is None else f"{spread.std:.2%}",
        bounds,
        "" if spread.share is None else f"{spread.share:.0%}",
    )
