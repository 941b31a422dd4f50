"""The rule: who drops out when, and what is said at the end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnndrop.decisions.planning import BETTER, EQUAL, OPEN, WORSE, ends, expectations
from rnndrop.decisions.race import DIVERGED, Race, Rule, race
from rnndrop.errors import RequestError

RULE = Rule()
WORDS = {OPEN: "undecided", BETTER: "better", WORSE: "worse", EQUAL: "equal"}


def run(scores: object, rule: Rule = RULE) -> Race:
    rows = np.asarray(scores, float).tolist()
    return race(rule, range(len(rows)), rows, len(rows[0]))


def normal(means: list[float], std: float = 0.02, seeds: int = 20, dice: int = 0) -> np.ndarray:
    return 5 + np.array(means) + std * np.random.default_rng(dice).standard_normal((seeds, len(means)))


def test_a_large_difference_is_found_and_the_rest_is_not_trained() -> None:
    found = run(normal([0, 0.2]))
    assert (found.verdict, found.best, found.outcomes) == ("better", 0, ["best", "worse"])
    assert 3 <= len(found.looks) <= 8 and not found.remaining
    assert found.looks[-1].out == [1] and all(look.out == [] for look in found.looks[:-1])
    pair = found.looks[-1].pairs[0]
    assert pair.high < 0 and pair.ln_e >= math.log(20)


def test_the_other_way_round_it_is_worse() -> None:
    one, other = run(normal([0, 0.2])), run(normal([0, 0.2])[:, ::-1])
    assert (other.verdict, other.best, other.outcomes) == ("worse", 1, ["worse", "best"])
    assert [-look.pairs[0].mean for look in other.looks] == [look.pairs[0].mean for look in one.looks]
    assert [look.pairs[0].ln_e for look in other.looks] == [look.pairs[0].ln_e for look in one.looks]


def test_equal_within_the_margin() -> None:
    found = run(normal([0, 0], 0.003))
    assert found.verdict == "equal" and found.outcomes == ["equal", "equal"] and found.best is None


def test_a_real_difference_within_the_margin_is_equal() -> None:
    """Its evidence is there before that for equality: it waits, since the whole interval lies within the margin."""
    found = run(normal([0, 0.004], 0.0003))
    assert found.verdict == "equal"
    assert found.looks[-2].pairs[0].ln_e > math.log(20) and found.looks[-2].pairs[0].standing == "open"


def test_undecided_when_there_are_no_more_seeds() -> None:
    found = run(normal([0, 0.01], 0.05))
    assert found.verdict == "undecided" and len(found.looks) == 20 and not found.going_on


def test_a_round_that_is_not_complete_stops_the_looks() -> None:
    rows = normal([0, 0.01], 0.05).tolist()
    rows[4][1] = None
    found = race(RULE, range(20), rows, 2)
    assert found.going_on and len(found.looks) == 4 and found.remaining == [0, 1]


def test_what_comes_after_the_decision_changes_nothing() -> None:
    rows = normal([0, 0.2])
    short = run(rows)
    later = rows.tolist()
    later[len(short.looks) :] = [[None, 9.0]] * (20 - len(short.looks))
    assert race(RULE, range(20), later, 2) == short


def test_of_three_the_losers_drop_out_and_get_no_more_seeds() -> None:
    rows = normal([0, 0.2, 0.06]).tolist()
    whole = run(rows)
    assert whole.verdict == "better" and whole.outcomes == ["best", "worse", "worse"]
    out = {index: number for number, look in enumerate(whole.looks) for index in look.out}
    assert out[1] < out[2]
    for row in rows[out[1] + 1 :]:
        row[1] = None
    assert race(RULE, range(20), rows, 3) == whole


def test_of_three_equal_ones_may_be_left() -> None:
    found = run(normal([0, 0.1, 0.0005], 0.002))
    assert found.verdict == "equal" and found.outcomes == ["equal", "worse", "equal"]


def test_the_bound_grows_with_the_contestants() -> None:
    assert RULE.ln_bound(2) == pytest.approx(math.log(20)) and RULE.ln_bound(5) == pytest.approx(math.log(80))
    assert RULE.earliest(2) == 3


@pytest.mark.parametrize("who", [0, 1])
def test_who_diverges_drops_out_and_nothing_is_claimed(who: int) -> None:
    rows = normal([0, 0])
    rows[2, who] = DIVERGED
    found = run(rows)
    assert found.verdict == "undecided" and found.outcomes[who] == "diverged" and found.diverged == [(who, 2)]
    assert len(found.looks) == 2 and not found.going_on


def test_of_three_one_diverges_and_the_others_are_decided() -> None:
    rows = normal([0, 0.2, 0])
    rows[1, 2] = DIVERGED
    found = run(rows)
    assert found.verdict == "better" and found.outcomes == ["best", "worse", "diverged"]


def test_who_lost_to_one_that_diverged_later_is_not_known_to_be_worse() -> None:
    rows = normal([0.3, 0.01, 0])
    out = next(number for number, look in enumerate(run(rows).looks) if look.out)
    rows[out + 1, 2] = DIVERGED
    found = run(rows)
    assert found.verdict == "undecided" and found.outcomes == ["worse", "in", "diverged"] and found.best is None
    rows[out + 1] = [5, DIVERGED, 5]  # where another one does, the winner stays
    found = run(rows)
    assert found.verdict == "better" and found.outcomes == ["worse", "diverged", "best"]


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0, 0.004, 0.01, 0.03, 0.1]), st.sampled_from([0.001, 0.006, 0.03]))
def test_thousands_at_once_are_the_same_as_one_by_one(dice: int, effect: float, std: float) -> None:
    rows = normal([0, effect], std, dice=dice)
    found = run(rows)
    several = ends(RULE, (rows[:, 0] - rows[:, 1])[None])
    assert (WORDS[int(several.verdict[0])], int(several.seeds[0])) == (found.verdict, len(found.looks))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.02, 0.1]))
def test_a_smaller_error_rate_takes_at_least_as_many_seeds(dice: int, effect: float) -> None:
    rows = normal([0, effect], dice=dice)
    strict, lax = (run(rows, Rule(alpha, 1e-9)) for alpha in (0.01, 0.1))
    assert len(strict.looks) >= len(lax.looks)


def test_what_is_to_be_expected() -> None:
    rows = {row.effect: row for row in expectations(RULE, 0.01, 20)}
    assert list(rows) == sorted(rows) and RULE.margin in rows
    assert rows[0].different < 0.05 and rows[RULE.margin].equal < 0.05
    assert rows[math.log1p(0.05)].different == 1 and rows[math.log1p(0.05)].seeds < 4.5
    assert all(row.different + row.equal + row.undecided == pytest.approx(1) for row in rows.values())


@pytest.mark.parametrize("rule", [Rule(alpha=0), Rule(alpha=0.6), Rule(margin=0), Rule(margin=1), Rule(alpha=math.nan)])
def test_rules_that_mean_nothing(rule: Rule) -> None:
    with pytest.raises(RequestError, match=r"--alpha|--margin"):
        rule.check()
