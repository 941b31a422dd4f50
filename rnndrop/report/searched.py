"""What `rnndrop tune` has found in a folder, of each plan: what the best of so many trials is expected to be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from rnndrop.config.identity import of_identity
from rnndrop.config.tasks import task_by_metric
from rnndrop.sweeps import search_file
from rnndrop.sweeps.search_file import PlanEntry, SearchFile, best_of


@dataclass(frozen=True)
class Searched:
    """A search: `curves` has for each plan the expected best valid score of n trials, from n = 1; NaN: infinite.

    `name` is what is scored, `about` what was searched and what tells it from the other searches.
    """

    name: str
    about: str
    curves: dict[str, list[float]]


def searches(output: str | Path) -> list[Searched]:
    """The searches of an output folder that have come to a score; one that cannot be read is named."""
    found: list[tuple[SearchFile, Searched]] = []
    for made in search_file.sound(output):
        name = task_by_metric(f"valid_{made.metric}").title
        curves = {
            _named(plan): [math.nan if value is None else value for value in plan.expected_best]
            for plan in made.plans
            if any(value is not None for value in plan.expected_best)
        }
        if curves:
            found.append((made, Searched(name, ", ".join(made.ranges), curves)))
    fixed = [_fixed(made) for made, _ in found]
    common = set(fixed[0]).intersection(*fixed) if fixed else set()
    return [
        replace(search, about=" · ".join(filter(None, [search.about, *(each for each in own if each not in common)])))
        for own, (_, search) in zip(fixed, found, strict=True)
    ]


def _named(plan: PlanEntry) -> str:
    """A plan, and how many of its trials count with a score that going on would have bettered."""
    pruned = sum(trial.state == "pruned" for trial in plan.trials)
    return f"{plan.name} ({pruned} pruned: an upper bound)" if pruned else plan.name


def lucky(folders: Iterable[str | Path], runs: pd.DataFrame) -> list[str]:
    """A line for each of these runs by whose score a search chose its settings: of several trials it was the best."""
    there = set(zip(runs["run_id"], runs["seed"], strict=True))
    lines: dict[str, None] = {}
    for made in (each for folder in folders for each in search_file.sound(folder)):
        for plan in made.plans:
            best = best_of(plan)
            if best and (best.run_id, made.search_seed) in there:
                seed = f"{plan.name} seed {made.search_seed}"
                lines[f"{seed} is the best of {len(plan.trials)} trials of a search: its score is optimistic"] = None
    return list(lines)


def _fixed(search: SearchFile) -> list[str]:
    """The settings that all plans of a search have in common."""
    first, *others = search.plans
    return [each for each in of_identity(first.overrides) if all(each in plan.overrides for plan in others)]
