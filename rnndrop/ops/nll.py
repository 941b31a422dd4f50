"""The decoder's softmax and the negative log-likelihood of the targets; a target of -1 is padding.

The logits of all tokens are never there at once: they are formed for a chunk of tokens that fits the cache, turned into
exponentials in place, and what they give to the gradients is taken before the next chunk overwrites them. They lie
with the words first, (V, N), as the products of the gradients want them, and are never divided by their sums: the
few features are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnndrop.ops.matmul import linear, outer

PADDING = -1

_CHUNK = {"cpu": 7 << 19, "other": 1 << 25}  # logits a chunk: 14 MiB of float32 on a CPU
_BLOCK = {"cpu": 1 << 17, "other": 1 << 25}  # logits that become exponentials at a time: what a core's own cache holds
_PLAIN = 1e-20, 1e30  # sums of exponentials that lost nothing, though no maximum was subtracted


def nll_sum(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Sum of -ln p(target), padding left out, for features (T, B, H), weight (V, H), bias (V,), targets (T, B).

    Of float32 or float64. The gradients are formed with the loss: a second way back raises RuntimeError.
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
    padding = targets == PADDING
    flat, to = features.flatten(0, 1), targets.masked_fill(padding, 0).flatten()
    parts = [_exponentials(flat[rows], weight, bias, to[rows])[0] for rows in _chunks(flat, weight)]
    return torch.cat(parts).view_as(targets).masked_fill_(padding, 0)


class _NLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        loss = features.new_zeros(())
        need_features, need_weight, need_bias = ctx.needs_input_grad[:3]
        to_features = torch.empty_like(features) if need_features else None
        to_weight = None if not need_weight or len(features) else torch.zeros_like(weight)
        to_bias = torch.zeros_like(bias) if need_bias else None
        for rows in _chunks(features, weight):
            x, to = features[rows], targets[rows]
            nll, e, sums = _exponentials(x, weight, bias, to)
            loss += nll.sum()
            e[to, torch.arange(len(to), device=to.device)] -= sums  # over the sums: the gradient of the logits
            if to_features is not None:
                torch.div(outer(e, weight), sums.unsqueeze(1), out=to_features[rows])
            if need_weight:
                product = linear(e, (x / sums.unsqueeze(1)).t())
                to_weight = product if to_weight is None else to_weight.add_(product)
            if to_bias is not None:
                to_bias += torch.mv(e, 1 / sums)
        ctx.gradients = to_features, to_weight, to_bias
        return loss

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, loss: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of nll_sum were handed out by an earlier backward")
        gradients, ctx.gradients = ctx.gradients, None
        return *(None if part is None else part.mul_(loss) for part in gradients), None


def _exponentials(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For features x (N, H): -ln p of the targets (N,), exp(logits) (V, N) up to a factor a token, and their sums (N,).

    The largest logit is subtracted only where the exponentials would be too large or too small without.
    """
    for shifted in (False, True):
        logits = linear(weight, x)  # (V, N), without the bias
        of_target = logits.gather(0, targets.unsqueeze(0)).squeeze(0) + bias[targets]
        largest = (logits + bias.unsqueeze(1)).amax(0) if shifted else torch.zeros_like(of_target)
        sums = torch.zeros_like(of_target)
        for words in _slices(logits.shape[0], logits.shape[1], _BLOCK, logits):
            block = logits[words].add_(bias[words].unsqueeze(1))
            sums += (block.sub_(largest) if shifted else block).exp_().sum(0)
        if shifted or bool(((sums > _PLAIN[0]) & (sums < _PLAIN[1])).all()):
            break
    return largest + sums.log() - of_target, logits, sums


def _chunks(features: Tensor, weight: Tensor) -> Iterator[slice]:
    """Slices of the rows of features (N, H), each with logits of a chunk."""
    return _slices(len(features), len(weight), _CHUNK, features)


def _slices(length: int, width: int, limits: dict[str, int], like: Tensor) -> Iterator[slice]:
    """Nearly equal slices of `length` rows with `width` elements, for the limit of the device of `like`."""
    limit = limits["cpu" if like.device.type == "cpu" else "other"]
    parts = max(1, -(-length * width // limit))
    rows = max(1, -(-length // parts))
    return (slice(row, row + rows) for row in range(0, length, rows))
