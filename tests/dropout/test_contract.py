"""What every kind keeps at every location of every cell. A new row in the table of kinds is tested with no new code."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from rnndrop.config.cells import CELLS
from rnndrop.dropout.masks import Masks, MemoryMask, WeightNoise, draw, draw_masks, evaluation_masks, map_masks
from rnndrop.dropout.noises import NOISES, drawn_rate
from rnndrop.dropout.plan import Plan, plan
from rnndrop.dropout.rule import LOCATIONS, kinds_at, rule
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from tests.dropout import reference
from tests.recurrent.cases import MEMORY_PAIRS

T, B, V, H = 5, 3, 11, 4
SPACE = [
    (cell, location, kind)
    for location in LOCATIONS
    if location != "token"  # whose masks no model sees: tests/dropout/test_words.py
    for kind in kinds_at(location)
    if kind != "none"
    for cell, spec in CELLS.items()
    if location not in spec.without
]
AXES = {"time": 6, "batch": 7, "gate": 4, "feature": 8, "type": 9, "out": 8, "in": 7, "layer": 12}
every_point = pytest.mark.parametrize(("cell", "location", "kind"), SPACE)
CONSTANT = [point for point in SPACE if "time" not in rule(point[1], point[2], 0.5).varies]
MEMORIES = [point for point in SPACE if LOCATIONS[point[1]].keeps_memory]
NOISY = [  # other fills than zero take holes alone; learned noise is in tests/dropout/test_learned.py
    (location, kind, noise.name)
    for location, kind in sorted({point[1:] for point in SPACE})
    for noise in NOISES.values()
    if not noise.learned and (noise.holes or rule(location, kind, 0.5).fill == "zero")
    if LOCATIONS[location].is_weight or not noise.added
    if noise.name != "dirichlet" or rule(location, kind, 0.5).varies & {"feature", "in", "type"}
]
every_noise = pytest.mark.parametrize(("location", "kind", "noise"), NOISY)


def model_of(cell: str, tie: bool = False) -> LanguageModel:
    model = LanguageModel(ModelSettings(cell, H, 2, None, tie), V).double()
    model.initialize(0.8, torch.Generator().manual_seed(1))
    return model


def tokens(steps: int = T) -> Tensor:
    return torch.randint(V, (steps, B), generator=torch.Generator().manual_seed(2))


def one_rule(location: str, kind: str, p: float = 0.4) -> Plan:
    return plan({location: {"kind": kind, "p": p}})


def masks_of(model: LanguageModel, dropout: Plan, seed: int = 4, steps: int = T) -> Masks:
    model.hold(dropout)
    return draw_masks(dropout, model.sizes, steps, B, torch.Generator().manual_seed(seed), torch.float64, model.held)


def logits(model: LanguageModel, masks: Masks, x: Tensor | None = None) -> Tensor:
    features, _ = model.features(tokens() if x is None else x, model.initial_state(B), masks)
    weight, bias = model.decoder_weights(masks)
    return features @ weight.T + bias


@every_point
def test_p_0_is_none_bit_for_bit(cell: str, location: str, kind: str) -> None:
    model = model_of(cell)
    zero, none = (masks_of(model, each) for each in (one_rule(location, kind, 0.0), plan({})))
    assert torch.equal(logits(model, zero), logits(model, none))


@every_point
def test_evaluation_is_repeatable_and_the_expectation(cell: str, location: str, kind: str) -> None:
    model, dropout = model_of(cell), one_rule(location, kind)
    masks = [evaluation_masks(dropout, model.sizes, torch.Generator().manual_seed(s), torch.float64) for s in (1, 2)]
    first, second = (logits(model, each) for each in masks)
    assert torch.equal(first, second)
    if dropout[location].fill != "previous":  # inverted scaling, or the model without holes: nothing to do
        assert torch.equal(first, logits(model, masks_of(model, plan({}))))
    else:  # zoneout: p of the old and 1-p of the new memory
        expected, _ = reference.logits(model, tokens(), masks[0])
        rate = drawn_rate(0.4)
        assert rate == pytest.approx(0.4, rel=1e-4)
        assert all(float(getattr(layer, location).values) == rate for layer in masks[0].layers)
        torch.testing.assert_close(first, expected, rtol=1e-12, atol=1e-12)


@every_point
def test_outputs_and_gradients_equal_the_equations(cell: str, location: str, kind: str) -> None:
    model = model_of(cell, tie=location == "embedding")
    masks = masks_of(model, one_rule(location, kind))
    weights = torch.randn(T, B, V, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    ours, theirs = logits(model, masks), reference.logits(model, tokens(), masks)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    parameters = list(model.parameters())
    for mine, plain in zip(
        torch.autograd.grad((ours * weights).sum(), parameters, materialize_grads=True),
        torch.autograd.grad((theirs * weights).sum(), parameters, materialize_grads=True),
        strict=True,
    ):
        assert (mine.to_dense() - plain).norm() <= 1e-9 * plain.norm()


@pytest.mark.parametrize(("cell", "settings"), MEMORY_PAIRS)
def test_rules_on_both_memories_equal_the_equations(cell: str, settings: dict[str, Any]) -> None:
    model = model_of(cell)
    masks = masks_of(model, plan(settings))
    torch.testing.assert_close(logits(model, masks), reference.logits(model, tokens(), masks)[0], rtol=1e-9, atol=1e-12)
    _, carried = model.features(tokens(), model.initial_state(B), masks)
    for ours, theirs in zip(carried, reference.logits(model, tokens(), masks)[1], strict=True):
        if cell == "slstm":
            h, c, n, log_scale, _ = ours
            ours = (h, c * log_scale.exp(), n * log_scale.exp())
        torch.testing.assert_close(ours[: len(theirs)], theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("cell", "settings"),
    [(cell, {place: {"kind": kind, "p": 0.4}}) for cell, place, kind in SPACE if place != "carry"] + MEMORY_PAIRS,
)
def test_where_a_window_is_cut_does_not_matter_under_the_same_masks(cell: str, settings: dict[str, Any]) -> None:
    model = model_of(cell, tie="embedding" in settings)
    masks, parameters = masks_of(model, plan(settings)), list(model.parameters())
    whole = logits(model, masks)
    state, parts = model.initial_state(B), []
    for step in range(T):
        rows = slice(step, step + 1)
        here = map_masks(lambda mask, rows=rows: mask[rows] if len(mask) == T else mask, masks)  # type: ignore[misc]
        features, state = model.features(tokens()[step : step + 1], state, here)
        weight, bias = model.decoder_weights(here)
        parts.append(features @ weight.T + bias)
    in_parts = torch.cat(parts)
    torch.testing.assert_close(in_parts, whole, rtol=1e-9, atol=1e-12)
    weights = torch.randn(T, B, V, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    gradients = (
        torch.autograd.grad((each * weights).sum(), parameters, materialize_grads=True) for each in (in_parts, whole)
    )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one.to_dense(), other.to_dense(), rtol=1e-9, atol=1e-12)


@every_noise
def test_what_varies_says_is_what_varies(location: str, kind: str, noise: str) -> None:
    where = LOCATIONS[location]
    each = rule(location, kind, 0.5, noise=noise)
    mask = draw(each, AXES, torch.Generator().manual_seed(5), torch.float64)
    for dimension, axis in enumerate(where.axes):
        slices = mask.unbind(dimension)
        if axis in each.varies:
            assert len(slices) == AXES[axis] and not all(torch.equal(a, b) for a, b in pairwise(slices))
        else:
            assert len(slices) == 1


@every_noise
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_mean_of_a_mask_is_1_and_its_variance_that_of_its_rate(
    location: str, kind: str, noise: str, p: float
) -> None:
    each = rule(location, kind, p, noise=noise)
    generator = torch.Generator().manual_seed(6)
    draws = torch.cat([draw(each, AXES, generator, torch.float64).flatten() for _ in range(1500)])
    unscaled = {"previous": p, "input": 1 - p, "initial": 1 - p}.get(each.fill)
    mean, variance = (1.0, p / (1 - p)) if unscaled is None else (unscaled, p * (1 - p))
    mean, variance = (0.0, p * p) if NOISES[noise].added else (mean, variance)
    assert abs(draws.mean() - mean) < 4 * (variance / len(draws)) ** 0.5
    assert draws.var() == pytest.approx(variance, rel=0.25)
    assert unscaled is not None or NOISES[noise].variance(p) == pytest.approx(variance)
    if noise == "bernoulli":
        values = {0.0, 1 / drawn_rate(1 - p)} if unscaled is None else {0.0, 1.0}
        assert set(draws.tolist()) <= values


@every_point
def test_masks_are_redrawn_at_the_next_window_and_the_same_on_a_rerun(cell: str, location: str, kind: str) -> None:
    model, dropout = model_of(cell), one_rule(location, kind, 0.5)

    def draws() -> list[Tensor]:
        generator = torch.Generator().manual_seed(7)
        model.hold(dropout)
        windows = [draw_masks(dropout, model.sizes, T, B, generator, torch.float64, model.held) for _ in range(8)]
        return [torch.cat([mask.flatten() for mask in tensors(window)]) for window in windows]

    first, again = draws(), draws()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in pairwise(first))


@pytest.mark.parametrize(("cell", "location", "kind"), CONSTANT)
def test_without_time_a_mask_is_constant_within_the_window(cell: str, location: str, kind: str) -> None:
    model, dropout = model_of(cell), one_rule(location, kind)
    short, long = (masks_of(model, dropout, steps=steps) for steps in (2, T))
    assert all(torch.equal(a, b) for a, b in zip(tensors(short), tensors(long), strict=True))
    torch.testing.assert_close(logits(model, short, tokens()[:2]), logits(model, long)[:2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("cell", "location", "kind"), MEMORIES)
def test_the_carried_state_is_untouched_by_scaling(cell: str, location: str, kind: str) -> None:
    """After one step a carried memory is, at `cell` and `state`, that without dropout, or 0, or the previous one."""
    model = model_of(cell)
    generator = torch.Generator().manual_seed(8)
    start = [tuple(torch.randn(B, H, dtype=torch.float64, generator=generator) for _ in state)
             for state in model.initial_state(B)]  # fmt: skip
    which = 1 if cell in ("lstm", "slstm") and location == "cell" else 0
    _, plain = model.features(tokens(1), tuple(start), masks_of(model, plan({}), steps=1))
    _, carried = model.features(tokens(1), tuple(start), masks_of(model, one_rule(location, kind), steps=1))
    value, clean, before = carried[0][which], plain[0][which], start[0][which]
    hole = before if kind == "zoneout" else torch.zeros_like(before)
    kept, held = torch.isclose(value, clean, rtol=1e-12), torch.isclose(value, hole, rtol=1e-12)
    assert (kept | held).all() and kept.any() and held.any()


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "slstm", "qrnn"])  # in which |h| <= 1
def test_a_locked_mask_on_the_memory_does_not_compound(cell: str) -> None:
    """RNNDrop at p = .75 over 300 steps: naive inverted scaling would reach 4^300 (tensorflow#11650)."""
    model = model_of(cell)
    x = torch.randint(V, (300, B), generator=torch.Generator().manual_seed(9))
    masks = masks_of(model, one_rule("cell", "locked", 0.75), steps=300)
    features, state = model.features(x, model.initial_state(B), masks)
    assert features.abs().max() <= 4.0  # |h| <= 1, read with scale 4
    assert all(memory.abs().max() <= 300 for layer in state for memory in layer)


def tensors(masks: Masks) -> list[Tensor]:
    """Every mask that was drawn."""
    parts: list[Any] = [getattr(masks, name) for name in masks.__dataclass_fields__ if name != "layers"]
    parts += [getattr(layer, name) for layer in masks.layers for name in layer.__dataclass_fields__]
    parts = [part.values if isinstance(part, MemoryMask) else part for part in parts if part is not None]
    return [part.scale if isinstance(part, WeightNoise) else part for part in parts]  # type: ignore[misc]


def shared_masks(seed: int = 10) -> Tensor:
    """(1, 1, 1, H)"""
    return (
        torch.empty(1, 1, 1, H, dtype=torch.float64).bernoulli_(0.5, generator=torch.Generator().manual_seed(seed)) * 2
    )


def with_layer(masks: Masks, **fields: Tensor) -> Masks:
    return replace(masks, layers=tuple(replace(layer, **fields) for layer in masks.layers))


@pytest.mark.parametrize(
    ("cell", "location", "weight"),
    [
        (cell, *pair)
        for pair in [("recurrent", "weight_hh"), ("input", "weight_ih")]
        for cell in CELLS
        if pair[0] in CELLS[cell].places
    ],
)
def test_shared_is_weight_columns(cell: str, location: str, weight: str) -> None:
    model, none, mask = model_of(cell), masks_of(model_of(cell), plan({})), shared_masks()
    on_activation, on_weight = with_layer(none, **{location: mask}), with_layer(none, **{weight: mask[0]})
    torch.testing.assert_close(logits(model, on_activation), logits(model, on_weight), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["naive", "locked"])
def test_dropout_of_the_input_gate_is_that_of_the_update(kind: str) -> None:
    """c = f ⊙ c' + (m ⊙ i) ⊙ g, step by step (Semeniuta et al. 2016; `--drop_prob_igates` of the zoneout code)."""
    model = LanguageModel(ModelSettings("lstm", H, 1, None, False), V).double()
    model.initialize(0.8, torch.Generator().manual_seed(1))
    masks = draw_masks(one_rule("update", kind), model.sizes, T, B, torch.Generator().manual_seed(4), torch.float64)
    m = masks.layers[0].update
    assert m is not None
    layer, x, h, c = model.layers[0], model.embedding[tokens()], torch.zeros(B, H).double(), torch.zeros(B, H).double()
    read = []
    for t in range(T):
        gates = x[t] @ layer.weight_ih.T + h @ layer.weight_hh.T + layer.bias_ih + layer.bias_hh  # type: ignore[union-attr,operator]
        i, f, g, o = gates.chunk(4, 1)
        c = f.sigmoid() * c + (m.expand(T, B, H)[t] * i.sigmoid()) * g.tanh()
        h = o.sigmoid() * c.tanh()
        read.append(h)
    features, _ = model.features(tokens(), model.initial_state(B), masks)
    torch.testing.assert_close(features, torch.stack(read), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("cell", "location"),
    [(cell, place) for place in ("input", "recurrent") for cell in CELLS if place in CELLS[cell].places],
)
def test_locked_is_shared_at_batch_1(cell: str, location: str) -> None:
    model = model_of(cell)
    sizes, x = model.sizes, tokens()[:, :1]
    both = [
        draw_masks(one_rule(location, kind), sizes, T, 1, torch.Generator().manual_seed(11), torch.float64)
        for kind in ("locked", "shared")
    ]
    first, second = (model.features(x, model.initial_state(1), masks)[0] for masks in both)
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("cell", "location"),
    [(cell, place) for place in ("input", "recurrent") for cell in CELLS if place in CELLS[cell].places],
)
def test_locked_gates_with_equal_masks_is_locked(cell: str, location: str) -> None:
    model = model_of(cell)
    locked = masks_of(model, one_rule(location, "locked"))
    tied = getattr(locked.layers[0], location)  # (1, B, 1, H)
    none = masks_of(model, plan({}))
    one, many = (with_layer(none, **{location: each}) for each in (tied, tied.repeat(1, 1, model.sizes.gates, 1)))
    torch.testing.assert_close(logits(model, one), logits(model, many), rtol=1e-12, atol=1e-13)
