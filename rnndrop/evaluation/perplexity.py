"""Perplexity of a token stream under a model, with carried state; every token after the first counts once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnndrop.config.schema import EvaluationSettings
from rnndrop.data import batching
from rnndrop.dropout.masks import evaluation_masks
from rnndrop.dropout.plan import Plan
from rnndrop.evaluation.reading import windows
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import token_nll

Measured = tuple[dict[str, Any], dict[str, float]]
"""What a way of evaluating comes to: its settings, and the perplexity of each split."""


def perplexity(nll: np.ndarray) -> float:
    """exp of the mean negative log-likelihood (nats) of tokens."""
    mean = float(nll.mean())
    return math.exp(mean) if mean < 700 else math.inf


def mean_nll(nll: np.ndarray) -> np.ndarray:
    """From -ln p (M, N) of M models at the tokens that came to that of the mean of their p (N,), of the same type.

    A mean of distributions adds up to 1, so no other probabilities are needed.
    """
    mean: np.ndarray = math.log(len(nll)) - np.logaddexp.reduce(-nll.astype(np.float64), axis=0)
    return mean.astype(nll.dtype)


def tempered(features: Tensor, weight: Tensor, bias: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """The same with the logits, features (…, H) · weight (V, H) + bias (V,), divided by a temperature."""
    return features / temperature, weight, bias / temperature


@torch.no_grad()
def stream_nll(
    model: LanguageModel, plan: Plan, tokens: np.ndarray, settings: EvaluationSettings, temperature: float = 1.0
) -> np.ndarray:
    """-ln p (nats) of each token after the first, in the stream's order, under deterministic evaluation."""
    device = model.device
    masks = evaluation_masks(plan, model.sizes, torch.Generator(device), model.dtype, model.held)
    all_inputs, all_targets = batching.columns(tokens, min(settings.batch_size, len(tokens) - 1))
    state = model.initial_state(all_inputs.shape[1])
    parts = []
    for inputs, targets in windows(all_inputs, all_targets, settings.window):
        features, state = model.features(torch.from_numpy(inputs).to(device), state, masks)
        decoder = tempered(features, *model.decoder_weights(masks), temperature)
        parts.append(token_nll(*decoder, torch.from_numpy(targets).to(device)).cpu().numpy())
    nll = np.concatenate(parts)  # (L, B)
    scored: np.ndarray = nll.T[all_targets.T != batching.IGNORED]
    return scored
