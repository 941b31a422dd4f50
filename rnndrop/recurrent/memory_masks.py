"""How a mask acts on a memory (locations `cell` and `state`)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rnndrop.dropout.masks import MemoryMask


def hold(new: Tensor, previous: Tensor, *masks: MemoryMask | None) -> tuple[Tensor, Tensor]:
    """Apply the masks to a new memory; return what is kept for the next step and what is read now, both (B, H).

    Fill "previous": d·previous + (1-d)·new, without scale (zoneout, Krueger et al. 2017).
    Fill "zero": what the mask zeroes is zeroed in what is kept too, m·kept is read. So no scale is carried, which
    would compound as (1/(1-p))^t. It acts after fill "previous": a held value is read with the scale of a new one.
    """
    given = [mask for mask in masks if mask is not None]
    kept = new
    for d in (mask.values for mask in given if mask.previous):
        kept = d * previous + (1 - d) * kept
    read = kept
    for m in (mask.values for mask in given if not mask.previous):
        kept, read = (m != 0) * kept, m * read
    return kept, read


def begin(memory: tuple[Tensor, ...], memories: int) -> tuple[tuple[Tensor, ...], Tensor]:
    """The kept memories and what the first step reads of h, from `memories` of them (B, H), h first.

    One more of them is what was read of h last: what goes on where a window ended reads it as it stood. Else h is read.
    """
    return memory[:memories], memory[memories] if len(memory) > memories else memory[0]


def at(mask: Tensor, t: int) -> Tensor:
    """Step `t` of a mask (T|1, …)."""
    return mask[t if mask.shape[0] > 1 else 0]


class Hold(NamedTuple):
    """What `hold` does, as coefficients (T|1, B|1, H|1).

    kept = keep·new + carry·previous        read = show·new + recall·previous
    """

    keep: Tensor
    carry: Tensor
    show: Tensor
    recall: Tensor

    @classmethod
    def of(cls, *masks: MemoryMask | None) -> Hold | None:
        """The coefficients of `masks`; None where there is no mask.

        `hold` is linear: they are what it makes of a new memory of 1 and of a previous one of 1.
        """
        if all(mask is None for mask in masks):
            return None
        like = next(mask.values for mask in masks if mask is not None)
        one, zero = like.new_ones(1, 1, 1), like.new_zeros(1, 1, 1)
        keep, show = hold(one, zero, *masks)
        carry, recall = hold(zero, one, *masks)
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
