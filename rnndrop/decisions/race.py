"""The rule of a decision: which contestant drops out after which seed, and when nothing is left to decide. No torch.

After each round, a seed of every contestant that is still in, a look is taken. The leader is the contestant with the
lowest mean of ln score; every other is compared with it by d = ln score − ln score of the leader, seed by seed. With K
contestants and the bound (K − 1)/α a contestant

- is *equal* if E ≥ bound against a mean of d of −margin or less, and E ≥ bound against one of margin or more
  (`ln_one_sided` with `MARGIN_C2`). It stays in;
- else is *worse*, and drops out, if E ≥ bound against a mean of 0 (`ln_evidence` with `C2`) and the interval of the
  confidence sequence does not lie within ±margin: a difference that small will soon be known to be equal;
- else is *open*.

Of two, it is the first that is compared with the second, and d̄ < 0 turns worse into better.

The race is over when none is open. A contestant that diverges drops out too: its ln score has no mean, and no error
rate is claimed of that. All of this is a function of the scores in the order of the seeds, and of nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
        if not (0 < self.c2 < math.inf and 0 < self.margin_c2 < math.inf):
            raise RequestError("The c² of a mixture must be a positive number.")


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
    equal, undecided, or going on. `best` is the contestant that is better than all others, if there is one. `diverged`:
    who, and at which seed. `taken`: how many scores of each contestant the race has used.
    """

    looks: list[Look]
    outcomes: list[str]
    verdict: str
    best: int | None
    diverged: list[tuple[int, int]]
    taken: list[int]

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
    outcomes, taken = ["in"] * contestants, [0] * contestants
    looks: list[Look] = []
    diverged: list[tuple[int, int]] = []
    for number, (seed, row) in enumerate(zip(seeds, scores, strict=False), 1):
        there = [index for index, outcome in enumerate(outcomes) if outcome == "in"]
        if any(row[index] is None for index in there):
            return Race(looks, outcomes, GOING_ON, None, diverged, taken)
        for index in there:
            if row[index] == DIVERGED:
                outcomes[index] = "diverged"
                diverged.append((index, seed))
            else:
                taken[index] = number
        there = [index for index in there if outcomes[index] == "in"]
        if len(there) < 2:
            break
        values = np.array([[line[index] for index in there] for line in scores[:number]])
        looks.append(_look(rule, seed, values, there, contestants))
        for index in looks[-1].out:
            outcomes[index] = "worse"
        if not any(pair.standing == "open" for pair in looks[-1].pairs):
            break
    else:
        verdict = "undecided" if len(scores) >= len(seeds) else GOING_ON
        return Race(looks, outcomes, verdict, None, diverged, taken)
    verdict, best = _concluded(outcomes, looks)
    return Race(looks, outcomes, verdict, best, diverged, taken)


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
    out = [_claim(pair)[0] for pair in pairs if pair.standing in CLAIMS]
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
    elif ln_e >= ln_bound and not abs(mean) + margin < rule.margin:
        standing = "better" if mean < 0 else "worse"
    std = float(differences.std(ddof=1)) if n > 1 else None
    return Pair(plan, against, mean, std, low, high, ln_e, above, below, standing)


def _sums(values: np.ndarray) -> tuple[float, float]:
    return float(values.sum()), float((values**2).sum())


def _concluded(outcomes: list[str], looks: list[Look]) -> tuple[str, int | None]:
    """The verdict where no contestant is open, and the best; completes the outcomes."""
    left = [index for index, outcome in enumerate(outcomes) if outcome == "in"]
    if len(left) > 1:
        for index in left:
            outcomes[index] = "equal"
        return "equal", None
    winners = {loser: winner for look in looks for loser, winner in map(_claim, look.pairs) if loser in look.out}
    if not left or not winners or any(_last(loser, winners) != left[0] for loser in winners):
        return "undecided", None  # who diverged, or lost to one that diverged later, is not known to be worse
    (best,) = left
    outcomes[best] = "best"
    return "worse" if len(outcomes) == 2 and best == 1 else "better", best


def _claim(pair: Pair) -> tuple[int, int]:
    """Who is worse and who is better, where the pair claims it."""
    return (pair.plan, pair.against) if pair.mean > 0 else (pair.against, pair.plan)


def _last(loser: int, winners: dict[int, int]) -> int:
    """Who has won against a loser, or against whoever has, and so on."""
    while loser in winners:
        loser = winners[loser]
    return loser
