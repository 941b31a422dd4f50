"""Noise on weights: added, learned, filled with the first weights, on the smallest alone; against the equations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rnndrop.dropout import learned
from rnndrop.dropout.masks import Masks, WeightNoise, draw_masks, evaluation_masks
from rnndrop.dropout.plan import Plan, plan
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.training.regularizers import divergence
from tests.dropout import reference

T, B, V, H = 4, 3, 7, 5
SPECIAL = [
    {"kind": "dropconnect", "p": 0.1, "noise": "additive"},
    {"kind": "weight_columns", "p": 0.1, "noise": "additive"},
    {"kind": "mixout", "p": 0.4},
    {"kind": "mixconnect", "p": 0.4},
    {"kind": "dropconnect", "p": 0.5, "smallest": 0.4},
    {"kind": "dropconnect", "p": 0.2, "noise": "concrete"},
    {"kind": "weight_columns", "p": 0.2, "noise": "concrete"},
    {"kind": "dropconnect", "p": 0.1, "noise": "sparse"},
    {"kind": "dropconnect", "p": 0.1, "noise": "bayes"},
]
LEARNED = [each for each in SPECIAL if each.get("noise") in ("concrete", "sparse", "bayes")]
places = pytest.mark.parametrize("location", ["weight_ih", "weight_hh", "weight_decoder"])


def model_of(settings: Plan, cell: str = "lstm", tie: bool = False) -> LanguageModel:
    """A model that has moved on since it was made."""
    model = LanguageModel(ModelSettings(cell, H, 2, None, tie), V).double()
    model.initialize(0.8, torch.Generator().manual_seed(1))
    model.hold(settings)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def tokens() -> Tensor:
    return torch.randint(V, (T, B), generator=torch.Generator().manual_seed(3))


def masks_of(model: LanguageModel, settings: Plan) -> Masks:
    return draw_masks(settings, model.sizes, T, B, torch.Generator().manual_seed(4), torch.float64, model.held)


def logits(model: LanguageModel, masks: Masks) -> Tensor:
    features, _ = model.features(tokens(), model.initial_state(B), masks)
    weight, bias = model.decoder_weights(masks)
    return features @ weight.T + bias


@places
@pytest.mark.parametrize("settings", SPECIAL, ids=str)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_outputs_and_gradients_equal_the_equations(cell: str, location: str, settings: dict[str, Any]) -> None:
    where = plan({location: settings})
    model = model_of(where, cell)
    ours, theirs = logits(model, masks_of(model, where)), reference.logits(model, tokens(), masks_of(model, where))[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    weights = torch.randn(T, B, V, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    parameters = list(model.parameters())
    for mine, plain in zip(
        torch.autograd.grad((ours * weights).sum(), parameters, materialize_grads=True),
        torch.autograd.grad((theirs * weights).sum(), parameters, materialize_grads=True),
        strict=True,
    ):
        assert (mine.to_dense() - plain).norm() <= 1e-9 * plain.norm()


def test_mixout_falls_back_to_the_first_weights_without_bias() -> None:
    """(m ⊙ W + (1-m) ⊙ W0 - p · W0) / (1-p) with m of 0 and 1, as its paper writes it."""
    settings = plan({"weight_hh": {"kind": "mixout", "p": 0.4}})
    model = model_of(settings)
    mask = masks_of(model, settings).layers[0].weight_hh
    assert isinstance(mask, WeightNoise) and mask.scale is not None
    m = (mask.scale != 0).double()
    p = 1 - 1 / float(mask.scale.max())
    w, w0 = model.matrices("weight_hh")["weight_hh_0"], model.first_weights["weight_hh_0"]
    expected = (m * w + (1 - m) * w0 - p * w0) / (1 - p)
    torch.testing.assert_close(mask.start + mask.scale * (w - mask.start), expected, rtol=1e-12, atol=1e-12)
    assert not torch.equal(w, w0)


@pytest.mark.parametrize(("kind", "same"), [("mixconnect", "dropconnect"), ("mixout", "weight_columns")])
def test_mixout_from_zero_is_dropconnect(kind: str, same: str) -> None:
    model = LanguageModel(ModelSettings("lstm", H, 1, None, False), V).double()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    mixout, dropconnect = (plan({"weight_hh": {"kind": each, "p": 0.4}}) for each in (kind, same))
    model.hold(mixout)
    model.initialize(0.8, torch.Generator().manual_seed(1))
    one, other = (logits(model, masks_of(model, settings)) for settings in (mixout, dropconnect))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
    assert not torch.equal(one, logits(model, masks_of(model, plan({}))))


@places
def test_only_the_smallest_weights_of_a_unit_are_dropped(location: str) -> None:
    settings = plan({location: {"kind": "dropconnect", "p": 0.999, "smallest": 0.4}})
    model = model_of(settings)
    masks = masks_of(model, settings)
    mask = masks.weight_decoder if location == "weight_decoder" else getattr(masks.layers[1], location)
    weight = model.matrices(location)[f"{location}_{0 if location == 'weight_decoder' else 1}"]
    left = reference.weight(weight, mask)
    from rnndrop.dropout.weight_noise import noised

    assert torch.equal(noised(weight, mask), left)
    for row, dropped in zip(weight.flatten(0, -2).tolist(), (left == 0).flatten(0, -2).tolist(), strict=True):
        order = np.argsort(np.abs(row))
        assert set(np.flatnonzero(dropped)) <= set(order[: round(0.4 * H)].tolist())
    assert (left == 0).double().mean() == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("settings", LEARNED, ids=str)
def test_what_is_learned_begins_at_p_and_draws_nothing(settings: dict[str, Any]) -> None:
    where = plan({"weight_hh": settings})
    plain, model = (LanguageModel(ModelSettings("lstm", H, 2, None, False), V) for _ in range(2))
    for each in (plain, model):
        each.initialize(0.8, torch.Generator().manual_seed(1))
    model.hold(where)
    assert all(torch.equal(p, model.get_parameter(name)) for name, p in plain.named_parameters())
    told = learned.summary(settings["noise"], model.matrices("weight_hh")["weight_hh_0"], model.noise["weight_hh_0"])
    assert told.get("p", told.get("sigma")) == pytest.approx(settings["p"], rel=1e-5)


@pytest.mark.parametrize("noise", ["sparse", "bayes"])
def test_frozen_it_is_the_constant_noise(noise: str) -> None:
    model = LanguageModel(ModelSettings("lstm", H, 1, None, False), V).double()
    model.initialize(0.8, torch.Generator().manual_seed(1))
    frozen, constant = (
        plan({"weight_hh": {"kind": "dropconnect", "p": 0.075, "noise": name}}) for name in (noise, "additive")
    )
    model.hold(frozen)
    model.noise.requires_grad_(False)
    one, other = (logits(model, masks_of(model, settings)) for settings in (frozen, constant))
    torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_concrete_is_its_formula_and_hard_as_the_temperature_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    parameter = torch.tensor(math.log(0.3 / 0.7), dtype=torch.float64)
    u = (
        torch.empty(4, H, H, dtype=torch.float64)
        .uniform_(1e-6, 1 - 1e-6, generator=torch.Generator().manual_seed(6))
        .numpy()
    )
    for temperature in (0.1, 1e-6):
        monkeypatch.setattr(learned, "TEMPERATURE", temperature)
        scale, shift = learned.draw("concrete", (4, H, H), parameter, torch.Generator().manual_seed(6))
        z = (math.log(0.3) - math.log(0.7) + np.log(u) - np.log(1 - u)) / temperature
        expected = (1 - 1 / (1 + np.exp(-np.clip(z, -700, 700)))) / 0.7
        assert scale is not None and shift is None
        np.testing.assert_allclose(scale.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert set(np.round(scale.flatten().tolist(), 9)) == {0.0, round(1 / 0.7, 9)}
    assert (scale == 0).double().mean() == pytest.approx(0.3, abs=0.15)


def test_the_divergence_of_concrete() -> None:
    """ℓ²/2 · ‖W‖²/(1-p) - K · H(p), K the entries of a mask (Gal, Hron & Kendall 2017, equation 3)."""
    weight = torch.randn(4, H, H, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    p = 0.3
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    expected = learned.LENGTH_SCALE**2 / 2 * float((weight**2).sum()) / (1 - p) - 100 * entropy
    found = learned.divergence("concrete", weight, torch.tensor(math.log(p / (1 - p)), dtype=torch.float64), None, 100)
    assert float(found) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5, 1.0, 3.0, 20.0, 500.0])
def test_the_divergence_of_sparse_is_that_of_the_log_uniform_prior(alpha: float) -> None:
    """E ln|1 + √α ε| - ½ ln α + (γ + ln 2)/2, integrated over ε; the fit that is used is within 0.01 of it."""
    epsilon = np.linspace(-12, 12, 2_000_001)
    density = np.exp(-(epsilon**2) / 2) / math.sqrt(2 * math.pi)
    inner = np.log(np.maximum(np.abs(1 + math.sqrt(alpha) * epsilon), 1e-300))
    integral = float(np.sum(density * inner) * (epsilon[1] - epsilon[0]))
    expected = integral - 0.5 * math.log(alpha) + (0.5772156649 + math.log(2)) / 2
    weight = torch.tensor([[2.0]], dtype=torch.float64)
    found = learned.divergence("sparse", weight, torch.log(alpha * weight**2), None, 1)
    assert float(found) == pytest.approx(expected, abs=0.015)


def test_the_divergence_of_bayes_is_its_estimate_by_one_sample() -> None:
    generator = torch.Generator().manual_seed(8)
    weight = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    rho = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    shift = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    share, wide, narrow = 0.25, math.exp(-1), math.exp(-7)

    def normal(x: float, s: float) -> float:
        return math.exp(-(x**2) / (2 * s * s)) / (s * math.sqrt(2 * math.pi))

    total = 0.0
    for w, r, e in zip(weight.flatten().tolist(), rho.flatten().tolist(), shift.flatten().tolist(), strict=True):
        s = math.log1p(math.exp(r))
        prior = share * normal(w + e, wide) + (1 - share) * normal(w + e, narrow)
        total += -(e**2) / (2 * s * s) - math.log(s * math.sqrt(2 * math.pi)) - math.log(prior)
    found = learned.divergence("bayes", weight, rho, shift, 6)
    assert float(found) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("settings", LEARNED, ids=str)
@places
def test_the_divergence_of_a_model_is_the_sum_over_its_matrices(location: str, settings: dict[str, Any]) -> None:
    where = plan({location: settings})
    model = model_of(where)
    masks = masks_of(model, where)
    total = 0.0
    for depth, (name, weight) in enumerate(model.matrices(location).items()):
        mask = masks.weight_decoder if location == "weight_decoder" else getattr(masks.layers[depth], location)
        part = mask.scale if mask.shift is None else mask.shift
        own = learned.divergence(settings["noise"], weight, model.noise[name], mask.shift, part.numel())
        total += own.item()
    found = divergence(model, where, masks)
    assert isinstance(found, Tensor) and found.item() == pytest.approx(total, rel=1e-6, abs=1e-6)
    assert divergence(model, plan({}), masks) == 0.0


def test_sparse_weights_that_are_mostly_noise_are_left_out_at_evaluation() -> None:
    where = plan({"weight_hh": {"kind": "dropconnect", "p": 0.4, "noise": "sparse"}})
    model = model_of(where)
    masks = evaluation_masks(where, model.sizes, torch.Generator(), torch.float64, model.held)
    found = logits(model, masks)
    left = 0.0
    with torch.no_grad():
        for name, weight in model.matrices("weight_hh").items():
            keep = model.noise[name] - 2 * torch.log(weight.abs() + 1e-8) < 3
            told = learned.summary("sparse", weight, model.noise[name])
            assert told["left"] == pytest.approx(float(keep.double().mean()))
            left += told["left"]
            weight *= keep
    assert 0 < left < 2
    plain = draw_masks(plan({}), model.sizes, T, B, torch.Generator(), torch.float64)
    torch.testing.assert_close(found, logits(model, plain), rtol=1e-12, atol=1e-13)


def test_weight_decay_leaves_the_strength_of_noise_alone() -> None:
    from rnndrop.config.compose import compose
    from rnndrop.training.optimizer import Update

    config = compose(["dropout=concrete", "trainer.weight_decay=0.1"])
    model = LanguageModel(ModelSettings("lstm", H, 1, None, False), V)
    model.initialize(0.5, torch.Generator().manual_seed(1))
    model.hold(config.plan)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    Update(model, config.trainer)()
    for name, each in model.named_parameters():
        assert torch.equal(each, before[name]) if name.startswith("noise.") else not torch.equal(each, before[name])
