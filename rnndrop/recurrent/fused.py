"""One layer over a window on a GPU: a step's pointwise operations are one kernel, in each direction.

`torch.compile` makes both kernels of the cell's own `step`, the second by differentiating it, so every cell and every
mask has them; the products stay with the library. Where nothing can be compiled, the same code runs as it stands.
Held to rnndrop/recurrent/reference.py as rnndrop/recurrent/sequence.py is, which is the faster one on a CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnndrop.config.cells import CellSpec
from rnndrop.dropout.masks import LayerMasks
from rnndrop.ops.allocator import out_of_memory
from rnndrop.ops.matmul import Rows
from rnndrop.recurrent.gate_product import gate_product
from rnndrop.recurrent.memory_masks import begin
from rnndrop.recurrent.reference import at_step, masked_weights
from rnndrop.recurrent.weights import LayerWeights

log = logging.getLogger("rnndrop")

_STRUCTURES = 64  # a cell's step is compiled anew for each combination of masks, up to so many

Step = Callable[..., Any]


def run_fused(
    cell: CellSpec, x: Tensor, memory: tuple[Tensor, ...], weights: LayerWeights, masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer over x (T, B, I) from `memory`; return what is read of h (T, B, H) and the last memory.

    The same as `reference.unroll`, but the result can be differentiated only once.
    """
    weights = masked_weights(weights, masks, len(cell.gates))
    output, *last = _Fused.apply(cell, masks, x, *weights, *memory)  # type: ignore[no-untyped-call]
    return output, tuple(last)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cell: Any, masks: LayerMasks, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        weights, (memory, read) = LayerWeights(*rest[:4]), begin(rest[4:], cell.memories)
        from_x = gate_product(weights.weight_ih, weights.bias_ih, masks.input, len(cell.gates))
        from_h = gate_product(weights.weight_hh, weights.bias_hh, masks.recurrent, len(cell.gates))
        from_h.pack(x.shape[1])
        by_x = _by_gate(from_x.forward(x, None), cell).unbind()  # each (B, G, H)
        by_h, memories, reads = [], [memory], [read]
        forward, _ = _steps(cell)
        for t in range(len(x)):
            by_h.append(_by_gate(from_h.forward(reads[t], t), cell))
            given = (by_x[t], by_h[t], *memory)
            before = [part._version for part in given]
            read, memory = forward(by_x[t], by_h[t], memory, at_step(masks, t))
            if [part._version for part in given] != before:  # the way back begins with them
                raise ValueError(
                    f"model.cell={cell.name}: its step changes what it is given in place. Make new tensors."
                )
            reads.append(read)
            memories.append(memory)
        ctx.save_for_backward(x, *rest)  # also to refuse weights that were changed in between
        ctx.set_materialize_grads(False)
        ctx.cell, ctx.masks, ctx.products, ctx.steps = cell, masks, (from_x, from_h), (by_x, by_h, memories, reads)
        return torch.stack(reads[1:]), *(part.clone() for part in memory)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, output: Tensor | None, *last: Tensor | None) -> tuple[Tensor | None, ...]:
        x = ctx.saved_tensors[0]
        needs_x, *needs = ctx.needs_input_grad[2:]
        cell, (from_x, from_h), (by_x, by_h, memories, reads) = ctx.cell, ctx.products, ctx.steps
        outputs = [torch.zeros_like(read) for read in reads[1:]] if output is None else output.unbind()
        memory = tuple(torch.zeros_like(m) if d is None else d for m, d in zip(memories[-1], last, strict=True))
        read = outputs[-1]
        to_x, to_h = [], []
        _, backward = _steps(cell)
        for t in reversed(range(len(x))):
            masks = at_step(ctx.masks, t)
            d_x, d_h, memory = backward(by_x[t], by_h[t], memories[t], masks, read, memory)
            to_x.append(d_x.flatten(1))
            to_h.append(d_h.flatten(1))
            product = from_h.backward(to_h[-1], t)
            if masks.recurrent_gradient is not None:
                product = product * masks.recurrent_gradient
            read = outputs[t - 1] + product if t else product
        gates_x, gates_h = torch.stack(to_x[::-1]), torch.stack(to_h[::-1])  # (T, B, G·H)
        return (
            None,
            None,
            from_x.backward(gates_x, None) if needs_x else None,
            from_x.weight_gradient(Rows(gates_x.flatten(0, 1)), x) if needs[0] else None,
            from_h.weight_gradient(Rows(gates_h.flatten(0, 1)), torch.stack(reads[:-1])) if needs[1] else None,
            gates_x.sum((0, 1)),
            gates_h.sum((0, 1)),
            *((*memory, read) if len(needs) > 4 + cell.memories else (memory[0] + read, *memory[1:])),
        )


def _by_gate(gates: Tensor, cell: CellSpec) -> Tensor:
    """(…, G·H) → (…, G, H)."""
    return gates.view(*gates.shape[:-1], len(cell.gates), -1)


@cache
def _steps(cell: Any) -> tuple[Step, Step]:
    """A cell's step, and its gradient from those of what is read and kept; compiled."""

    step = cell.equations.step

    def backward(by_x: Tensor, by_h: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks, *gradients: Any) -> Any:
        def forward(*inputs: Any) -> Any:
            return step(*inputs, masks)

        pull = torch.func.vjp(forward, by_x, by_h, memory)[1]
        return pull(gradients)

    return _compiled(step), _compiled(backward)


def _compiled(function: Step) -> Step:
    """`function`, compiled at its first call; as it stands from then on if that fails.

    Its limit is its own: that of `torch._dynamo.config` is not known in the thread in which a GPU's way back runs.
    """
    compile_: Any = torch.compile  # whose overloads leave out what is asked for here
    chosen = compile_(function, fullgraph=True, recompile_limit=_STRUCTURES, isolate_recompiles=True)

    def call(*arguments: Any) -> Any:
        nonlocal chosen
        try:
            return chosen(*arguments)
        except Exception as error:
            if chosen is function or out_of_memory(error):
                raise
            log.warning("torch.compile failed, going on without: %s", str(error).partition("\n")[0])
            chosen = function
            return function(*arguments)

    return call
