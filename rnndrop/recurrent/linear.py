"""Layers of linear cells, whose memory is h = keep · h' + add with terms of x alone: one scan over the window.

The products of all steps are one, the terms of all steps are formed at once, and each mask inside the recurrence is a
change of the terms (`masked`), so that all of them keep the scan. Its derivative is a scan from the end (`scan`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnndrop.config.cells import CellSpec
from rnndrop.dropout.masks import LayerMasks
from rnndrop.ops.matmul import Rows
from rnndrop.recurrent.gate_product import gate_product
from rnndrop.recurrent.kernels import scan_backward, scan_forward
from rnndrop.recurrent.reference import masked_weights
from rnndrop.recurrent.weights import LayerWeights, Terms


def run_linear(
    cell: CellSpec, x: Tensor, memory: tuple[Tensor, ...], weights: LayerWeights, masks: LayerMasks, compiled: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer over x (T, B, I) from `memory`; return what is read of h (T, B, H) and the last memory.

    The result can be differentiated only once. `compiled`: numba takes the steps of the scan.
    """
    gates, weights = len(cell.gates), masked_weights(weights, masks, len(cell.gates))
    product = _Product.apply(x, weights.weight_ih, weights.bias_ih, masks.input, gates)  # type: ignore[no-untyped-call]
    terms = cell.equations.terms(product.view(*x.shape[:2], gates, -1), weights.weight_hh)
    keep, add, gain = masked(terms, masks)
    h = scan(keep.expand_as(add), add, memory[0], compiled)
    return h if gain is None else gain * h, (h[-1],)


def masked(terms: Terms, masks: LayerMasks) -> Terms:
    """The terms (T, B, H) of a linear cell under the masks on `update`, `cell` and `state`.

    A mask on the candidate multiplies what is added. What `rnndrop.recurrent.memory_masks.hold` makes of a memory is
    linear in it too: d · h' + (1-d) · (keep · h' + add) where it holds the previous one, 0 where it zeroes, and what is
    read is multiplied by the mask.
    """
    keep, add, gain = terms
    add = add if masks.update is None else masks.update * add
    given = [mask for mask in (masks.cell, masks.state) if mask is not None]
    for d in (mask.values for mask in given if mask.previous):
        keep, add = d + (1 - d) * keep, (1 - d) * add
    for m in (mask.values for mask in given if not mask.previous):
        keep, add, gain = (m != 0) * keep, (m != 0) * add, m if gain is None else m * gain
    return Terms(keep, add, gain)


def scan(keep: Tensor, add: Tensor, first: Tensor, compiled: bool) -> Tensor:
    """h (T, B, H) with h[t] = keep[t] · h[t-1] + add[t], h[-1] being `first` (B, H).

    `compiled` goes from step to step; else it takes log2 T passes over all steps, which is faster on a GPU. Neither
    divides, so that what is kept may come to 0.
    """
    return _Scan.apply(keep, add, first, compiled)  # type: ignore[no-any-return, no-untyped-call]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keep: Tensor, add: Tensor, first: Tensor, compiled: bool) -> Tensor:
        if keep.shape != add.shape or first.shape != add.shape[1:]:
            raise ValueError(f"a memory of {[*first.shape]} for terms of {[*keep.shape]} and {[*add.shape]}")
        keep, h = keep.contiguous(), add.new_empty(len(add) + 1, *first.shape)
        h[0] = first
        if compiled:
            scan_forward(_flat(keep), _flat(add.contiguous()), _flat(h))
        else:
            h[1:] = _doubled(keep, add, first)
        ctx.save_for_backward(keep, h)
        ctx.compiled = compiled
        return h[1:]

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, output: Tensor) -> tuple[Tensor | None, ...]:
        keep, h = ctx.saved_tensors
        if ctx.compiled:
            to_keep, to_add, to_first = torch.empty_like(keep), output.contiguous().clone(), torch.zeros_like(h[0])
            scan_backward(_flat(keep), _flat(h), _flat(to_keep), _flat(to_add), to_first.view(-1).numpy())
            return to_keep, to_add, to_first, None
        to_add = _doubled(keep.roll(-1, 0).flip(0), output.flip(0), torch.zeros_like(h[0])).flip(0)
        return to_add * h[:-1], to_add, to_add[0] * keep[0], None


def _flat(x: Tensor) -> Any:
    """(T, B, H) → (T, B·H), as compiled steps take it."""
    return x.flatten(1).numpy()


def _doubled(keep: Tensor, add: Tensor, first: Tensor) -> Tensor:
    """The scan by doubling (Hillis & Steele 1986): after each pass a step has the sum over twice as many before it."""
    keep, h = keep.clone(), add.clone()
    h[0] += keep[0] * first
    reach = 1
    while reach < len(h):
        h[reach:] = h[reach:] + keep[reach:] * h[:-reach]
        keep[reach:] = keep[reach:] * keep[:-reach]
        reach *= 2
    return h


class _Product(torch.autograd.Function):
    """The gates' inputs (T, B, G·H) of all steps, by the cheapest product for the mask on x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, count: int) -> Tensor:
        ctx.product = gate_product(weight, bias, mask, count)
        ctx.save_for_backward(x, weight)  # the weight too, to refuse one that was changed in between
        gates: Tensor = ctx.product.forward(x, None)
        return gates

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, _ = ctx.saved_tensors
        gradient = gradient.contiguous()
        return (
            ctx.product.backward(gradient, None) if ctx.needs_input_grad[0] else None,
            ctx.product.weight_gradient(Rows(gradient.flatten(0, 1)), x) if ctx.needs_input_grad[1] else None,
            gradient.sum((0, 1)),
            None,
            None,
        )
