"""The rule of a decision: which contestant drops out after which seed, and when nothing is left to decide. No torch.

After each round, a seed of every contestant that is still in, a look is taken. The leader is the contestant with the
lowest mean of ln score; every other is compared with it by d = ln score − ln score of the leader, seed by seed. With K
contestants and the bound (K − 1)/α a contestant

- is *equal* if E ≥ bound against a mean of d of −margin or less, and E ≥ bound against one of margin or more
  (`ln_one_sided` with `MARGIN_C2`). It stays in;
- else is *worse*, and drops out, if E ≥ bound against a mean of 0 (`ln_evidence` with `C2`), which the sign of d̄ turns;
- else is *open*.

The race is over when none is open. A contestant that diverges drops out too: its ln score has no mean, and no error
rate is claimed of that. All of this is a function of the scores in the order of the seeds, and of nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rnndrop.decisions.evidence import earliest, half_width, ln_evidence, ln_one_sided
from rnndrop.errors import RequestError

C2 = 0.04  # the mixture for a difference expects effects of about 1/√c² = 5 std
MARGIN_C2 = 1.0  # the one for the margin: a margin of about one std
DIVERGED = math.inf  # stands for the ln score of a run that diverged


@dataclass(frozen=True)
class Rule:
    """What is claimed and how surely: `margin` is a difference of ln score, `alpha` the chance of a wrong verdict."""

    alpha: float = 0.05
    margin: float = math.log1p(0.01)
    c2: float = C2
    margin_c2: float = MARGIN_C2

    def ln_bound(self, contestants: int) -> float:
        """The ln of the evidence that decides: (K − 1)/α."""
        return math.log((contestants - 1) / self.alpha)

    def earliest(self, contestants: int) -> int:
        """A number of seeds: with fewer nothing can be decided, whatever the scores are."""
        level = self.alpha / (contestants - 1)
        return min(earliest(self.c2, level), earliest(self.margin_c2, min(1.0, 2 * level)))

    def check(self) -> None:
        """Raise RequestError for an error rate or a margin that means nothing."""
        if not 1e-6 <= self.alpha <= 0.5:
            raise RequestError(f"--alpha {self.alpha:g}: it is the chance of a wrong verdict, from 0.000001 to 0.5.")
        if not 0 < self.margin < math.log(2):
            raise RequestError("--margin: it must be more than 0 % and less than 100 %, as 1% or 0.01.")


@dataclass(frozen=True)
class Pair:
    """One contestant against another at a look, over all seeds so far; contestants are numbered as they were given.

    `mean` is that of the differences of ln score, negative where `plan` is better, `low` and `high` its interval of the
    confidence sequence (None while it has no ends), `std` the differences' (n − 1; None after one). `ln_e` is the
    evidence for a difference, `ln_e_above` and `ln_e_below` that against one of −margin or less, and of margin or more.
    """

    plan: int
    against: int
    mean: float
    std: float | None
    low: float | None
    high: float | None
    ln_e: float
    ln_e_above: float
    ln_e_below: float
    standing: str  # open, equal, or of `plan`: better, worse


@dataclass(frozen=True)
class Look:
    """What was seen after a seed, and which contestants dropped out."""

    seed: int
    pairs: list[Pair]
    out: list[int]


@dataclass(frozen=True)
class Race:
    """The looks that the scores allow, and what came of them.

    `outcomes`: of each contestant in, best, equal, worse or diverged. `verdict`: better, worse (of the first of two),
    equal, undecided, or going on. `best` is the contestant that is better than all others, if there is one.
    """

    looks: list[Look]
    outcomes: list[str]
    verdict: str
    best: int | None = None
    diverged: list[tuple[int, int]] = field(default_factory=list)  # (contestant, seed)

    @property
    def remaining(self) -> list[int]:
        """The contestants that still get seeds."""
        return [index for index, outcome in enumerate(self.outcomes) if outcome == "in"] if self.going_on else []

    @property
    def going_on(self) -> bool:
        """Whether more seeds are needed."""
        return self.verdict == GOING_ON


GOING_ON = "going on"
Scores = Sequence[Sequence[float | None]]
"""For each seed the ln score of each contestant: None where there is none, `DIVERGED` where the run diverged."""


def race(rule: Rule, seeds: Sequence[int], scores: Scores, contestants: int) -> Race:
    """Take the looks in the order of the seeds, until one decides or a round is not complete."""
    outcomes = ["in"] * contestants
    looks: list[Look] = []
    diverged: list[tuple[int, int]] = []
    for number, (seed, row) in enumerate(zip(seeds, scores, strict=False), 1):
        there = [index for index, outcome in enumerate(outcomes) if outcome == "in"]
        if any(row[index] is None for index in there):
            return Race(looks, outcomes, GOING_ON, None, diverged)
        for index in [index for index in there if row[index] == DIVERGED]:
            outcomes[index] = "diverged"
            diverged.append((index, seed))
            there.remove(index)
        if len(there) < 2:
            break
        look = _look(rule, seed, np.array([[line[index] for index in there] for line in scores[:number]]), there,
                     contestants)  # fmt: skip
        looks.append(look)
        for index in look.out:
            outcomes[index] = "worse"
        if not any(pair.standing == "open" for pair in look.pairs):
            break
    else:
        return Race(looks, outcomes, "undecided" if len(scores) >= len(seeds) else GOING_ON, None, diverged)
    return _decided(looks, outcomes, diverged)


def _look(rule: Rule, seed: int, values: np.ndarray, there: list[int], contestants: int) -> Look:
    """Compare those that are `there`, whose ln scores are `values` (seeds, contestants), with the leader.

    Of two contestants it is the first that is compared, whoever leads: the sign says who.
    """
    leader = int(values.mean(axis=0).argmin()) if contestants > 2 else len(there) - 1
    pairs = [
        _pair(rule, there[index], there[leader], values[:, index] - values[:, leader], rule.ln_bound(contestants))
        for index in range(len(there))
        if index != leader
    ]
    out = [pair.plan if pair.standing == "worse" else pair.against for pair in pairs if pair.standing in CLAIMS]
    return Look(seed, pairs, out)


CLAIMS = ("better", "worse")


def _pair(rule: Rule, plan: int, against: int, differences: np.ndarray, ln_bound: float) -> Pair:
    n = len(differences)
    mean, spread = float(differences.mean()), float(differences.std())
    margin = float(half_width(spread, n, rule.c2, math.exp(-ln_bound)))
    low, high = (mean - margin, mean + margin) if math.isfinite(margin) else (None, None)
    ln_e = float(ln_evidence(*_sums(differences), n, rule.c2))
    above = float(ln_one_sided(*_sums(differences + rule.margin), n, rule.margin_c2))
    below = float(ln_one_sided(*_sums(rule.margin - differences), n, rule.margin_c2))
    standing = "open"
    if min(above, below) >= ln_bound:
        standing = "equal"
    elif ln_e >= ln_bound:
        standing = "better" if mean < 0 else "worse"
    std = float(differences.std(ddof=1)) if n > 1 else None
    return Pair(plan, against, mean, std, low, high, ln_e, above, below, standing)


def _sums(values: np.ndarray) -> tuple[float, float]:
    return float(values.sum()), float((values**2).sum())


def _decided(looks: list[Look], outcomes: list[str], diverged: list[tuple[int, int]]) -> Race:
    """What came of a race of which no contestant is open."""
    left = [index for index, outcome in enumerate(outcomes) if outcome == "in"]
    if len(left) > 1:
        for index in left:
            outcomes[index] = "equal"
        return Race(looks, outcomes, "equal", None, diverged)
    if not left or "worse" not in outcomes:  # the others diverged: nothing is known of the one that did not
        return Race(looks, outcomes, "undecided", None, diverged)
    (best,) = left
    outcomes[best] = "best"
    return Race(looks, outcomes, "worse" if len(outcomes) == 2 and best == 1 else "better", best, diverged)
