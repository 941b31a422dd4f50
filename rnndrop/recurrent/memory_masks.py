"""How a mask acts on a memory (locations `cell` and `state`), and masks as compiled steps take them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnndrop.dropout.masks import MemoryMask
from rnndrop.ops.kept_units import kept
from rnndrop.ops.matmul import factor


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
    """The masks on one memory as compiled steps take them: d and m (T|1, B|1, H) of `hold`, each for all of its fill.

    Without a mask on it (`active` is false) the steps leave the memory alone.
    """

    active: bool
    d: np.ndarray
    m: np.ndarray

    @classmethod
    def of(cls, like: Tensor, *masks: MemoryMask | None) -> Hold:
        """The masks on a memory of a window such as `like` (T, B, H); what one of several holds is held."""
        given = [mask for mask in masks if mask is not None]
        d, m = like.new_zeros(1, 1, 1), like.new_ones(1, 1, 1)
        for mask in given:
            if mask.previous:
                d = 1 - (1 - d) * (1 - mask.values)
            else:
                m = m * mask.values
        return cls(bool(given), rows(d, like), rows(m, like))


class Feed(NamedTuple):
    """What recurrent products take of h, as compiled steps write it: `mask` (G, T|1, B|1, H) times what is read of h.

    G is 1 where all gates share a mask. `fed` is (T+1, G·B, K), rounded as factors are, with the K units whose indices
    are `taken` if `gathers`, else with all. If not `active`, what is read of h is taken as it is.
    """

    active: bool
    fed: np.ndarray
    mask: np.ndarray
    gathers: bool
    taken: np.ndarray


def feed(reads: Tensor, mask: Tensor | None) -> tuple[Tensor, Feed]:
    """What recurrent products take under a mask (T|1, B|1, G|1, H|1), its first row written, and how steps write it.

    Units that the mask drops for the whole batch and window are not taken.
    """
    units = kept(mask)
    by_gate = reads.new_ones(1, 1, 1, 1) if mask is None else mask.permute(2, 0, 1, 3)  # (G, T|1, B|1, H|1)
    taken, dtype = torch.arange(reads.shape[2]) if units is None else units.indices, factor(reads[0]).dtype
    active = mask is not None or dtype != reads.dtype
    steps, batch, _ = reads.shape
    fed = reads.new_empty(steps, len(by_gate) * batch, len(taken), dtype=dtype) if active else reads
    if active:
        fed[0] = (reads[0] * by_gate[:, 0]).flatten(0, 1)[:, taken]  # (G, B, H) → (G·B, K)
    return fed, Feed(active, array(fed), rows(by_gate, reads[1:]), units is not None, taken.numpy())


def rows(mask: Tensor, like: Tensor) -> np.ndarray:
    """A mask (…, T|1, B|1, H|1) with its rows written out, (…, T|1, B|1, H), as `rnndrop.recurrent.kernels` takes them.

    `like` is (T, B, H). Raises RuntimeError where the mask is for other sizes: compiled steps do not look.
    """
    *others, steps, batch, _ = mask.shape
    steps, batch = (whole if part > 1 else 1 for part, whole in zip((steps, batch), like.shape[:2], strict=True))
    return mask.expand(*others, steps, batch, like.shape[2]).contiguous().numpy()


def array(x: Tensor) -> np.ndarray:
    """A tensor as compiled steps take it: of bf16 the bits, for numpy has no such type."""
    return (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).numpy()


def gradients_of_gates(output: Tensor, gates: int) -> Tensor:
    """Room for those of a window, (T, B, G·H), for products; `output` is (T, B, H)."""
    return output.new_empty(*output.shape[:2], gates * output.shape[2], dtype=factor(output[0]).dtype)


def gradients_of_memory(output: Tensor, last: tuple[Tensor | None, ...]) -> list[Tensor]:
    """Those of the last memory, each (B, H), to be overwritten on the way back; `output` (T, B, H) is like them."""
    return [torch.zeros_like(output[0]) if each is None else each.contiguous().clone() for each in last]
