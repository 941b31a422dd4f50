"""AR, TAR and the norm stabiliser against their formulas, term by term, and in the gradient of a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rnndrop.config.compose import compose
from rnndrop.data import batching
from rnndrop.dropout.masks import draw_masks
from rnndrop.dropout.plan import plan
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import nll_sum
from rnndrop.store.progress import RunObserver
from rnndrop.tasks.language_model import Windows
from rnndrop.training.regularizers import activation_penalty
from rnndrop.training.trainer import Training

T, B, H = 4, 3, 5
TOP = torch.randn(T, B, H, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_hand(top: torch.Tensor, mask: torch.Tensor, ar: float, tar: float) -> float:
    """Term by term; the mask (T, B, H) falls on AR alone."""
    squares = [(top[t, b, i] * mask[t, b, i]).item() ** 2 for t in range(T) for b in range(B) for i in range(H)]
    changes = [(top[t + 1, b, i] - top[t, b, i]).item() ** 2 for t in range(T - 1) for b in range(B) for i in range(H)]
    return ar * sum(squares) / len(squares) + tar * sum(changes) / len(changes)


@pytest.mark.parametrize(("ar", "tar"), [(2.0, 1.0), (2.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("shape", [None, (1, B, H), (T, B, H), (1, 1, H)])
def test_value(ar: float, tar: float, shape: tuple[int, ...] | None) -> None:
    mask = None if shape is None else torch.bernoulli(torch.full(shape, 0.5, dtype=torch.float64)) * 2
    full = torch.ones(T, B, H, dtype=torch.float64) if mask is None else mask.expand(T, B, H)
    assert activation_penalty(TOP, mask, ar, tar).item() == pytest.approx(by_hand(TOP, full, ar, tar), rel=1e-12)


def test_the_norm_stabiliser_term_by_term() -> None:
    lengths = [[sum(TOP[t, b, i].item() ** 2 for i in range(H)) ** 0.5 for b in range(B)] for t in range(T)]
    changes = [(lengths[t + 1][b] - lengths[t][b]) ** 2 for t in range(T - 1) for b in range(B)]
    mask = torch.zeros(1, B, H, dtype=torch.float64)  # h is as the layer gives it
    found = activation_penalty(TOP, mask, 0.0, 0.0, 50.0).item()
    assert found == pytest.approx(50 * sum(changes) / len(changes), rel=1e-12)


def test_a_state_of_zeros_has_a_gradient() -> None:
    top = torch.zeros(T, B, H, requires_grad=True)
    activation_penalty(top, None, 0.0, 0.0, 50.0).backward()
    assert top.grad is not None and not top.grad.any()


def test_a_window_of_one_step_has_no_change_over_time() -> None:
    penalty = activation_penalty(TOP[:1], None, 2.0, 1.0, 50.0)
    assert penalty.item() == pytest.approx(2 * TOP[:1].pow(2).mean().item())


@pytest.mark.parametrize("loss", ["mean", "sum_time"])
@pytest.mark.parametrize("kind", ["locked", "shared"])  # of shared the dropped units never reach the decoder
def test_it_is_added_to_the_loss_a_token(loss: str, kind: str) -> None:
    """One update of the trainer against the sum of the two parts, formed here; reported perplexity without it."""
    tokens = np.random.default_rng(0).integers(7, size=B * T + 1)
    rules = plan({"output": {"kind": kind, "p": 0.5}})
    changes: dict[str, Any] = {
        "epochs": 1, "batch_size": B, "window": T, "optimizer": "sgd", "clip": None, "learning_rate": 0.1,
        "ar": 2.0, "tar": 1.0, "norm_stabiliser": 5.0, "adversarial_softmax": 0.1, "loss": loss,
    }  # fmt: skip
    model, reference = (LanguageModel(ModelSettings("lstm", H, 1, None, False), 7) for _ in range(2))
    for each in (model, reference):
        each.initialize(0.5, torch.Generator().manual_seed(0))
    settings, generator = compose([]).trainer.model_copy(update=changes), torch.Generator().manual_seed(1)
    one = Training(model, rules, settings, Windows(model, rules, settings, tokens, generator), generator, "perplexity")
    one.run(lambda: 1.0, RunObserver())

    inputs, targets = map(torch.from_numpy, batching.columns(tokens, B))
    masks = draw_masks(rules, reference.sizes, T, B, torch.Generator().manual_seed(1))
    assert masks.output is not None
    features, _ = reference.features(inputs, reference.initial_state(B), masks)
    mean = nll_sum(features, *reference.decoder_weights(masks), targets) / (B * T)
    top, _ = reference.top(inputs, reference.initial_state(B), masks)
    lengths = top.square().sum(2).sqrt()
    assert reference.decoder is not None
    whole = top * masks.output, reference.decoder, reference.decoder_bias
    lowered = nll_sum(*whole, targets, 0.1) / (B * T)
    assert lowered > mean + 0.01
    objective = (
        lowered
        + 5 * (lengths[1:] - lengths[:-1]).square().mean()
        + 2 * (top * masks.output).square().mean()
        + (top[1:] - top[:-1]).square().mean()
    )
    ((T if loss == "sum_time" else 1) * objective).backward()
    for ours, weight in zip(model.parameters(), reference.parameters(), strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(ours.detach(), (weight - 0.1 * weight.grad).detach(), rtol=1e-5, atol=1e-6)
    assert one.history[0]["train_perplexity"] == pytest.approx(mean.exp().item(), rel=1e-6)
