"""What noise makes of a weight."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.dropout.learned import pruned
from rnndrop.dropout.masks import WeightMask, WeightNoise


def noised(weight: Tensor, mask: WeightMask | None) -> Tensor:
    """A weight, (G, H, I) or (V, H), under its mask; differentiable."""
    if mask is None:
        return weight
    if not isinstance(mask, WeightNoise):
        return weight * mask
    if mask.log_variance is not None:
        return pruned(weight, mask.log_variance)
    if mask.start is not None:
        assert mask.scale is not None
        return mask.start + mask.scale * (weight - mask.start)
    if mask.scale is not None:
        weight = weight * (mask.scale if mask.smallest is None else _of_smallest(weight, mask.scale, mask.smallest))
    return weight if mask.shift is None else weight + mask.shift


def _of_smallest(weight: Tensor, scale: Tensor, share: float) -> Tensor:
    """The mask where a weight is among the smallest of those that enter its unit, 1 elsewhere (Gomez et al. 2019)."""
    size = weight.detach().abs()
    count = max(1, round(share * size.shape[-1]))
    bound = size.kthvalue(count, -1, keepdim=True).values  # (G, H, 1)
    return torch.where(size <= bound, scale, 1)
