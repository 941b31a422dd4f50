"""How a mask acts on a memory (locations `cell` and `state`)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rnndrop.dropout.noise import MemoryMask


def hold(kept: Tensor, read: Tensor, previous: Tensor, mask: MemoryMask | None) -> tuple[Tensor, Tensor]:
    """Apply `mask` to a new memory; return what is kept for the next step and what is read now, both (B, H).

    Fill "zero": what the mask zeroes is zeroed in the memory too; its scale acts only where the memory is read,
    so that it does not compound as (1/(1-p))^t over a carried memory (RNNDrop, Moon et al. 2015).
    Fill "previous": d·previous + (1-d)·new, without scale (zoneout, Krueger et al. 2017).
    """
    if mask is None:
        return kept, read
    if mask.previous:
        d = mask.values
        return d * previous + (1 - d) * kept, d * previous + (1 - d) * read
    return (mask.values != 0) * kept, mask.values * read


def at(mask: Tensor, t: int) -> Tensor:
    """Step `t` of a mask (T|1, …)."""
    return mask[t if mask.shape[0] > 1 else 0]


class Hold(NamedTuple):
    """What `hold` does with one mask after another, as coefficients (T|1, B|1, H|1).

    kept = keep·new + carry·previous        read = show·new + recall·previous
    """

    keep: Tensor
    carry: Tensor
    show: Tensor
    recall: Tensor

    @classmethod
    def of(cls, *masks: MemoryMask | None) -> Hold | None:
        """The coefficients of `masks` in their order; None where there is no mask.

        `hold` is linear: they are what it makes of a new memory of 1 and of a previous one of 1.
        """
        if all(mask is None for mask in masks):
            return None
        like = next(mask.values for mask in masks if mask is not None)
        one, zero = like.new_ones(1, 1, 1), like.new_zeros(1, 1, 1)
        keep, show, carry, recall = one, one, zero, zero
        for mask in masks:
            keep, show = hold(keep, show, zero, mask)
            carry, recall = hold(carry, recall, one, mask)
        return cls(keep, carry, show, recall)

    def at(self, t: int) -> Hold:
        """The coefficients (B|1, H|1) of step `t`."""
        return Hold(*(at(part, t) for part in self))

    def forward(self, new: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """What is kept and what is read."""
        return (
            torch.addcmul(self.carry * previous, self.keep, new),
            torch.addcmul(self.recall * previous, self.show, new),
        )

    def backward(self, kept: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        """From the gradients of what is kept and read to those of the new and of the previous memory."""
        return (
            torch.addcmul(self.keep * kept, self.show, read),
            torch.addcmul(self.carry * kept, self.recall, read),
        )
