"""`rnndrop ablate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from rnndrop.ablation import Effect, effects, rows
from rnndrop.launch import split_launcher

from .progress import console
from .sweep import Options, run_all


def ablate(recipe: str, mode: str, overrides: Sequence[str], options: Options) -> int:
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

    header = ("", "rule", "n", "test", "difference", "paired (95 %)")
    body = [
        (
            effect.variant,
            effect.rule,
            effect.n,
            "" if effect.test is None else f"{effect.test:.4g}",
            "" if effect.percent is None else f"{effect.percent:+.1f} %",
            "" if effect.low is None or effect.high is None else f"[{effect.low:+.1f}, {effect.high:+.1f}]",
        )
        for effect in measured
    ]
    return str(tabulate(body, header, disable_numparse=True))
