"""How far two predictions of the same tokens are from each other: a measure on their logits, summed over the tokens.

As in `rnndrop.ops.nll`, the logits of all tokens are never there at once: a chunk of tokens is taken at a time, and
what it gives to the gradients is formed with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnndrop.ops.matmul import Rows, factor, linear
from rnndrop.ops.nll import PADDING, chunks_of, wide

Measure = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""From the logits (N, V) of both to the sum over tokens, and its gradients by both."""


def distance_sum(
    measure: str,
    one: tuple[Tensor, Tensor],
    other: tuple[Tensor, Tensor],
    bias: Tensor,
    targets: Tensor,
) -> Tensor:
    """Sum of one of `MEASURES` over the tokens, those left out whose target (T, B) is padding.

    `one` and `other` are features (T, B, H) and the decoder's weight (V, H), of which H may differ; the bias (V,) is
    that of both. The gradients, of both, are formed with the sum: a second way back raises RuntimeError.
    """
    real = targets.flatten() != PADDING
    flat = [features.flatten(0, 1) for features, _ in (one, other)]  # (T·B, H)
    if not real.all():
        flat = [features[real] for features in flat]
    distance: Tensor = _Distance.apply(MEASURES[measure], flat[0], one[1], flat[1], other[1], bias)  # type: ignore[no-untyped-call]
    return distance


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, measure: Measure, *tensors: Tensor) -> Tensor:
        *pairs, bias = tensors
        total = bias.new_zeros(())
        gradients = [torch.zeros_like(tensor) for tensor in tensors]
        x, weights = [factor(each) for each in pairs[::2]], [factor(each) for each in pairs[1::2]]
        for rows in chunks_of(x[0], weights[0]):
            logits = [wide(linear(each[rows], weight, bias)) for each, weight in zip(x, weights, strict=True)]
            value, *by_logits = measure(*logits)
            total += value
            for number, by in enumerate(by_logits):
                gradients[2 * number][rows] = linear(by, weights[number].t()).to(bias.dtype)
                gradients[2 * number + 1] += Rows(by).outer(x[number][rows])
                gradients[-1] += by.sum(0)
        ctx.gradients = gradients
        return total

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, distance: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of distance_sum were handed out by an earlier backward")
        gradients, ctx.gradients = ctx.gradients, None
        return None, *(part.mul_(distance) for part in gradients)


def _squares(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """‖z₁ - z₂‖² / V."""
    difference = one - other
    value = difference.square().sum() / one.shape[1]
    gradient = difference.mul_(2 / one.shape[1])
    return value, gradient, -gradient


def _divergence(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """½ (KL(p‖q) + KL(q‖p)) in nats, p and q the softmax of the logits."""
    ratio = one.log_softmax(1) - other.log_softmax(1)  # ln p/q
    p, q = one.softmax(1), other.softmax(1)
    of_p, of_q = (p * ratio).sum(1, keepdim=True), -(q * ratio).sum(1, keepdim=True)  # KL(p‖q), KL(q‖p): (N, 1)
    by_one = (p * (ratio - of_p) + p - q) / 2
    by_other = (q * (-ratio - of_q) + q - p) / 2
    return (of_p.sum() + of_q.sum()) / 2, by_one, by_other


MEASURES: dict[str, Measure] = {"mse": _squares, "kl": _divergence}
"""The mean over the word types of the squared difference of the logits; the symmetrical Kullback-Leibler divergence."""
