"""One layer over a window as one function of autograd: masks are data, gradients are formed by hand.

The input's product is formed for all steps at once, the gates are overwritten in place, the local derivatives of all
steps are formed in one pass, and the gradient of each weight is one product at the end. What differs between cells
is in their `Trace` (rnndrop/recurrent/lstm.py, gru.py, rnn.py), what differs between masks is in
rnndrop/recurrent/gate_product.py. The truth to which it is held is rnndrop/recurrent/reference.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnndrop.config.cells import CellSpec
from rnndrop.dropout.masks import LayerMasks
from rnndrop.ops.matmul import factor
from rnndrop.recurrent.gate_product import DENSE, gate_product, product_kind
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
        inside = cell.bias_inside
        bias = weights.bias_ih if inside else weights.bias_ih + weights.bias_hh
        from_input = gate_product(weights.weight_ih, bias, masks.input, len(cell.gates))
        fed = masks.recurrent if product_kind(masks.recurrent) == DENSE else None  # the steps apply this mask
        from_state = gate_product(
            weights.weight_hh,
            weights.bias_hh if inside else None,
            masks.recurrent if fed is None else None,
            len(cell.gates),
        )
        from_state.pack(x.shape[1])

        trace = cell.equations.Trace(from_input.forward(x, None), memory, read, masks, fed)
        for t, taken in enumerate(trace.fed[:-1].unbind()):
            trace.step(t, from_state.forward(taken, t))

        ctx.save_for_backward(x, *rest)  # also to refuse weights that were changed in between
        ctx.set_materialize_grads(False)
        ctx.trace, ctx.products, ctx.memories = trace, (from_input, from_state), cell.memories
        ctx.first = None if fed is None else at(fed.squeeze(2), 0)  # the mask on what the first step takes
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
        product = factor(torch.zeros_like(output[0]))
        for t in reversed(range(x.shape[0])):
            gates = trace.back(t, product)
            if t or any(needs[4:]):
                product = from_state.backward(gates, t)
        memory: tuple[Tensor | None, ...] = (None,) * len(needs[4:])
        if any(needs[4:]):
            product = product.to(output.dtype)
            if ctx.first is not None:
                product = product * ctx.first
            apart = len(memory) > ctx.memories
            memory = (*trace.first(torch.zeros_like(product)), product) if apart else trace.first(product)

        to_input, to_state = trace.from_input, trace.from_state
        bias_ih = to_input.sum((0, 1)).to(x.dtype)
        return (
            None,
            None,
            from_input.backward(to_input, None) if needs_x else None,
            from_input.weight_gradient(to_input, x) if needs[0] else None,
            from_state.weight_gradient(to_state, trace.fed[:-1]) if needs[1] else None,
            bias_ih,
            bias_ih if to_state is to_input else to_state.sum((0, 1)).to(x.dtype),
            *memory,
        )
