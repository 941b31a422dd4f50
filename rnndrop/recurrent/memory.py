"""How a mask acts on a memory (locations `cell` and `state`)."""

from __future__ import annotations

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
