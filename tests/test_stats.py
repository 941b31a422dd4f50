"""The statistics against scipy, hand computation, and simulated sweeps whose true effect is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from rnndrop import stats

A = [240.0, 243.5, 238.9, 241.2]
B = [262.1, 262.0, 259.5, 263.8]


def test_margin_is_students() -> None:
    expected = scipy_stats.t.interval(0.95, len(A) - 1, np.mean(A), scipy_stats.sem(A))
    margin = float(stats.t_margin(np.std(A, ddof=1), len(A)))
    assert (np.mean(A) - margin, np.mean(A) + margin) == pytest.approx(expected, rel=1e-12)


def test_margin_of_three_by_hand() -> None:
    assert float(stats.t_margin(1.0, 3)) == pytest.approx(4.302652729911275 / np.sqrt(3), rel=1e-9)


def test_one_seed_has_no_margin() -> None:
    assert np.isnan(stats.t_margin(np.nan, 1)) and np.isnan(stats.t_margin(1.0, 1))


@pytest.mark.parametrize("other", [B, B[:2], [*B, 270.0, 255.5]])
def test_a_difference_agrees_with_scipys_welch_on_log_perplexity(other: list[float]) -> None:
    found = stats.difference(A, other)
    expected = scipy_stats.ttest_ind(np.log(A), np.log(other), equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9) and found.df == pytest.approx(expected.df, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.log_ratio == pytest.approx(np.mean(np.log(A)) - np.mean(np.log(other)))
    assert found.difference == pytest.approx(np.mean(A) - np.mean(other))


def test_one_run_has_a_ratio_and_no_interval() -> None:
    found = stats.difference([90.0], [100.0, 100.0])
    assert np.expm1(found.log_ratio) == pytest.approx(-0.1)
    assert np.isnan([found.low, found.high, found.p, found.df]).all()
    assert np.isnan(stats.difference([], [100.0]).log_ratio)


def test_identical_runs_are_no_evidence() -> None:
    assert stats.difference([2.0, 2.0], [2.0, 2.0]).p == 1.0
    assert stats.difference([2.0, 2.0], [1.0, 1.0]).p == 0.0


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.5, 0.6]).tolist() == [1.0, 1.0]


def test_holm_leaves_what_was_not_tested() -> None:
    found = stats.holm([0.04, np.nan, 0.02])
    assert found[[0, 2]].tolist() == pytest.approx([0.04, 0.04]) and np.isnan(found[1])


@pytest.mark.parametrize("seeds", [(3, 3), (5, 5), (10, 10), (5, 10)])
@pytest.mark.parametrize("ratio", [1.0, 8.0])
def test_the_interval_covers_a_known_effect_in_95_of_100_simulated_sweeps(seeds: tuple[int, int], ratio: float) -> None:
    generator, effect, covered = np.random.default_rng([20240501, *seeds]), -0.07, 0
    for _ in range(2000):
        none = np.exp(5.6 + generator.normal(0, 0.006, seeds[0]))
        plan = np.exp(5.6 + effect + generator.normal(0, 0.006 * ratio, seeds[1]))
        found = stats.difference(plan, none)
        covered += found.low <= effect <= found.high
    assert 0.93 <= covered / 2000 <= 0.975


def test_bootstrap_agrees_with_the_standard_error() -> None:
    nll = np.random.default_rng(1).normal(5.0, 1.0, (1, 4000))
    draws = stats.bootstrap(nll, np.ones(4000), samples=2000)
    assert draws.std() == pytest.approx(nll.std() / np.sqrt(4000), rel=0.06)
    low, high = stats.percentiles(draws[0])
    assert low < nll.mean() < high


def test_bootstrap_is_paired_over_plans() -> None:
    hard = np.random.default_rng(2).normal(5.0, 1.0, 500)
    draws = stats.bootstrap(np.stack([hard, hard + 0.1]), np.ones(500))
    assert (draws[1] - draws[0]) == pytest.approx(np.full(2000, 0.1))


def test_bootstrap_weighs_blocks_by_their_tokens() -> None:
    draws = stats.bootstrap([[10.0, 100.0]], [10.0, 100.0])
    assert draws == pytest.approx(np.ones((1, 2000)))


def blocks_of(seed: int, n: int = 4, m: int = 3, blocks: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    counts = np.append(np.full(blocks - 1, 20.0), 7.0)
    text = generator.normal(5, 1, blocks)
    a, b = (
        counts * (text + generator.normal(0, 0.05, (k, 1)) + generator.normal(0, 0.3, blocks)
                  + generator.normal(0, 0.2, (k, blocks)))
        for k in (n, m)
    )  # fmt: skip
    return a, b, counts


def test_where_the_text_changes_nothing_seeds_and_text_are_the_seeds() -> None:
    counts = np.full(50, 20.0)
    logs = [np.log(each) for each in (A, [*B, 250.0])]
    found = stats.difference_with_text(np.outer(logs[0], counts), np.outer(logs[1], counts), counts, seeds=True)
    expected = stats.difference(A, [*B, 250.0])
    ours = (found.df, found.log_ratio, found.low, found.high, found.p)
    assert ours == pytest.approx((expected.df, expected.log_ratio, expected.low, expected.high, expected.p), rel=1e-6)


def test_of_the_text_alone_it_is_the_standard_error_over_blocks() -> None:
    a, b, counts = blocks_of(0)
    found = stats.difference_with_text(a, b, counts, seeds=False)
    d, total = a.mean(0) - b.mean(0), counts.sum()
    mean = d.sum() / total
    residuals = [x - mean * c for x, c in zip(d, counts, strict=True)]
    error = np.sqrt(sum(r**2 for r in residuals) * len(counts) / (len(counts) - 1)) / total
    margin = scipy_stats.t.ppf(0.975, len(counts) - 1) * error
    assert (found.low, found.high) == pytest.approx((mean - margin, mean + margin), rel=1e-9)
    draws = stats.bootstrap(np.stack([a.mean(0), b.mean(0)]), counts, samples=20_000)
    assert float((draws[0] - draws[1]).std()) == pytest.approx(error, rel=0.05)


def test_seeds_and_text_add_up_less_what_is_in_both() -> None:
    a, b, counts = blocks_of(1)
    both = stats.difference_with_text(a, b, counts, seeds=True)
    runs = [each.sum(1) / counts.sum() for each in (a, b)]
    seeds = sum(r.var(ddof=1) / len(r) for r in runs)
    text = stats.difference_with_text(a, b, counts, seeds=False)
    of_text = ((text.high - text.log_ratio) / scipy_stats.t.ppf(0.975, len(counts) - 1)) ** 2
    interaction = 0.0
    for plan in (a, b):
        u = plan * len(counts) / counts.sum()
        share = counts * len(counts) / counts.sum()
        cells = sum(
            (u[s, j] - u[:, j].mean() - (u[s].mean() - u.mean()) * share[j]) ** 2
            for s in range(len(u)) for j in range(len(counts))
        )  # fmt: skip
        interaction += cells / (len(u) - 1) / (len(counts) - 1) / len(u) / len(counts)
    variance = seeds + of_text - interaction
    assert variance > max(seeds, of_text)
    error = (both.high - both.log_ratio) / scipy_stats.t.ppf(0.975, both.df)
    assert error**2 == pytest.approx(variance, rel=1e-9)


def test_one_run_says_nothing_of_seeds_and_text() -> None:
    a, b, counts = blocks_of(2, n=1)
    found = stats.difference_with_text(a, b, counts, seeds=True)
    assert np.isnan(found.low) and np.isfinite(found.log_ratio)
    assert np.isfinite(stats.difference_with_text(a, b, counts, seeds=False).low)
