"""Masks that the whole batch and window share: what they drop is left out of the arithmetic."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Kept(NamedTuple):
    """The features that a mask keeps, of `width`: their indices (K,) and the mask's values there (K,)."""

    indices: Tensor
    scale: Tensor
    width: int

    def select(self, x: Tensor) -> Tensor:
        """The kept features (…, K) of x (…, width), without the scale."""
        return x.index_select(-1, self.indices)

    def columns(self, weight: Tensor) -> Tensor:
        """The columns (O, K) of a weight (O, width) that belong to `select(x)`, with the scale; differentiable."""
        columns: Tensor = _Columns.apply(weight, self)  # type: ignore[no-untyped-call]
        return columns

    def spread(self, gradient: Tensor) -> Tensor:
        """The gradient (O, width) of a weight from that of its columns (O, K), which is overwritten."""
        gradient *= self.scale
        return gradient.new_zeros(len(gradient), self.width).index_add_(1, self.indices, gradient)


def kept(mask: Tensor | None) -> Kept | None:
    """What a mask (…, width) keeps, if it varies over features alone and drops some of them."""
    if mask is None or mask.numel() != mask.shape[-1] or mask.shape[-1] == 1:
        return None
    values = mask.flatten()
    indices = values.nonzero().squeeze(1)
    return None if len(indices) == len(values) else Kept(indices, values[indices], len(values))


class _Columns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, units: Kept) -> Tensor:
        ctx.units = units
        return units.select(weight).mul_(units.scale)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.units.spread(gradient.clone()), None
