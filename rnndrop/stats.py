"""Seeds, intervals, differences, Holm's correction, and the bootstrap over the test set. No torch, no pandas."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
Floats = NDArray[np.float64]


def t_margin(std: ArrayLike, n: ArrayLike) -> Floats:
    """Half the width of Student's interval for the mean of `n` values; NaN where n < 2."""
    from scipy.special import stdtrit  # not scipy.stats, which takes a second to import

    std, n = np.asarray(std, float), np.asarray(n, float)
    enough = n >= 2
    safe = np.where(enough, n, 2.0)
    margin = stdtrit(safe - 1, 0.5 + LEVEL / 2) * std / np.sqrt(safe)
    return np.asarray(np.where(enough, margin, np.nan))


def std_interval(std: float, n: int) -> tuple[float, float]:
    """The interval of a Gaussian's standard deviation from that of `n` values (chi-square with n - 1 degrees)."""
    from scipy.special import chdtri

    tail = (1 - LEVEL) / 2
    low, high = (std * math.sqrt((n - 1) / float(chdtri(n - 1, area))) for area in (tail, 1 - tail))
    return low, high


def expected_best(values: Sequence[float]) -> list[float]:
    """The mean of the lowest of n of the values, for n from 1 to all: the mean over every subset of that size.

    That is the unbiased estimate of the best of n independent trials (Tang et al. 2020); with replacement (Dodge et al.
    2019) it is biased. Of failures give infinity: where a subset has nothing else, the mean is infinite.
    """
    ordered, count = sorted(values), len(values)
    return [
        sum(share * value for share, value in zip(_lowest(count, n), ordered, strict=False))
        for n in range(1, count + 1)
    ]


def _lowest(count: int, n: int) -> Iterator[float]:
    """Of the subsets of n of so many sorted values, what share has each of them as its lowest."""
    subsets, every = math.comb(count - 1, n - 1), math.comb(count, n)
    for i in range(count - n + 1):
        yield subsets / every
        if i < count - n:
            subsets = subsets * (count - i - n) // (count - i - 1)  # comb(count - i - 2, n - 1), without its factorials


class Estimate(NamedTuple):
    """A number estimated from samples, and its standard error; NaN if one sample was all there was."""

    value: float
    standard_error: float


def jackknife(whole: float, left_out: ArrayLike) -> Estimate:
    """A statistic of S samples without the part of its bias that falls as 1/S.

    `whole` is its value on all samples, `left_out` (S,) those on all but each in turn. The estimate is the mean of the
    pseudo-values S·whole - (S-1)·left_out, its standard error theirs (Quenouille 1956; Tukey 1958). One sample has
    nothing to be left out: its own value, with its bias.
    """
    left_out = np.asarray(left_out, float)
    samples = len(left_out)
    if samples < 2:
        return Estimate(whole, math.nan)
    with np.errstate(invalid="ignore"):  # of infinities NaN is made
        pseudo = samples * whole - (samples - 1) * left_out
        return Estimate(float(pseudo.mean()), float(pseudo.std(ddof=1)) / math.sqrt(samples))


@dataclass(frozen=True)
class Difference:
    """How plan a differs from plan b over all their seeds: positive, a is worse.

    `log_ratio` is the mean of ln a less that of ln b; `low` and `high` bound it at `LEVEL` and `p` is the
    two-sided test, both of Welch's t with `df` degrees of freedom. `difference` is that of the means. Where a or b is
    one run, `df`, the bounds and `p` are NaN.
    """

    df: float
    log_ratio: float
    low: float
    high: float
    p: float
    difference: float


def difference(a: ArrayLike, b: ArrayLike) -> Difference:
    """Compare the scores of two plans, one number a seed, on their logarithms.

    Welch's interval: the plans may differ in how far they spread and in how many seeds they have. Why it is this one:
    docs/guide/claims.md. Scores that are all alike leave nothing to test: p is 1 where both plans' are the same and 0
    elsewhere. A score of 0 or less has no ratio: all but the difference are NaN.
    """
    a, b = (np.asarray(each, float) for each in (a, b))
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError(f"scores are two vectors, not {a.shape} and {b.shape}")
    with np.errstate(divide="ignore", invalid="ignore"):  # a score of 0 or less has no ratio
        logs = np.log(a), np.log(b)
    nan = math.nan
    if not (len(a) and len(b)):
        return Difference(nan, nan, nan, nan, nan, nan)
    of_means = float(a.mean() - b.mean())
    if not all(np.isfinite(each).all() for each in logs):
        return Difference(nan, nan, nan, nan, nan, of_means)
    mean = float(logs[0].mean() - logs[1].mean())
    if min(len(a), len(b)) < 2:
        return Difference(nan, mean, nan, nan, nan, of_means)
    first, second = (float(each.var(ddof=1)) / len(each) for each in logs)
    error = math.sqrt(first + second)
    if error <= 1e-12 * max(1.0, abs(mean)):
        return Difference(len(a) + len(b) - 2, mean, mean, mean, float(abs(mean) <= 1e-12), of_means)
    df = (first + second) ** 2 / (first**2 / (len(a) - 1) + second**2 / (len(b) - 1))
    return _tested(mean, error, df, of_means)


