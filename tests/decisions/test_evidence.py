"""The formulae of the evidence against what they are said to be, worked out by other means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from rnndrop.decisions.evidence import earliest, half_width, ln_evidence, ln_one_sided

VALUES = [0.8, -0.1, 0.5, 0.9, 0.3]
numbers = st.floats(-5, 5).map(lambda value: round(value, 3))
samples = st.lists(numbers, min_size=2, max_size=12).filter(lambda values: len(set(map(abs, values))) > 1)


def of(function: object, values: object, c2: float) -> float:
    values = np.asarray(values, float)
    return float(function(values.sum(), (values**2).sum(), len(values), c2))


def mixture(values: list[float], c2: float, one_sided: bool) -> float:
    """The ratio of the likelihoods, on a grid of mean/std and ln std; the unit is the right Haar measure d(ln std)."""
    ln_std = np.linspace(-6, 8, 1401)[:, None]
    effect = np.linspace(0 if one_sided else -12 / math.sqrt(c2), 12 / math.sqrt(c2), 4001)
    std = np.exp(ln_std)
    found = np.zeros((len(ln_std), len(effect)))
    for value in values:
        found += stats.norm.logpdf(value / std - effect) - ln_std
    prior = stats.norm.pdf(effect, scale=1 / math.sqrt(c2)) * (2 if one_sided else 1)
    above = integrate.trapezoid(integrate.trapezoid(np.exp(found) * prior, effect, axis=1), ln_std[:, 0])
    null = sum(stats.norm.logpdf(value / std) - ln_std for value in values)
    return float(above / integrate.trapezoid(np.exp(null)[:, 0], ln_std[:, 0]))


@pytest.mark.parametrize("c2", [0.04, 1.0])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_evidence_is_the_ratio_of_the_likelihoods(c2: float, count: int) -> None:
    values = VALUES[:count]
    assert math.exp(of(ln_evidence, values, c2)) == pytest.approx(mixture(values, c2, False), rel=1e-3)
    assert math.exp(of(ln_one_sided, values, c2)) == pytest.approx(mixture(values, c2, True), rel=1e-3)
    turned = [-value for value in values]
    assert math.exp(of(ln_one_sided, turned, c2)) == pytest.approx(mixture(turned, c2, True), rel=1e-3)


@pytest.mark.parametrize("c2", [0.04, 1.0])
@pytest.mark.parametrize("function", [ln_evidence, ln_one_sided])
def test_without_a_difference_what_is_expected_next_is_what_is_there(function: object, c2: float) -> None:
    """A martingale: with a mean of 0 the next of n values is √(V/n) times a Student's t of n degrees of freedom."""
    for count in (1, 2, 4):
        values = VALUES[:count]
        unit = math.sqrt(sum(value**2 for value in values) / count)

        def later(t: float, values: list[float] = values, unit: float = unit) -> float:
            return math.exp(of(function, [*values, unit * t], c2)) * stats.t.pdf(t, len(values))

        expected = sum(integrate.quad(later, *ends, limit=200)[0] for ends in ((-math.inf, -1), (-1, 1), (1, math.inf)))
        assert expected == pytest.approx(math.exp(of(function, values, c2)), rel=1e-5)


@given(samples, st.floats(0.001, 0.4))
def test_the_interval_ends_where_the_evidence_reaches_its_bound(values: list[float], alpha: float) -> None:
    d = np.array(values)
    width = float(half_width(d.std(), len(d), 0.04, alpha))
    if math.isfinite(width):
        for end in (d.mean() - width, d.mean() + width):
            assert of(ln_evidence, d - end, 0.04) == pytest.approx(-math.log(alpha), abs=1e-6)
        assert of(ln_evidence, d - d.mean(), 0.04) < -math.log(alpha)
    else:
        assert of(ln_evidence, d - d.mean() - 1e6, 0.04) < -math.log(alpha)


@given(samples)
def test_the_sign_the_unit_and_the_order_change_nothing(values: list[float]) -> None:
    found = of(ln_evidence, values, 0.04)
    assert found == of(ln_evidence, [-value for value in values], 0.04)
    assert found == pytest.approx(of(ln_evidence, [1000 * value for value in values], 0.04), abs=1e-9)
    assert found == pytest.approx(of(ln_evidence, sorted(values), 0.04), abs=1e-9)


@given(samples)
def test_the_two_sides_are_the_two_sided_evidence(values: list[float]) -> None:
    sides = [of(ln_one_sided, sign * np.array(values), 1.0) for sign in (1, -1)]
    assert sum(map(math.exp, sides)) / 2 == pytest.approx(math.exp(of(ln_evidence, values, 1.0)), rel=1e-6)


@given(samples, st.floats(0.0, 3.0))
def test_one_sided_evidence_grows_with_every_shift(values: list[float], shift: float) -> None:
    assert of(ln_one_sided, np.array(values) + shift, 1.0) >= of(ln_one_sided, values, 1.0) - 1e-9


@given(samples, st.floats(0.001, 0.2))
def test_a_smaller_error_rate_is_a_wider_interval(values: list[float], alpha: float) -> None:
    std, n = np.std(values), len(values)
    assert half_width(std, n, 0.04, alpha) >= half_width(std, n, 0.04, 1.5 * alpha)


def test_one_value_and_zeros_say_nothing() -> None:
    assert of(ln_evidence, [3.0], 0.04) == pytest.approx(0, abs=1e-12)
    assert of(ln_evidence, [0.0, 0.0, 0.0], 0.04) < 0
    assert math.isinf(half_width(0.0, 1, 0.04, 0.05))


@pytest.mark.parametrize(("c2", "alpha"), [(0.04, 0.05), (1.0, 0.05), (0.04, 0.001)])
def test_the_earliest_is_the_first_that_can_decide(c2: float, alpha: float) -> None:
    n = earliest(c2, alpha)
    assert of(ln_evidence, np.ones(n), c2) >= -math.log(alpha) > of(ln_evidence, np.ones(n - 1), c2)


def test_false_alarms_stay_below_alpha_however_often_one_looks() -> None:
    d = np.random.default_rng(0).standard_normal((4000, 50))
    found = ln_evidence(d.cumsum(axis=1), (d**2).cumsum(axis=1), np.arange(1, 51), 0.04)
    assert (found >= math.log(20)).any(axis=1).mean() < 0.05
