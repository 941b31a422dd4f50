"""The decoder's softmax and the negative log-likelihood of the targets; a target of -1 is padding.

The logits of all tokens are never there at once: they are formed for a chunk of tokens that fits the cache, become
probabilities and then their own gradient in place, and what they give to the other gradients is taken before the next
chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rnndrop.ops.matmul import Rows, factor, linear, transposed

PADDING = -1

_CHUNK = {"cpu": 7 << 21, "other": 1 << 27}  # bytes of logits a chunk
_SURE = 1e-30  # a probability that lost nothing to underflow


def nll_sum(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    adversary: float = 0.0,
    rows: Tensor | None = None,
) -> Tensor:
    """Sum of -ln p(target), padding left out, for features (T, B, H), weight (V, H), bias (V,), targets (T, B).

    `adversary` lowers the logit of each target y by adversary · ‖w_y‖ · ‖h‖, the most that an addition to w_y alone of
    at most adversary · ‖w_y‖ can (adversarial softmax: Wang, Gong & Liu 2019). The addition counts as a constant.
    `rows` (V, ·) are the w_y where the weight has only those of their units that features keep.
    Of float32 or float64. The gradients are formed with the loss: a second way back raises RuntimeError.
    A weight (0, V) says, here as below, that the features are the logits (T, B, V).
    """
    if not len(weight):
        logits = wide(features.flatten(0, 1))
        return F.cross_entropy(logits, targets.flatten(), ignore_index=PADDING, reduction="sum")
    features, targets = features.flatten(0, 1), targets.flatten()  # (T·B, H), (T·B,)
    real = targets != PADDING
    if not real.all():
        features, targets = features[real], targets[real]
    loss: Tensor = _NLL.apply(features, weight, bias, targets, adversary, rows)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def token_nll(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """-ln p of each target (T, B), in nats; 0 at padding. Never differentiated."""
    if not len(weight):
        logits = wide(features.flatten(0, 1))
        nll = F.cross_entropy(logits, targets.flatten(), ignore_index=PADDING, reduction="none")
        return nll.view_as(targets)
    padding = targets == PADDING
    flat, to = factor(features.flatten(0, 1)), targets.masked_fill(padding, 0).flatten()
    weight = factor(weight)
    parts = [_of_targets(flat[rows], weight, bias, to[rows]) for rows in chunks_of(flat, weight)]
    return -torch.cat(parts).view_as(targets).masked_fill_(padding, 0)


@torch.no_grad()
def log_probabilities(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """ln p (N, V) of every type after each of the features (N, H). Never differentiated."""
    return wide(linear(features, weight, bias) if len(weight) else features).log_softmax(1)


class _NLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        adversary: float,
        whole: Tensor | None,
    ) -> Tensor:
        loss = features.new_zeros(())
        need_features, need_weight, need_bias = ctx.needs_input_grad[:3]
        to_features = torch.empty_like(features) if need_features else None
        features, weight = factor(features), factor(weight)
        chunks = list(chunks_of(features, weight))
        # The gradient of the weight, as (H, V) first where that is cheaper: in bf16 products need no transposed factor.
        by_feature = bool(chunks) and features.shape[1] < chunks[0].stop and features.dtype != torch.bfloat16
        to_weight = weight.new_zeros(weight.shape, dtype=bias.dtype) if need_weight and not chunks else None
        to_bias = torch.zeros_like(bias) if need_bias else None
        for rows in chunks:
            x, to = features[rows], targets[rows]
            of = weight if whole is None else whole
            margin = adversary * _lengths(x) * _lengths(of[to]) if adversary else None
            log_p, gradient = _gradient(x, weight, bias, to, margin)
            loss -= log_p.sum()
            if to_features is not None:
                to_features[rows] = linear(gradient, weight.t())
                if margin is not None:  # of which h/‖h‖ · margin/‖h‖ is the gradient by h
                    to_features[rows] += x * ((1 - log_p.exp()) * margin / _lengths(x).square()).unsqueeze(1)
            if need_weight:
                product = linear(transposed(x), gradient.t()) if by_feature else Rows(gradient).outer(x)
                to_weight = product if to_weight is None else to_weight.add_(product)
            if to_bias is not None:
                to_bias += gradient.sum(0)
        if to_weight is not None and by_feature:
            to_weight = transposed(to_weight)
        ctx.gradients = to_features, to_weight, to_bias
        return loss

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, loss: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of nll_sum were handed out by an earlier backward")
        gradients, ctx.gradients = ctx.gradients, None
        return *(None if part is None else part.mul_(loss) for part in gradients), None, None, None


def _gradient(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, margin: Tensor | None) -> tuple[Tensor, Tensor]:
    """For features x (N, H): ln p of the targets (N,), and the gradient of -ln p by the logits (N, V).

    The logits of the targets are lowered by `margin` (N,).
    """
    logits = _logits(x, weight, bias, targets, margin)
    p = torch.softmax(logits, 1, out=logits if logits.device.type == "cpu" else None)
    at = torch.arange(len(targets), device=targets.device), targets
    of_target = wide(p[at])
    log_p = of_target.log()
    if not bool((of_target > _SURE).all()):
        lost = of_target <= _SURE
        less = None if margin is None else margin[lost]
        log_p[lost] = _of_targets(x[lost], weight, bias, targets[lost], less)
    p[at] = (of_target - 1).to(p.dtype)  # scatter_ would copy all of a matrix in bf16
    return log_p, p


def _of_targets(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, margin: Tensor | None = None) -> Tensor:
    """For features x (N, H): ln p of the targets (N,), whose logits are lowered by `margin` (N,)."""
    return wide(_logits(x, weight, bias, targets, margin)).log_softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1)


def _logits(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, margin: Tensor | None) -> Tensor:
    """The logits (N, V) of features x (N, H), those of the targets lowered by `margin` (N,)."""
    logits = linear(x, weight, bias)
    if margin is not None:
        logits[torch.arange(len(targets), device=targets.device), targets] -= margin.to(logits.dtype)
    return logits


def _lengths(rows: Tensor) -> Tensor:
    """‖x‖ of each row x (N, I), and at least a little, by which one can divide."""
    lengths: Tensor = torch.linalg.vector_norm(wide(rows), dim=1)
    return lengths.clamp_min(1e-12)


def wide(x: Tensor) -> Tensor:
    """`x`, of float32 if it is of bf16."""
    return x.float() if x.dtype == torch.bfloat16 else x


def chunks_of(features: Tensor, weight: Tensor) -> Iterator[slice]:
    """Nearly equal slices of the rows of features (N, H), each with logits of a chunk, or as many as the weight has."""
    length, width = len(features), len(weight) * features.element_size()
    limit = max(_CHUNK["cpu" if features.device.type == "cpu" else "other"], weight.nbytes)
    parts = max(1, -(-length * width // limit))
    rows = max(1, -(-length // parts))
    return (slice(row, row + rows) for row in range(0, length, rows))
