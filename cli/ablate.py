"""`rnndrop ablate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from rnndrop.display.digits import number
from rnndrop.sweeps.ablation import Effect, effects, rows
from rnndrop.sweeps.launchers import split_launcher
from rnndrop.values import Mode

from .progress import console
from .sweep import Options, run_all


def ablate(recipe: str, mode: Mode, overrides: Sequence[str], options: Options) -> int:
    """Run every variant with the same seeds and print what each location is worth; return the exit code."""
    launcher, rest = split_launcher(overrides)
    with console.status("checking every run"):
        table = rows(recipe, mode, rest)
    jobs = list({job.folder: job for row in table for job in row.jobs}.values())
    code = run_all(jobs, replace(options, as_json=options.as_json and options.dry_run, quiet=True), launcher)
    if options.dry_run:
        return code
    measured = effects(table, mode)
    print(json.dumps([asdict(effect) for effect in measured], indent=1) if options.as_json else _text(measured))
    return code


def _text(measured: Sequence[Effect]) -> str:
    from tabulate import tabulate

    header = ("", "rule", "seeds", "test", "difference", "95 % (Welch)", "df")
    lines = [_cells(effect, baseline=not at) for at, effect in enumerate(measured)]
    return str(tabulate(lines, header, disable_numparse=True))


def _cells(effect: Effect, baseline: bool) -> tuple[str, ...]:
    """A line of the table."""
    shown = (effect.variant, effect.rule, str(effect.n), "" if effect.test is None else number(effect.test))
    if baseline:
        return *shown, "baseline", "", ""
    if effect.difference is None:
        return *shown, "" if effect.test is None else "no baseline", "", ""
    if effect.percent is None:  # of scores that are not above 0
        return *shown, f"{effect.difference:+.4g} (no ratio)", "", ""
    bounds = "" if effect.low is None or effect.high is None else f"[{effect.low:+.1f}, {effect.high:+.1f}]"
    return *shown, f"{effect.percent:+.1f} %", bounds, "" if effect.df is None else f"{effect.df:.1f}"