def _tested(mean: float, error: float, df: float, of_means: float) -> Difference:
    """A mean of logarithms with its standard error: its interval and p by Student's t."""
    from scipy.special import stdtr, stdtrit

    margin = float(stdtrit(df, 0.5 + LEVEL / 2)) * error
    return Difference(df, mean, mean - margin, mean + margin, float(2 * stdtr(df, -abs(mean) / error)), of_means)


def difference_with_text(a: ArrayLike, b: ArrayLike, counts: ArrayLike, *, seeds: bool) -> Difference:
    """Compare the ln perplexities of two plans, their test text being one of many.

    `a` (n, J) and `b` (m, J) are the summed NLLs (nats) of n and m runs in J blocks of the text, `counts` (J,) the
    tokens of a block. Runs and blocks are two random effects (Owen 2007): the variance of the difference is that of the
    runs' means, as in `difference`, and that of the blocks' mean differences, less their interaction, which is in both.
    Without `seeds` it is that of the blocks alone, of these runs. `difference` is NaN: it is not of logarithms.
    """
    counts = np.asarray(counts, float)
    blocks = len(counts)
    # Such that the mean over the blocks is a run's mean NLL: each (n, J).
    plans = [np.atleast_2d(np.asarray(each, float)) * (blocks / counts.sum()) for each in (a, b)]
    share = counts * (blocks / counts.sum())
    nan = math.nan
    if blocks < 2 or any(not len(each) or not np.isfinite(each).all() for each in plans):
        return Difference(nan, nan, nan, nan, nan, nan)
    means = [float(each.mean()) for each in plans]
    mean = means[0] - means[1]
    by_block = (plans[0].mean(0) - plans[1].mean(0)) - mean * share
    parts = [(float(by_block @ by_block) / (blocks - 1) / blocks, blocks - 1)]  # variance, degrees of freedom
    interaction = 0.0
    if seeds:
        if min(map(len, plans)) < 2:
            return Difference(nan, mean, nan, nan, nan, nan)
        for each in plans:
            runs = each.mean(1)
            parts.append((float(runs.var(ddof=1)) / len(each), len(each) - 1))
            residual = each - each.mean(0) - np.outer(runs - runs.mean(), share)
            interaction += float((residual**2).sum()) / ((len(each) - 1) * (blocks - 1)) / (len(each) * blocks)
    variance = max(sum(part for part, _ in parts) - interaction, max(part for part, _ in parts))
    if variance <= (1e-12 * max(1.0, abs(mean))) ** 2:
        return Difference(math.inf, mean, mean, mean, float(abs(mean) <= 1e-12), nan)
    df = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    return _tested(mean, math.sqrt(variance), df, nan)


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down correction of a family of p-values; NaN is no test and stays NaN."""
    p = np.asarray(p, float)
    corrected = np.full_like(p, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected


def bootstrap(sums: ArrayLike, counts: ArrayLike, samples: int = 2000, seed: int = 0) -> Floats:
    """Redraw the blocks of a test set: log-perplexities of shape (plans, samples).

    `sums` (plans, blocks) are the summed NLLs (nats) of a block and `counts` (blocks,) its tokens. Every plan sees
    the same draws, so the difference of two rows is the paired bootstrap of their log-ratio.
    """
    sums, counts = np.atleast_2d(np.asarray(sums, float)), np.asarray(counts, float)
    blocks, generator = len(counts), np.random.default_rng(seed)
    parts = []
    for start in range(0, samples, 250):
        size = min(250, samples - start)
        drawn = generator.multinomial(blocks, np.full(blocks, 1 / blocks), size).astype(float)  # (size, blocks)
        parts.append((sums @ drawn.T) / (drawn @ counts))
    return np.concatenate(parts, axis=1)


def percentiles(draws: Floats) -> tuple[Floats, Floats]:
    """The bounds between which the middle `LEVEL` of the draws (…, samples) lies."""
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=-1)
    return low, high


def stars(p: float) -> str:
    """`***` below .001, `**` below .01, `*` below .05."""
    bounds: Sequence[tuple[float, str]] = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
    return next((mark for bound, mark in bounds if p < bound), "")
