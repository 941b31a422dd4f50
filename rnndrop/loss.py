"""The decoder's softmax and the negative log-likelihood of the targets; a target of -1 is padding."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PADDING = -1


def nll_sum(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Sum of -ln p(target) over features (T, B, H), weight (V, H), bias (V,), targets (T, B); differentiable."""
    logits = F.linear(features.flatten(0, 1), weight, bias)  # (T·B, V)
    return F.cross_entropy(logits, targets.flatten(), ignore_index=PADDING, reduction="sum")


@torch.no_grad()
def token_nll(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """-ln p of each target (T, B), in nats; 0 at padding. Never differentiated."""
    logits = F.linear(features.flatten(0, 1), weight, bias)  # (T·B, V)
    nll = F.cross_entropy(logits, targets.flatten(), ignore_index=PADDING, reduction="none")
    return nll.view_as(targets)
