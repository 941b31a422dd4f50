"""Masks that the whole batch and window share: what they drop is left out of the arithmetic."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Kept(NamedTuple):
    """The features that a mask keeps, of `width`: their indices (K,) and the mask's values there (K,)."""

    indices: Tensor
    scale: Tensor
    width: int

    def select(self, x: Tensor) -> Tensor:
        """The kept features (…, K) of x (…, width), masked."""
        return x.index_select(-1, self.indices) * self.scale

    def columns(self, weight: Tensor) -> Tensor:
        """The columns (O, K) of a weight (O, width) that `select(x)` meets; differentiable."""
        return weight.index_select(-1, self.indices)

    def spread(self, columns: Tensor) -> Tensor:
        """What `columns` (…, K) are the kept part of (…, width), zero elsewhere."""
        return columns.new_zeros(*columns.shape[:-1], self.width).index_add_(-1, self.indices, columns)


def kept(mask: Tensor | None) -> Kept | None:
    """What a mask (…, width) keeps, if it varies over features alone and drops some of them."""
    if mask is None or mask.numel() != mask.shape[-1] or mask.shape[-1] == 1:
        return None
    values = mask.flatten()
    indices = values.nonzero().squeeze(1)
    return None if len(indices) == len(values) else Kept(indices, values[indices], len(values))
