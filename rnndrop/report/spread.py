"""Where the spread between the seeds of a plan comes from, of the plans that `rnndrop variance` has measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rnndrop.config.tasks import task_spec
from rnndrop.errors import RequestError
from rnndrop.report import series
from rnndrop.sweeps.variance import ALL, SOURCES, Spread, spreads


@dataclass(frozen=True)
class Bars:
    """A plan, and how far its runs differ by each source of chance, all of them first."""

    label: str
    rows: list[Spread]


def bars(table: pd.DataFrame, runs: pd.DataFrame) -> list[Bars]:
    """The spreads of each plan of a comparison that has runs in which one source alone varies.

    Those are known by their settings `seeds.*`: all are fixed but that of the source. Where there are runs with several
    fixed seeds, the seed with the most is taken. Raises RequestError where no plan was measured.
    """
    done = runs[runs["status"] == "finished"]
    finished = {
        run: [
            (float(row[f"test_{task_spec(row['task']).metric}"]), Path(row["folder"])) for row in own.to_dict("records")
        ]
        for run, own in done.groupby("run_id", sort=False)
    }
    plans: dict[Any, dict[str, list[str]]] = {}
    for run, settings in zip(table["run_id"], table["settings"], strict=True):
        drawn = {name: settings[f"seeds.{name}"] for name in SOURCES if f"seeds.{name}" in settings}
        free = [name for name, seed in drawn.items() if seed is None]
        seeds = {seed for seed in drawn.values() if seed is not None}
        if run in finished and (len(free) == len(drawn) or len(free) == len(seeds) == 1):
            rest = frozenset((name, value) for name, value in settings.items() if not name.startswith("seeds."))
            plans.setdefault(rest, {}).setdefault(free[0] if seeds else ALL, []).append(run)
    measured = {own[ALL][0]: own for own in plans.values() if ALL in own and len(own) > 1}
    if not measured:
        raise RequestError("No plan here was run with one source of chance at a time. Try: rnndrop variance dropout=…")
    shown = table[table["run_id"].isin(measured)]
    return [
        Bars(label, spreads({
            name: max((finished[each] for each in measured[run][name]), key=len)
            for name in (ALL, *SOURCES) if name in measured[run]
        }))
        for label, run in zip(series.labels(shown), shown["run_id"], strict=True)
    ]  # fmt: skip
