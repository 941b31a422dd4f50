"""Reproductions: what they ask for exists, and what is searched is searched alike for every row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rnndrop.config.compose import choices, compose
from rnndrop.errors import RequestError
from rnndrop.reproduction.outcomes import outcomes, their_row
from rnndrop.reproduction.recipe import Plan, Reproduction, Row, load, plans
from rnndrop.store import records
from rnndrop.store.records import Record

NAMES = list(choices("reproduce"))


@pytest.mark.parametrize("name", NAMES)
def test_every_row_composes_at_both_scales_and_finds_its_published_rows(name: str) -> None:
    reproduction = load(name)
    assert not reproduction.about.startswith("@")
    full, small = plans(reproduction, "full"), plans(reproduction, "small")
    assert [plan.row for plan in full] == [plan.row for plan in small] == list(reproduction.rows)
    for large, little in zip(full, small, strict=True):
        one, other = next(iter(large.jobs.values()))[0], next(iter(little.jobs.values()))[0]
        assert one.config.label == name and other.config.label == f"{name}-small"
        assert other.config.data.train_tokens and other.config.trainer.epochs < one.config.trainer.epochs
        assert one.folder.parent != other.folder.parent
    for row in reproduction.rows.values():
        theirs = their_row(reproduction, row)
        assert row.published is None or len(theirs) in (1, 2), row
        assert not theirs["mc"].duplicated().any()
    rows = reproduction.grid.plans if reproduction.grid else reproduction.rows
    assert reproduction.baseline is None or reproduction.baseline in rows


def test_the_search_is_the_same_for_every_plan_and_never_sees_the_test_set(tmp_path: Path) -> None:
    recipe = load("low_data")
    table = {plan.row: plan for plan in plans(recipe, "full", [f"output={tmp_path}"])}
    assert len(table) == 12 and list(table["none"].jobs) == [1.0] and table["none"].search == []
    for name, plan in table.items():
        base = compose(recipe.rows[name].run).plan
        for factor, jobs in plan.jobs.items():
            assert [job.config.seed for job in jobs] == [1, 2, 3]
            expected = [pytest.approx(rule.p * factor, abs=1e-4) for rule in base.active]
            assert [rule.p for rule in jobs[0].config.plan.active] == expected
        assert name == "none" or list(plan.jobs) == [0.5, 1.0, 1.5, 2.0]
        assert name == "none" or (plan.factor is None and plan.chosen == [])

    locked = table["locked"]
    for factor, valid, test in ((0.5, 210.0, 150.0), (1.0, 200.0, 190.0), (1.5, 220.0, 100.0), (2.0, 230.0, 90.0)):
        _finish(locked, factor, valid, test)
    assert locked.factor == 1.0 and [job.config.seed for job in locked.chosen] == [1, 2, 3]


@pytest.mark.parametrize(
    "asked",
    [
        "dropout=token_and_locked",
        "dropout=none dropout.input.also=[{kind:token,p:0.2},{kind:none,p:0.1,varies:[batch,gate,feature]}]",
        "dropout=none dropout.token.also=[{kind:unk,p:0.1,discounted:true},{kind:blank,p:0.2,schedule:late,until:2.5}]",
    ],
)
def test_the_search_scales_the_rules_in_also_too(asked: str) -> None:
    rows = {"row": Row(run=asked.split())}
    found = Reproduction(name="mine", about="", rows=rows, small=[], factors=[0.5, 1.5], seeds="1,2")
    (plan,) = plans(found, "full")
    rules = list(compose(asked.split()).plan.active)
    assert len(rules) > 1
    for factor, jobs in plan.jobs.items():
        assert list(jobs[0].config.plan.active) == [replace(rule, p=round(rule.p * factor, 4)) for rule in rules]


def _finish(plan: Plan, factor: float, valid: float, test: float) -> None:
    job = plan.trials[factor]
    metrics = {"valid_perplexity": valid, "test_perplexity": test}
    tree = job.config.model_dump(mode="json")
    job.record = Record(records.SCHEMA, "", 0, "finished", job.overrides, tree, metrics=metrics)
    job.state = "finished"


def test_further_overrides_win_and_only_the_seed_may_vary() -> None:
    (plan,) = plans(load("zaremba_small"), "small", ["seed=3,5", "trainer.epochs=2"])
    assert [job.config.seed for job in plan.chosen] == [3, 5] and plan.chosen[0].config.trainer.epochs == 2
    with pytest.raises(RequestError, match="only the seed"):
        plans(load("zaremba_small"), "full", ["model.hidden=10,20"])


@pytest.fixture
def one_row() -> Reproduction:
    return load("zaremba_small")


def test_within_one_per_cent_where_no_deviation_is_published(one_row: Reproduction) -> None:
    measured = {"small": [{"test_perplexity": 114.0}, {"test_perplexity": 115.2}]}
    valid, test = outcomes(one_row, "full", measured)
    assert (valid.n, valid.ours, valid.published, valid.within) == (0, None, 120.7, None)
    assert (test.n, test.published) == (2, 114.5) and test.ours == pytest.approx(114.6)
    assert test.difference == pytest.approx(0.1) and test.tolerance == pytest.approx(1.145) and test.within
    (_, far) = outcomes(one_row, "full", {"small": [{"test_perplexity": 113.0}]})
    assert far.within is False and far.ours_std is None


def test_within_the_published_deviation() -> None:
    reproduction = Reproduction(
        name="x",
        about="",
        published={"source": "Gal & Ghahramani 2016, Table 1", "data": "ptb", "model": "lstm 2×1500"},
        rows={"tied": {"run": [], "published": "variational, tied weights"}},  # type: ignore[dict-item]
        small=[],
    )
    measured = {"tied": [{"valid_perplexity": 78.5, "test_perplexity": 75.2, "test_perplexity_mc": 74.5}]}
    found = outcomes(reproduction, "full", measured)
    assert [(each.tolerance, each.within) for each in found[:2]] == [(0.2, True), (0.1, False)]
    assert found[2].published == 74.1 and found[2].tolerance == pytest.approx(0.741) and found[2].within  # ± .0


def test_small_scale_is_beside_the_published_without_a_verdict(one_row: Reproduction) -> None:
    found = outcomes(one_row, "small", {"small": [{"valid_perplexity": 120.7, "test_perplexity": 114.5}]})
    assert {each.scale for each in found} == {"small"} and all(each.published for each in found)
    assert all(each.difference is None and each.within is None for each in found)
