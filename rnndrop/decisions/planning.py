"""How many seeds a decision will take: the rule on simulated differences, thousands of races at once. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnndrop.decisions.evidence import Floats, half_width, ln_evidence, ln_one_sided
from rnndrop.decisions.race import Rule

RACES = 4000  # fewer where there are many seeds
EFFECTS = (0.0, 0.01, 0.02, 0.05)  # as fractions of the score
OPEN, BETTER, WORSE, EQUAL = range(4)


@dataclass(frozen=True)
class Ends:
    """How many races ended: `verdict` (races,), one of OPEN, BETTER, WORSE, EQUAL, after `seeds` (races,)."""

    verdict: NDArray[np.int64]
    seeds: NDArray[np.int64]


@dataclass(frozen=True)
class Expectation:
    """What to expect where the true difference of ln score is `effect`: the chances of each verdict, the mean seeds."""

    effect: float
    different: float
    equal: float
    undecided: float
    seeds: float


def ends(rule: Rule, differences: Floats, contestants: int = 2) -> Ends:
    """What becomes of races of two; `differences` (races, seeds) are of ln score: negative, the first is better."""
    bound = rule.ln_bound(contestants)
    n = np.arange(1, differences.shape[1] + 1)

    def sums(values: Floats) -> tuple[Floats, Floats]:
        return values.cumsum(axis=1), (values**2).cumsum(axis=1)

    total, squares = sums(differences)
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0))
    within = np.abs(mean) + half_width(std, n, rule.c2, math.exp(-bound)) < rule.margin
    differ = ~within & (ln_evidence(total, squares, n, rule.c2) >= bound)
    found = np.where(total < 0, BETTER, WORSE) * differ
    above = ln_one_sided(*sums(differences + rule.margin), n, rule.margin_c2) >= bound
    below = ln_one_sided(*sums(rule.margin - differences), n, rule.margin_c2) >= bound
    found[above & below] = EQUAL
    over = found != OPEN
    first = np.where(over.any(axis=1), over.argmax(axis=1), differences.shape[1] - 1)
    return Ends(np.take_along_axis(found, first[:, None], axis=1)[:, 0], first + 1)


def expectations(rule: Rule, std: float, most: int, contestants: int = 2, seed: int = 0) -> list[Expectation]:
    """For true differences of `EFFECTS` and of the margin: of two contestants whose differences have this std."""
    noise = std * np.random.default_rng(seed).standard_normal((min(RACES, 2_000_000 // most), most))
    effects = sorted({*map(math.log1p, EFFECTS), rule.margin})
    return [_expectation(effect, ends(rule, noise + effect, contestants)) for effect in effects]


def _expectation(effect: float, of: Ends) -> Expectation:
    different = float(np.isin(of.verdict, (BETTER, WORSE)).mean())
    equal, undecided = (float((of.verdict == each).mean()) for each in (EQUAL, OPEN))
    return Expectation(effect, different, equal, undecided, float(of.seeds.mean()))
