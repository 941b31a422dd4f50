"""Leave-one-location-out and add-one-in from any plan: which jobs, and what the differences are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import expm1, isnan
from operator import attrgetter

from rnndrop.config.compose import choices, compose, expand
from rnndrop.config.identity import canonical, is_one_run, key_of
from rnndrop.config.tasks import score
from rnndrop.errors import RequestError, unknown
from rnndrop.sweeps.scheduler import Job, check_one_corpus, jobs_of
from rnndrop.values import Mode

SEEDS = "seed=range(3)"


@dataclass(frozen=True)
class Row:
    """One variant: `location` is None for the baseline. `jobs` has one job for each seed, in the same order."""

    location: str | None
    rule: str
    jobs: list[Job]


@dataclass(frozen=True)
class Effect:
    """What a variant does to the test score, against the baseline; positive: worse.

    `test` is the mean over the `n` seeds that finished; the change in per cent, its bounds and degrees of freedom are
    those of `rnndrop.stats.difference`, None where there are none.
    """

    variant: str
    rule: str
    n: int
    test: float | None
    difference: float | None = None  # None: the baseline itself, or nothing finished
    percent: float | None = None
    low: float | None = None
    high: float | None = None
    df: float | None = None


def rows(recipe: str, mode: Mode, overrides: Sequence[str]) -> list[Row]:
    """The baseline and one row for each location of the plan that `recipe`, a dropout or an experiment, has.

    Raises RequestError for a recipe that does not exist, for a plan without any dropout, and where another setting than
    the seed takes several values: runs of several configurations are no seeds of one.
    """
    if recipe in choices("dropout") and (other := [each for each in overrides if key_of(each) == "dropout"]):
        raise RequestError(f"{other[-1]}: the plan is {recipe} already. Name one of the two.")
    base = [*_chosen(recipe), *overrides]
    if not any(key_of(override) == "seed" for override in base):
        base.append(SEEDS)
    config = compose([*expand(base)[0]])
    plan = config.twin_plan
    rules = {rule.location: " · ".join(map(str, plan.at(rule.location))) for rule in plan.active}
    if not rules:
        raise RequestError(f"{recipe} drops nothing, so there is nothing to leave out.\nPlans: {' '.join(_plans())}")
    off = {
        location: [
            f"dropout.{location}.p=0",
            *([f"dropout.{location}.also=[]"] if getattr(config.dropout, location).also else []),
        ]
        for location in rules
    }
    variants: dict[str | None, list[str]]
    if mode == "drop":
        variants = {None: [], **{place: [*off[place], f"dropout.name={recipe}-{place}"] for place in rules}}
    else:
        variants = {None: [*chain.from_iterable(off.values()), "dropout.name=none"]}
        for place in rules:
            others = [each for other in rules if other != place for each in off[other]]
            variants[place] = [*others, f"dropout.name=none+{place}"]
    table = [_row(mode, place, rules.get(place or "", ""), [*base, *variant]) for place, variant in variants.items()]
    if any(len({job.folder.parent for job in row.jobs}) > 1 for row in table):
        raise RequestError(
            "This is for one configuration and its seeds: only the seed may take several values here. Give one value of"
            " each other setting, and ablate each configuration by itself."
        )
    return table


def _row(mode: str, place: str | None, rule: str, overrides: list[str]) -> Row:
    jobs = jobs_of(expand(overrides))
    for job in jobs:
        job.name = f"{_variant(mode, place)}, {job.name}"
    return Row(place, rule, jobs)


def _variant(mode: str, place: str | None) -> str:
    whole, part = {"drop": ("full plan", "without {}"), "add": ("no dropout", "only {}")}[mode]
    return whole if place is None else part.format(place)


def _chosen(recipe: str) -> list[str]:
    if recipe in choices("dropout"):
        return [f"dropout={recipe}"]
    if recipe in choices("experiment"):
        return [f"experiment={recipe}"]
    raise unknown("plan", recipe, _plans())


def _plans() -> list[str]:
    return [*choices("dropout"), *choices("experiment")]


def effects(table: Sequence[Row], mode: str) -> list[Effect]:
    """The baseline, then the variants: what hurts most to leave out, or helps most to add, first.

    Raises RequestError where they saw different data.
    """
    check_one_corpus(job for row in table for job in row.jobs)
    baseline, variants = table[0], table[1:]
    measured = [_effect(row, baseline, mode) for row in variants]
    shown = [effect for effect in measured if effect.difference is not None]
    by = attrgetter("difference" if any(effect.percent is None for effect in shown) else "percent")
    shown.sort(key=by, reverse=mode == "drop")
    measured = [*shown, *(effect for effect in measured if effect.difference is None)]
    return [_effect(baseline, baseline, mode), *measured]


def _effect(row: Row, baseline: Row, mode: str) -> Effect:
    from rnndrop.stats import difference

    name, own, other = _variant(mode, row.location), _scores(row), _scores(baseline)
    test = sum(own) / len(own) if own else None
    if row is baseline or not (own and other):
        return Effect(name, row.rule, len(own), test)
    found = difference(own, other)
    change, low, high = (None if isnan(each) else _percent(each) for each in (found.log_ratio, found.low, found.high))
    df = None if isnan(found.df) else found.df
    return Effect(name, row.rule, len(own), test, found.difference, change, low, high, df)


def _percent(log_ratio: float) -> float:
    return 100 * expm1(log_ratio)


def _scores(row: Row) -> list[float]:
    """The test score of each finished job; of seeds that are one run, of one."""
    done = [job.record for job in row.jobs if job.record and job.record.status == "finished"]
    if is_one_run(canonical(row.jobs[0].config.model_dump(mode="json"))):
        done = done[:1]
    return [score(record.metrics, "test") for record in done]
