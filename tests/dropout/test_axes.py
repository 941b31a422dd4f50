"""What a rule may have beside its kind: several at a location, correlated masks, spans, schedules, the other noises."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rnndrop.dropout.masks import Masks, Sizes, draw, draw_masks, evaluation_masks, kept_rate
from rnndrop.dropout.noises import drawn_rate
from rnndrop.dropout.plan import plan
from rnndrop.dropout.rule import Rule, rule
from rnndrop.errors import RequestError
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel

T, B, V, H = 40, 60, 11, 5
SIZES = Sizes(V, H, ((H, H), (H, H)), 4)
LENGTHS = {"time": T, "batch": B, "gate": 4, "feature": H, "type": V, "out": H, "in": H, "layer": 2}


def drawn(settings: dict[str, Any], seed: int = 1, steps: int = T) -> Masks:
    return draw_masks(plan(settings), SIZES, steps, B, torch.Generator().manual_seed(seed), torch.float64)


def one(each: Rule, seed: int = 1) -> Tensor:
    return draw(each, LENGTHS, torch.Generator().manual_seed(seed), torch.float64)


def test_rules_of_one_location_multiply_in_order() -> None:
    also = [{"kind": "token", "p": 0.2}, {"kind": "naive", "p": 0.1, "noise": "gaussian"}]
    both = drawn({"input": {"kind": "locked", "p": 0.4, "also": also}}).layers[0].input
    generator = torch.Generator().manual_seed(1)
    parts = [rule("input", "locked", 0.4), rule("input", "token", 0.2), rule("input", "naive", 0.1, noise="gaussian")]
    first, second, third = (draw(each, LENGTHS, generator, torch.float64) for each in parts)
    assert both is not None and torch.equal(both, first * second * third)


def test_what_one_of_two_zoneouts_holds_is_held() -> None:
    also = [{"kind": "zoneout", "p": 0.3}]
    mask = drawn({"cell": {"kind": "zoneout", "p": 0.2, "also": also}}).layers[0].cell
    generator = torch.Generator().manual_seed(1)
    first, second = (draw(rule("cell", "zoneout", p), LENGTHS, generator, torch.float64) for p in (0.2, 0.3))
    assert mask is not None and torch.equal(mask.values.bool(), first.bool() | second.bool())
    rates = [drawn_rate(0.2), drawn_rate(0.3)]
    settings = plan({"cell": {"kind": "zoneout", "p": 0.2, "also": also}})
    mean = evaluation_masks(settings, SIZES, torch.Generator(), torch.float64).layers[0].cell
    assert mean is not None and float(mean.values) == pytest.approx(1 - (1 - rates[0]) * (1 - rates[1]), abs=1e-15)


@pytest.mark.parametrize(
    ("location", "rules"),
    [
        ("cell", [{"kind": "locked", "p": 0.1}, {"kind": "zoneout", "p": 0.1}]),
        ("weight_hh", [{"kind": "dropconnect", "p": 0.1}, {"kind": "dropconnect", "noise": "additive", "p": 0.1}]),
    ],
)
def test_rules_that_cannot_be_combined_are_refused_by_name(location: str, rules: list[dict[str, Any]]) -> None:
    with pytest.raises(RequestError, match=rf"dropout\.{location}\.also: {location} .* are combined where"):
        plan({location: {**rules[0], "also": rules[1:]}})


def test_flip_0_is_locked_and_flip_1_is_naive() -> None:
    naive, locked = rule("output", "naive", 0.3), rule("output", "locked", 0.3)
    assert rule("output", "naive", 0.3, flip=1.0) == naive
    assert rule("output", "naive", 0.3, flip=0.0) == locked
    assert torch.equal(one(rule("output", "naive", 0.3, flip=0)), one(locked))


def test_a_drifting_mask_keeps_its_rate_and_decays_as_a_power() -> None:
    """The correlation over k steps is (1 - flip)^k (lamb's `state_dropout_flip_rate`)."""
    flip, p = 0.25, 0.4
    lengths = LENGTHS | {"batch": 4000}
    each = rule("output", "naive", p, flip=flip)
    mask = draw(each, lengths, torch.Generator().manual_seed(3), torch.float64)  # (T, B, H)
    assert mask.mean() == pytest.approx(1, abs=0.01)
    assert set(mask.unique().tolist()) == {0.0, 1 / drawn_rate(1 - p)}
    centred = mask - mask.mean()
    for lag in (1, 2, 5):
        correlation = (centred[:-lag] * centred[lag:]).mean() / centred.square().mean()
        assert correlation == pytest.approx((1 - flip) ** lag, abs=0.015)


def test_a_drifting_mask_is_the_chain_step_by_step() -> None:
    each, generator = rule("output", "naive", 0.4, flip=0.3), torch.Generator().manual_seed(5)
    fresh = draw(rule("output", "naive", 0.4), LENGTHS, generator, torch.float64)
    from rnndrop.dropout.noises import ones

    flips = ones(fresh.shape, 0.3, generator, torch.float32)
    chain = [fresh[0]]
    for t in range(1, T):
        chain.append(torch.where(flips[t] == 1, fresh[t], chain[-1]))
    assert torch.equal(one(each, 5), torch.stack(chain))


@given(st.integers(2, 9), st.floats(0.05, 0.9))
def test_holes_of_a_block_are_that_long_and_have_its_rate(block: int, p: float) -> None:
    each = rule("output", "naive", p, block=block)
    mask = draw(each, LENGTHS | {"batch": 8}, torch.Generator().manual_seed(7), torch.float64)
    assert kept_rate(each) == pytest.approx(1 - p, rel=0.02, abs=1e-3)
    assert set(mask.unique().tolist()) <= {0.0, 1 / kept_rate(each)}
    for column in mask.flatten(1).T.tolist():
        runs = "".join("o" if value else "." for value in column).split("o")
        inner = runs[1:-1]  # a hole at an edge may go on beyond it
        assert all(len(run) == 0 or len(run) >= block for run in inner)


def test_the_mean_of_spans_is_1() -> None:
    mask = draw(
        rule("output", "naive", 0.3, block=5),
        LENGTHS | {"batch": 4000},
        torch.Generator().manual_seed(8),
        torch.float64,
    )
    assert mask.mean(dim=(1, 2)).sub(1).abs().max() < 0.03  # at each step, the first and the last too


def test_zoneout_in_spans_is_evaluated_at_its_rate() -> None:
    each = plan({"cell": {"kind": "zoneout", "p": 0.3, "block": 4}})
    mask = draw_masks(each, SIZES, T, 2000, torch.Generator().manual_seed(9), torch.float64).layers[0].cell
    mean = evaluation_masks(each, SIZES, torch.Generator(), torch.float64).layers[0].cell
    assert mask is not None and mean is not None
    assert float(mask.values.mean()) == pytest.approx(float(mean.values), abs=0.01)
    assert float(mean.values) == pytest.approx(0.3, abs=1e-3)


def test_dirichlet_is_the_formula_of_its_concentration() -> None:
    """k · Dir(α) sums to k, and an entry is k times Beta(α, (k-1)α): its moments to the third."""
    p, k = 0.4, 20
    lengths = LENGTHS | {"feature": k, "batch": 3000}
    mask = draw(
        rule("output", "locked", p, noise="dirichlet"), lengths, torch.Generator().manual_seed(4), torch.float64
    )
    assert torch.allclose(mask.sum(-1), torch.tensor(float(k), dtype=torch.float64))
    alpha = (1 - p) * (k - 1) / (p * k) - 1 / k
    a, b = alpha, (k - 1) * alpha
    third = a * (a + 1) * (a + 2) / ((a + b) * (a + b + 1) * (a + b + 2)) * k**3
    assert mask.var() == pytest.approx(p / (1 - p), rel=0.03)
    assert mask.pow(3).mean() == pytest.approx(third, rel=0.06)


@pytest.mark.parametrize(
    ("schedule", "at"),
    [
        ("linear", lambda e: max(0.0, 1 - e / 4)),
        ("exponential", lambda e: 1 - math.exp(-10 * e / 4)),
        ("early", lambda e: float(e < 4)),
        ("late", lambda e: float(e >= 4)),
    ],
)
def test_schedules(schedule: str, at: Any) -> None:
    settings = plan({"input": {"kind": "locked", "p": 0.6, "schedule": schedule, "until": 4.0}})
    for epoch in (0, 0.5, 2, 3.999, 4, 9):
        now = settings.after(epoch)["input"]
        assert now.p == pytest.approx(0.6 * at(epoch)) and now.active == (at(epoch) > 0)
    constant = plan({"input": {"kind": "locked", "p": 0.6}})
    assert constant.after(3) is constant


def model_of(cell: str = "lstm") -> LanguageModel:
    model = LanguageModel(ModelSettings(cell, H, 2, None, False), V).double()
    model.initialize(0.8, torch.Generator().manual_seed(1))
    return model


def test_a_reset_starts_a_sequence_anew() -> None:
    model = model_of()
    masks = drawn({"carry": {"kind": "reset", "p": 0.5}}, steps=3)
    x = torch.randint(V, (3, B), generator=torch.Generator().manual_seed(2))
    state = tuple(tuple(torch.randn_like(part) for part in layer) for layer in model.initial_state(B))
    assert masks.carry is not None and set(masks.carry.tolist()) == {0.0, 1.0}
    found, _ = model.features(x, state, masks)
    none = drawn({}, steps=3)
    carried, _ = model.features(x, state, none)
    anew, _ = model.features(x, model.initial_state(B), none)
    kept = masks.carry.bool()
    torch.testing.assert_close(found[:, kept], carried[:, kept], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(found[:, ~kept], anew[:, ~kept], rtol=1e-12, atol=1e-13)


def test_a_layer_that_is_left_out_passes_on_what_enters_it() -> None:
    model = model_of()
    masks = drawn({"layer": {"kind": "stochastic_depth", "p": 0.5}}, steps=3)
    assert masks.layer is not None and masks.layer.shape == (2, B)
    x = torch.randint(V, (3, B), generator=torch.Generator().manual_seed(2))
    top, _ = model.top(x, model.initial_state(B), masks)
    neither = (masks.layer == 0).all(0)
    assert neither.any()
    torch.testing.assert_close(top[:, neither], model.embedding[x][:, neither], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"location": "token", "kind": "unk", "p": 0.1, "flip": 0.5}, "dropout.token.flip has no meaning"),
        ({"location": "output", "kind": "locked", "p": 0.1, "flip": 0.5}, "a mask that varies over time"),
        ({"location": "output", "kind": "naive", "p": 0.1, "flip": 1.5}, "from 0 to 1"),
        ({"location": "output", "kind": "locked", "p": 0.1, "block": 3}, "a mask that varies over time"),
        ({"location": "output", "kind": "naive", "p": 0.1, "block": 3, "flip": 0.5}, "not both"),
        (
            {"location": "output", "kind": "naive", "p": 0.1, "noise": "additive"},
            "Noises for output: bernoulli gaussian dirichlet",
        ),
        ({"location": "input", "kind": "locked", "p": 0.1, "noise": "concrete"}, "Noises for input: bernoulli"),
        ({"location": "output", "kind": "naive", "p": 0.1, "schedule": "linear"}, "needs until"),
        ({"location": "output", "kind": "naive", "p": 0.1, "schedule": "sine", "until": 3}, "linear exponential"),
        ({"location": "cell", "kind": "zoneout", "p": 0.1, "schedule": "early", "until": 3}, "evaluated at its rate"),
        ({"location": "carry", "kind": "reset", "p": 0.1, "varies": []}, "varies over nothing: name some of batch."),
        ({"location": "input", "kind": "token", "p": 0.1, "gradient": True}, "dropout.input.gradient has no meaning"),
        ({"location": "weight_hh", "kind": "dropconnect", "p": 0.1, "smallest": 1.5}, "below 1"),
        ({"location": "weight_hh", "kind": "dropconnect", "p": 0.1, "smallest": 1.0}, "give null"),
        ({"location": "weight_hh", "kind": "weight_rows", "p": 0.1, "noise": "bayes"}, "give kind=dropconnect, or"),
        ({"location": "weight_ih", "kind": "weight_columns", "p": 0.1, "noise": "sparse"}, "noise=concrete"),
        ({"location": "weight_ih", "varies": ["out", "in"], "p": 0.1, "noise": "sparse"}, "varies over out in"),
        ({"location": "output", "varies": ["time"], "p": 0.1, "flip": 0.0}, "flip=0 leaves nothing"),
        ({"location": "output", "varies": ["time"], "p": 0.1, "flip": 0}, "flip=0 leaves nothing"),
        ({"location": "input", "kind": "reset", "p": 0.1}, "Kinds for input"),
        ({"location": "output", "kind": "token", "p": 0.1, "noise": "dirichlet"}, "a fixed sum"),
        ({"location": "output", "kind": "naive", "p": 0.1, "noise": "dirichlet", "flip": 0.5}, "a fixed sum"),
    ],
)
def test_parts_without_a_meaning_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as refused:
        rule(**settings)
    assert words in str(refused.value)


def test_dirichlet_is_drawn_on_the_cpu_where_the_device_has_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnndrop.dropout.noises.NO_DOUBLES", ("cpu",))
    each, lengths = rule("output", "locked", 0.4, noise="dirichlet"), LENGTHS | {"feature": 20, "batch": 2000}
    generator = torch.Generator().manual_seed(4)
    first, second = (draw(each, lengths, generator, torch.float32) for _ in range(2))
    assert torch.equal(first, draw(each, lengths, torch.Generator().manual_seed(4), torch.float32))
    assert not torch.equal(first, second)
    assert first.dtype == torch.float32
    torch.testing.assert_close(first.sum(-1), torch.full(first.shape[:-1], 20.0))
    assert float(first.var()) == pytest.approx(0.4 / 0.6, rel=0.05)
