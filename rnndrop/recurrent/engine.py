"""One layer over a window, on the fastest path that the masks allow."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.config.cells import CELLS
from rnndrop.dropout.masks import LayerMasks
from rnndrop.recurrent.fused import run_fused
from rnndrop.recurrent.gate_product import product_kind
from rnndrop.recurrent.reference import masked_weights, unroll
from rnndrop.recurrent.sequence import run_sequence
from rnndrop.recurrent.weights import LayerWeights

LIBRARY = "library"  # the fused kernel of torch: nothing changes inside the recurrence


def run_layer(
    cell: str, x: Tensor, memory: tuple[Tensor, ...], weights: LayerWeights, masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer over x (T, B, I) from `memory`; return what is read of h (T, B, H) and the memory it keeps.

    `memory` are the cell's memories, h first, each (B, H). After them may stand what was read of h last, which a mask
    on the memory makes another: the window then goes on as if there had been no cut.
    """
    if path(cell, masks, x.device) == LIBRARY:
        return _library(cell, x, memory, weights, masks)
    spec = CELLS[cell]
    run = run_fused if x.is_cuda else run_sequence if hasattr(spec.equations, "Trace") else unroll
    return run(spec, x, memory, weights, masks)


def path(cell: str, masks: LayerMasks, device: torch.device) -> str:
    """What runs a layer with these masks, as records say it: "library", or our own function and its products."""
    spec = CELLS[cell]
    fused = bool(spec.library) and (spec.library_on_cpu or device.type != "cpu")
    inside = (masks.recurrent, masks.update, masks.cell, masks.state)
    per_gate = masks.input is not None and masks.input.shape[2] > 1
    if fused and not per_gate and all(mask is None for mask in inside):
        return LIBRARY
    if device.type != "cuda" and not hasattr(spec.equations, "Trace"):
        return "unrolled"
    own = "fused" if device.type == "cuda" else "sequence"
    return f"{own}: input {product_kind(masks.input)}, recurrent {product_kind(masks.recurrent)}"


def _library(
    cell: str, x: Tensor, memory: tuple[Tensor, ...], weights: LayerWeights, masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The fused kernel: nothing changes inside the recurrence."""
    spec = CELLS[cell]
    if masks.input is not None:
        x = x * masks.input.squeeze(2)
    flat = list(masked_weights(weights, masks, len(spec.gates)))
    state = tuple(part.unsqueeze(0) for part in memory[: spec.memories])  # each (1, B, H)
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    options = (True, 1, 0.0, torch.is_grad_enabled(), False, False)
    output, *last = getattr(torch, spec.library)(x, state if len(state) > 1 else state[0], flat, *options)
    return output, tuple(part.squeeze(0) for part in last)
