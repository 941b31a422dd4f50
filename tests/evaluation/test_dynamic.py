"""Dynamic evaluation against a loop with plain autograd that forms every update as the paper writes it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rnndrop.config.cells import CELLS
from rnndrop.config.compose import compose
from rnndrop.config.schema import DynamicSettings
from rnndrop.data import batching
from rnndrop.dropout.masks import evaluation_masks
from rnndrop.dropout.plan import plan
from rnndrop.evaluation.dynamic import dynamic_perplexity, gradient_rms
from rnndrop.evaluation.perplexity import perplexity, stream_nll
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel

V = 5
TOKENS = np.random.default_rng(0).integers(V, size=43)
TRAIN = np.random.default_rng(1).integers(V, size=101)


def model_of(tied: bool = False, cell: str = "lstm") -> LanguageModel:
    model = LanguageModel(ModelSettings(cell, 4, 1, None, tied), V)
    model.initialize(1.0, torch.Generator().manual_seed(1))
    return model.double()


def settings(**changes: Any) -> DynamicSettings:
    base = {"rule": "rms", "window": 5, "learning_rate": 0.01, "decay": 0.1, "epsilon": 1e-3, "batch_size": 4}
    return DynamicSettings(**{**base, **changes})


def segments(model: LanguageModel, tokens: np.ndarray, columns: int, window: int) -> Any:
    """(mean loss, its gradients, tokens) of each segment under the weights as they are then."""
    masks = evaluation_masks(plan({}), model.sizes, torch.Generator(), torch.float64)
    inputs, targets = map(torch.from_numpy, batching.columns(tokens, columns))
    state = model.initial_state(columns)
    for start in range(0, len(inputs), window):
        rows = slice(start, start + window)
        state = tuple(tuple(part.detach() for part in layer) for layer in state)
        features, state = model.features(inputs[rows], state, masks)
        weight, bias = model.decoder_weights(masks)
        logits = F.linear(features, weight, bias).flatten(0, 1)
        loss = F.cross_entropy(logits, targets[rows].flatten(), ignore_index=-1)
        model.zero_grad()
        loss.backward()
        found = [torch.zeros_like(each) if each.grad is None else each.grad.to_dense() for each in model.parameters()]
        yield loss.item(), found, int((targets[rows] >= 0).sum())


def naive(model: LanguageModel, at: DynamicSettings, rms: list[Tensor]) -> float:
    start = [weight.detach().clone() for weight in model.parameters()]
    mean = np.mean([r.mean().item() for r in rms if r.numel()])
    total = count = 0.0
    for loss, gradients, tokens in segments(model, TOKENS, 1, at.window):
        total, count = total + loss * tokens, count + tokens
        for weight, first, gradient, r in zip(model.parameters(), start, gradients, rms, strict=True):
            if at.rule == "sgd":
                change = at.decay * (first - weight) - at.learning_rate * gradient
            else:
                strength = (r / mean).clamp(max=1 / at.decay)
                change = at.decay * strength * (first - weight) - at.learning_rate * gradient / (r + at.epsilon)
            weight.data += change.detach()
    return math.exp(total / count)


def naive_rms(model: LanguageModel, at: DynamicSettings) -> list[Tensor]:
    squares = [
        [gradient.square() for gradient in gradients]
        for _, gradients, _ in segments(model, TRAIN, at.batch_size, at.window)
    ]
    return [torch.stack(each).mean(0).sqrt() for each in zip(*squares, strict=True)]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("changes", [{"rule": "sgd"}, {"rule": "sgd", "decay": 0.0}, {}, {"decay": 0.9}, {"window": 7}])
def test_against_the_naive_loop(tied: bool, changes: dict[str, Any]) -> None:
    at, model = settings(**changes), model_of(tied)
    rms = gradient_rms(model, plan({}), TRAIN, at)
    for ours, theirs in zip(rms, naive_rms(model_of(tied), at), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)
    measured = dynamic_perplexity(model, plan({}), TOKENS, at, rms)
    assert measured == pytest.approx(naive(model_of(tied), at, rms), rel=1e-10)


@pytest.mark.parametrize("cell", [name for name, each in CELLS.items() if each.linear])
def test_weights_that_a_linear_cell_leaves_empty_do_not_count(cell: str) -> None:
    at, model = settings(), model_of(cell=cell)
    rms = gradient_rms(model, plan({}), TRAIN, at)
    measured, filled = dynamic_perplexity(model, plan({}), TOKENS, at, rms), [r for r in rms if r.numel()]
    assert len(filled) < len(rms) and math.isfinite(measured)
    assert measured == pytest.approx(naive(model_of(cell=cell), at, rms), rel=1e-10)


@pytest.mark.parametrize("rule", ["sgd", "rms"])
def test_the_model_is_given_back_as_it_was(rule: str) -> None:
    model, other = model_of(), model_of()
    at = settings(rule=rule, learning_rate=0.1)
    rms = gradient_rms(model, plan({}), TRAIN, at)
    first, second = (dynamic_perplexity(model, plan({}), TOKENS, at, rms) for _ in range(2))
    assert first == second
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))


def test_without_learning_it_is_the_deterministic_perplexity() -> None:
    model = model_of()
    evaluation = compose([]).evaluation.model_copy(update={"batch_size": 1})
    plain = perplexity(stream_nll(model, plan({}), TOKENS, evaluation))
    measured = dynamic_perplexity(model, plan({}), TOKENS, settings(rule="sgd", learning_rate=1e-15))
    assert measured == pytest.approx(plain, rel=1e-10)


def test_a_segment_is_scored_before_it_is_learnt() -> None:
    """The bug that makes every score too good: one segment alone must have the deterministic perplexity."""
    model = model_of()
    evaluation = compose([]).evaluation.model_copy(update={"batch_size": 1})
    plain = perplexity(stream_nll(model, plan({}), TOKENS, evaluation))
    measured = dynamic_perplexity(model, plan({}), TOKENS, settings(rule="sgd", window=100, learning_rate=1.0))
    assert measured == pytest.approx(plain, rel=1e-12)


def test_it_adapts_to_what_repeats() -> None:
    model, tokens = model_of(), np.tile([0, 3, 1, 4, 2, 2], 40)
    evaluation = compose([]).evaluation.model_copy(update={"batch_size": 1})
    plain = perplexity(stream_nll(model, plan({}), tokens, evaluation))
    at = settings(rule="sgd", learning_rate=0.5, decay=0.001)
    assert dynamic_perplexity(model, plan({}), tokens, at) < 0.6 * plain


def test_a_rate_that_is_too_high_is_infinite_not_an_error() -> None:
    measured = dynamic_perplexity(model_of(), plan({}), TOKENS, settings(rule="sgd", learning_rate=1e6))
    assert measured > 1e3


@pytest.mark.parametrize("noise", ["concrete", "sparse", "bayes"])
@pytest.mark.parametrize("rule", ["sgd", "rms"])
def test_learned_noise_is_no_weight_that_learns(noise: str, rule: str) -> None:
    where = plan(
        {"weight_hh": {"kind": "dropconnect", "p": 0.01, "noise": noise}, "token": {"kind": "blank", "p": 0.1}}
    )
    tokens = np.random.default_rng(0).integers(11, size=60)
    model = LanguageModel(ModelSettings("lstm", 4, 1, None, False), 11).double()
    model.initialize(0.3, torch.Generator().manual_seed(1))
    settings = compose([f"evaluation.dynamic.rule={rule}"]).evaluation.dynamic
    rms = gradient_rms(model, plan({}), tokens, settings) if rule == "rms" else None
    plain = dynamic_perplexity(model, plan({}), tokens, settings, rms)
    model.hold(where)
    rms = gradient_rms(model, where, tokens, settings) if rule == "rms" else None
    assert dynamic_perplexity(model, where, tokens, settings, rms) == pytest.approx(plain, rel=1e-9)
