"""One layer over a window as one function of autograd: masks are data, gradients are formed by hand.

The input's product is formed for all steps at once, the gates are overwritten in place, the local derivatives of all
steps are formed in one pass, and the gradient of each weight is one product at the end. What differs between cells
is in their `Trace` (rnndrop/recurrent/lstm.py, gru.py, rnn.py, slstm.py), what differs between masks is in
rnndrop/recurrent/gate_product.py. The truth to which it is held is rnndrop/recurrent/reference.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnndrop.config.cells import CellSpec
from rnndrop.dropout.masks import LayerMasks
from rnndrop.ops.kept_units import Kept, kept
from rnndrop.ops.matmul import Rows, factor
from rnndrop.recurrent.gate_product import StepProduct, gate_product
from rnndrop.recurrent.memory_masks import at, begin
from rnndrop.recurrent.reference import masked_weights
from rnndrop.recurrent.weights import LayerWeights


def run_sequence(
    cell: CellSpec, x: Tensor, memory: tuple[Tensor, ...], weights: LayerWeights, masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer over x (T, B, I) from `memory`; return what is read of h (T, B, H) and the last memory.

    The same as `reference.unroll`, but the result can be differentiated only once.
    """
    weights = masked_weights(weights, masks, len(cell.gates))
    output, *last = _Sequence.apply(cell, masks, x, *weights, *memory)  # type: ignore[no-untyped-call]
    return output, tuple(last)


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cell: CellSpec, masks: LayerMasks, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        weights, (memory, read) = LayerWeights(*rest[:4]), begin(rest[4:], cell.memories)
        if any(part.shape != (x.shape[1], weights.weight_hh.shape[1]) for part in (*memory, read)):
            raise ValueError(f"memories of {[*read.shape]} for x of {[*x.shape]}")  # compiled steps do not look
        gates, own = len(cell.gates), 1 if masks.recurrent is None else masks.recurrent.shape[2]
        if len(weights.weight_hh) != gates * weights.weight_hh.shape[1] or own not in (1, gates):
            raise ValueError(f"weights of {[*weights.weight_hh.shape]} and masks for {own} gates of {gates}")
        inside = cell.bias_inside
        bias = weights.bias_ih if inside else weights.bias_ih + weights.bias_hh
        from_input = gate_product(weights.weight_ih, bias, masks.input, gates)
        units = kept(masks.recurrent)  # which the products take; the steps apply the mask
        from_state = StepProduct(
            weights.weight_hh if units is None else units.columns(weights.weight_hh),
            weights.bias_hh if inside else None,
            own,
            x.shape[1],
        )

        trace = cell.equations.Trace(from_input.forward(x, None), memory, read, masks)
        for t, taken in enumerate(trace.fed[:-1].unbind()):
            trace.step(t, from_state.forward(taken))

        ctx.save_for_backward(x, *rest)  # also to refuse weights that were changed in between
        ctx.set_materialize_grads(False)
        ctx.trace, ctx.products, ctx.memories = trace, (from_input, from_state), cell.memories
        ctx.units, ctx.masks = units, masks
        return trace.reads[1:], *trace.memory()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, output: Tensor | None, *last: Tensor | None) -> tuple[Tensor | None, ...]:
        x = ctx.saved_tensors[0]
        needs_x, *needs = ctx.needs_input_grad[2:]
        from_input, from_state = ctx.products
        trace = ctx.trace
        if output is None:
            output = torch.zeros_like(trace.reads[1:])
        trace.begin(output.contiguous(), last)
        product = factor(torch.zeros_like(trace.fed[0], dtype=output.dtype))
        passes = _taken(ctx.masks.recurrent_gradient, ctx.units)
        for t in reversed(range(x.shape[0])):
            gates = trace.back(t, product)
            if t or any(needs[4:]):
                product = from_state.backward(gates)
                if passes is not None:
                    product.unflatten(0, (-1, x.shape[1])).mul_(at(passes, t))  # (G·B, K) as (G, B, K)
        memory: tuple[Tensor | None, ...] = (None,) * len(needs[4:])
        if any(needs[4:]):
            product = product.to(output.dtype)
            product = product if ctx.units is None else ctx.units.spread(product)
            if ctx.masks.recurrent is not None:
                by_gate = product.unflatten(0, (-1, x.shape[1]))  # (G·B, H) as (G, B, H)
                product = (by_gate * at(ctx.masks.recurrent, 0).transpose(0, 1)).sum(0)
            apart = len(memory) > ctx.memories
            memory = (*trace.first(torch.zeros_like(product)), product) if apart else trace.first(product)

        to_input, to_state = trace.from_input, trace.from_state
        rows_input = Rows(to_input.flatten(0, 1))  # (T·B, G·H)
        rows_state = rows_input if to_state is to_input else Rows(to_state.flatten(0, 1))
        weight_hh = from_state.weight_gradient(rows_state, trace.fed[:-1]) if needs[1] else None
        if weight_hh is not None and ctx.units is not None:
            weight_hh = ctx.units.spread(weight_hh)
        bias_ih = to_input.sum((0, 1)).to(x.dtype)
        return (
            None,
            None,
            from_input.backward(to_input, None) if needs_x else None,
            from_input.weight_gradient(rows_input, x) if needs[0] else None,
            weight_hh,
            bias_ih,
            bias_ih if to_state is to_input else to_state.sum((0, 1)).to(x.dtype),
            *memory,
        )


def _taken(mask: Tensor | None, units: Kept | None) -> Tensor | None:
    """A mask (T|1, B|1, H|1) on the units that products take."""
    return mask if mask is None or units is None or mask.shape[2] == 1 else mask.index_select(2, units.indices)
