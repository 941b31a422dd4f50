"""How often the intervals of a difference between two plans hold the true one, and how wide they are.

    python scripts/interval_simulation.py            # the table of docs/guide/claims.md

Scores are Gaussian in ln perplexity. The baseline's std is 1, the other plan's `ratio` times that; two runs of one seed
correlate by `r`: 0 and .12, what the runs of `low_data` show that were committed up to revision 6fa4bf5, whose std
differ 8.5-fold between plans. `moderated` shrinks the variances of twelve plans, among them these two, whose ln
variances have the spread of those runs (limma: Smyth 2004).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import polygamma, stdtrit
from tabulate import tabulate

from rnndrop.stats import difference_with_text

Floats = NDArray[np.float64]
Interval = tuple[Floats, Floats]  # the difference and half its interval's width, one each comparison

COMPARISONS = 20_000
PLANS = 12
TEXTS, BLOCKS = 3000, 200
SPREAD = 1.4  # std of ln variance over the plans of those runs


def main() -> None:
    """Print both tables."""
    of_seeds()
    of_seeds_and_text()


def of_seeds_and_text() -> None:
    """How often the interval of seeds and text holds the difference of two plans over all seeds and texts.

    The baseline's std over seeds is 1, the other's `ratio` times that; the means of a text differ between the plans by
    `text`, and a run's mean on a text by `interaction` times its plan's std, all in that unit.
    """
    rows = []
    for seeds in ((3, 3), (5, 5), (10, 10)):
        for ratio in (1.0, 4.0, 8.0):
            for text, interaction in ((0.1, 0.1), (1.0, 0.3), (3.0, 1.0)):
                generator, held = np.random.default_rng(0), 0
                for _ in range(TEXTS):
                    a, b = two_way(seeds, ratio, text, interaction, generator)
                    found = difference_with_text(b, a, np.ones(BLOCKS), seeds=True)
                    held += found.low <= 0 <= found.high
                rows.append((f"{seeds[0]}, {seeds[1]}", ratio, text, interaction, f"{held / TEXTS:.1%}"))
    print(tabulate(rows, ("seeds", "std ratio", "text", "interaction", "seeds and text"), tablefmt="github"))


def two_way(
    seeds: tuple[int, int], ratio: float, text: float, interaction: float, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """The NLLs of both plans in blocks, each (n, J); without a difference but by chance."""
    scale = math.sqrt(BLOCKS)  # of a block, for the mean of a text to vary by 1
    common = 10 * generator.normal(size=BLOCKS)
    first, second = (
        spread * generator.normal(size=(n, 1))
        + common
        + text * scale / math.sqrt(2) * generator.normal(size=BLOCKS)
        + interaction * scale * spread * generator.normal(size=(n, BLOCKS))
        for n, spread in zip(seeds, (1.0, ratio), strict=True)
    )
    return first, second


def of_seeds() -> None:
    """How often three intervals of seeds alone hold it."""
    rows = []
    for (first, second), ratio, r in cases():
        cells = []
        for method in (paired, welch, moderated):
            estimate, half = method(*drawn(first, second, ratio, r, np.random.default_rng(0)))
            cells.append(f"{np.mean(np.abs(estimate) <= half):.1%} ({np.median(half):.2f})")
        rows.append((f"{first}, {second}", ratio, r, *cells))
    print(tabulate(rows, ("seeds", "std ratio", "r", "paired", "Welch", "moderated"), tablefmt="github"))


def cases() -> Iterator[tuple[tuple[int, int], float, float]]:
    """Numbers of seeds of both plans, the ratio of their std, and the correlation."""
    for seeds in ((3, 3), (5, 5), (10, 10), (3, 10), (10, 3)):
        for ratio in (1.0, 2.0, 4.0, 8.0):
            for r in (0.0, 0.12):
                yield seeds, ratio, r


def drawn(
    first: int, second: int, ratio: float, r: float, generator: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Scores of both plans (C, n), their true difference 0, and the variances of the other plans (C, P)."""
    shared = generator.normal(size=(COMPARISONS, max(first, second)))
    a, b = (
        math.sqrt(r) * shared[:, :n] + math.sqrt(1 - r) * generator.normal(size=(COMPARISONS, n))
        for n in (first, second)
    )
    spread = np.exp(generator.normal(math.log(ratio), SPREAD, (COMPARISONS, PLANS - 2)))
    return a, b * ratio, spread * generator.chisquare(first - 1, spread.shape) / (first - 1)


def paired(a: Floats, b: Floats, others: Floats) -> Interval:
    """Student's, of the differences of the seeds that both have."""
    n = min(a.shape[1], b.shape[1])
    d = b[:, :n] - a[:, :n]
    return d.mean(1), stdtrit(n - 1, 0.975) * d.std(1, ddof=1) / math.sqrt(n)


def welch(a: Floats, b: Floats, others: Floats) -> Interval:
    """Welch's, of all seeds."""
    return _unequal(a, b, *(x.var(1, ddof=1) for x in (a, b)), *(np.full(len(x), x.shape[1] - 1.0) for x in (a, b)))


def moderated(a: Floats, b: Floats, others: Floats) -> Interval:
    """Welch's with variances that are drawn towards those of the other plans."""
    own = [x.var(1, ddof=1) for x in (a, b)]
    degrees = [np.full(len(x), x.shape[1] - 1.0) for x in (a, b)]
    every = np.concatenate([*(each[:, None] for each in own), others], 1)
    of_every = np.concatenate([*(each[:, None] for each in degrees), np.full(others.shape, a.shape[1] - 1.0)], 1)
    prior, strength = _prior(every, of_every)
    shrunk = [(strength * prior + df * s) / (strength + df) for s, df in zip(own, degrees, strict=True)]
    return _unequal(a, b, *shrunk, *(df + strength for df in degrees))


def _unequal(a: Floats, b: Floats, va: Floats, vb: Floats, da: Floats, db: Floats) -> Interval:
    """From variances with their degrees of freedom, by Satterthwaite's."""
    parts = va / a.shape[1], vb / b.shape[1]
    total = parts[0] + parts[1]
    degrees = total**2 / (parts[0] ** 2 / da + parts[1] ** 2 / db)
    return b.mean(1) - a.mean(1), stdtrit(degrees, 0.975) * np.sqrt(total)


def _prior(variances: Floats, degrees: Floats) -> tuple[Floats, Floats]:
    """Variance and degrees of freedom of the prior, by the moments of ln s² (Smyth 2004, section 6.2)."""
    z = np.log(variances) - polygamma(0, degrees / 2) + np.log(degrees / 2)
    excess = z.var(1, ddof=1) - polygamma(1, degrees / 2).mean(1)
    strength = 2 * _inverse_trigamma(np.maximum(excess, 1e-3))
    return np.exp(z.mean(1) + polygamma(0, strength / 2) - np.log(strength / 2)), strength


def _inverse_trigamma(y: Floats) -> Floats:
    """By Newton's method on 1/trigamma."""
    x = 0.5 + 1 / y
    step: Callable[[Floats], Floats] = lambda x: polygamma(1, x) * (1 - polygamma(1, x) / y) / polygamma(2, x)  # noqa: E731
    for _ in range(30):
        x = x + step(x)
    return x


if __name__ == "__main__":
    main()
