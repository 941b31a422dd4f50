"""The decoder's softmax and the negative log-likelihood of the targets; a target of -1 is padding.

The logits of all tokens are never there at once: they are formed for a chunk of tokens that fits the cache, turned into
probabilities in place, and what they give to the gradients is taken before the next chunk overwrites them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnndrop.product import OuterSum, linear

PADDING = -1

_CHUNK = {"cpu": 7 << 18, "other": 1 << 25}  # logits a chunk: 7 MiB of float32 on a CPU


def nll_sum(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Sum of -ln p(target) over features (T, B, H), weight (V, H), bias (V,), targets (T, B).

    Differentiable once: the gradients are formed with the loss.
    """
    features, targets = features.flatten(0, 1), targets.flatten()  # (T·B, H), (T·B,)
    real = targets != PADDING
    if not real.all():
        features, targets = features[real], targets[real]
    loss: Tensor = _NLL.apply(features, weight, bias, targets)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def token_nll(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """-ln p of each target (T, B), in nats; 0 at padding. Never differentiated."""
    flat, to = features.flatten(0, 1), targets.flatten()
    nll = torch.cat([_softmax(flat[rows], weight, bias, to[rows].clamp(min=0))[0] for rows in _chunks(flat, weight)])
    return nll.masked_fill_(to == PADDING, 0).view_as(targets)


class _NLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        loss = features.new_zeros(())
        need_features, need_weight, need_bias = ctx.needs_input_grad[:3]
        to_features = torch.empty_like(features) if need_features else None
        to_weight = OuterSum(weight, len(features)) if need_weight else None
        to_bias = torch.zeros_like(bias) if need_bias else None
        for rows in _chunks(features, weight):
            x, to = features[rows], targets[rows]
            nll, p = _softmax(x, weight, bias, to)
            loss += nll.sum()
            p.scatter_add_(1, to.unsqueeze(1), p.new_full((len(p), 1), -1.0))  # now the gradient of the logits
            if to_features is not None:
                to_features[rows] = linear(p, weight.t())
            if to_weight is not None:
                to_weight.add(p, x)
            if to_bias is not None:
                to_bias += torch.mv(p.t(), p.new_ones(len(p)))
        ctx.gradients = to_features, None if to_weight is None else to_weight.result(), to_bias
        return loss

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, loss: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of nll_sum were handed out by an earlier backward")
        gradients, ctx.gradients = ctx.gradients, None
        return *(None if part is None else part.mul_(loss) for part in gradients), None


def _softmax(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """-ln p of the targets (N,) and the probabilities (N, V) for features x (N, H)."""
    logits = linear(x, weight, bias)
    of_target = logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    top = logits.amax(1)
    p = torch.softmax(logits, 1, out=logits)
    # ln Σ exp: top - ln p(top), where p(top) is at least 1/V and cannot underflow
    return top - p.amax(1).log() - of_target, p


def _chunks(features: Tensor, weight: Tensor) -> Iterator[slice]:
    """Slices of the rows of features (N, H)."""
    size = _CHUNK["cpu" if features.device.type == "cpu" else "other"]
    rows = max(1, size // len(weight))
    return (slice(row, row + rows) for row in range(0, len(features), rows))
