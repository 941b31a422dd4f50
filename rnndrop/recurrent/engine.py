"""One layer over a window, on the fastest path that the masks allow."""

from __future__ import annotations

import logging
import warnings
from functools import cache
from threading import Timer

import torch
from torch import Tensor

from rnndrop.config.cells import CellSpec, cell_named
from rnndrop.dropout.masks import LayerMasks
from rnndrop.ops.matmul import factor, round_factors, rounds
from rnndrop.recurrent import kernels
from rnndrop.recurrent.fused import run_fused
from rnndrop.recurrent.gate_product import product_kind
from rnndrop.recurrent.linear import run_linear, scan
from rnndrop.recurrent.memory_masks import begin
from rnndrop.recurrent.reference import masked_weights, unroll
from rnndrop.recurrent.sequence import run_sequence
from rnndrop.recurrent.weights import LayerWeights

LIBRARY = "library"  # the fused kernel of torch: nothing changes inside the recurrence
SCAN = "scan"  # of a linear cell: all steps at once
_RUN = {"fused": run_fused, "compiled": run_sequence, "unrolled": unroll}
_LONG = 1.5  # seconds after which the compilation of a cell is spoken of: to load one takes less

log = logging.getLogger("rnndrop")

# cuDNN would have all weights in one piece, and copies them where they are not: a moment, and no fault of the user's.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")


def run_layer(
    cell: str, x: Tensor, memory: tuple[Tensor, ...], weights: LayerWeights, masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer over x (T, B, I) from `memory`; return what is read of h (T, B, H) and the memory it keeps.

    `memory` are the cell's memories, h first, each (B, H). After them may stand what was read of h last, which a mask
    on the memory makes another: the window then goes on as if there had been no cut.
    """
    spec = cell_named(cell)
    way = _way(spec, masks, x.device, len(memory) > spec.memories)
    if way == LIBRARY:
        return _library(spec, x, memory, weights, masks)
    if way == SCAN:
        return run_linear(spec, x, memory, weights, masks, x.device.type == "cpu" and compiles(cell, bf16=False))
    return _RUN[way](spec, x, memory, weights, masks)


def path(cell: str, masks: LayerMasks, device: torch.device) -> str:
    """What runs a layer with these masks, as records say it: "library", "unrolled", or our own steps and products."""
    way = _way(cell_named(cell), masks, device)
    if way in (LIBRARY, "unrolled"):
        return way
    if way == SCAN:
        return f"{way}: input {product_kind(masks.input)}"
    return f"{way}: input {product_kind(masks.input)}, recurrent {product_kind(masks.recurrent)}"


def _way(spec: CellSpec, masks: LayerMasks, device: torch.device, apart: bool = False) -> str:
    """ "library", "scan", or one of `_RUN`; `apart`: whether what the first step reads of h is not what was kept."""
    if spec.linear:
        return SCAN
    if device.type == "cpu" and rounds() and compiles(spec.name, bf16=True):
        return "compiled"  # torch's kernel takes float32 alone
    library = bool(spec.library) and (spec.library_on_cpu or device.type != "cpu")
    library = library and not (apart and spec.library == "gru")  # which carries h on as well as reading it
    inside = (masks.recurrent, masks.recurrent_gradient, masks.update, masks.cell, masks.state)
    per_gate = masks.input is not None and masks.input.shape[2] > 1
    if library and not per_gate and all(mask is None for mask in inside):
        return LIBRARY
    if device.type == "cuda":
        return "unrolled" if spec.late else "fused"
    return "compiled" if device.type == "cpu" and compiles(spec.name, bf16=rounds()) else "unrolled"


@cache
def compiles(cell: str, bf16: bool) -> bool:
    """Whether the steps of a cell can be compiled here, for products in bf16 or not; what is not on disk is now."""
    spec = cell_named(cell)
    if not spec.linear and not hasattr(spec.equations, "Trace"):
        log.info("%s has no kernels of its own: torch takes its steps one by one, more slowly.", cell)
        return False
    if not kernels.AVAILABLE:
        log.warning("numba is not installed: torch takes the steps of %s, more slowly. pip install numba", cell)
        return False
    spoken = Timer(_LONG, log.info, [f"Compiling the steps of {cell}: once, for some seconds."])
    spoken.daemon = True
    spoken.start()
    before = rounds()
    round_factors(bf16)
    try:
        try:
            _step_and_back(spec)
        except Exception as error:
            log.info("What numba keeps on disk cannot be used (%s): compiling anew.", _first_line(error))
            kernels.compile_anew()
            _step_and_back(spec)
    except Exception as error:
        log.warning("numba fails (%s): torch takes the steps of %s, more slowly.", _first_line(error), cell)
        return False
    finally:
        round_factors(before)
        spoken.cancel()
    return True


def _step_and_back(spec: CellSpec) -> None:
    """One step of one unit, and the way back through it."""
    if spec.linear:
        part = torch.ones(1, 1, 1, requires_grad=True)
        torch.autograd.grad(scan(part, part, part[0], compiled=True).sum(), part)
        return
    one, gates = torch.zeros(1, 1), torch.zeros(1, len(spec.gates))
    trace = spec.equations.Trace(gates.unsqueeze(0), (one,) * spec.memories, one, LayerMasks())
    trace.step(0, factor(gates))
    trace.begin(one.unsqueeze(0), (None,) * spec.memories)
    trace.back(0, factor(one))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _library(
    spec: CellSpec, x: Tensor, memory: tuple[Tensor, ...], weights: LayerWeights, masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The fused kernel: nothing changes inside the recurrence."""
    if masks.input is not None:
        x = x * masks.input.squeeze(2)
    flat = list(masked_weights(weights, masks, len(spec.gates)))
    (_, *others), read = begin(memory, spec.memories)  # nothing but the products takes h
    state = tuple(part.unsqueeze(0) for part in (read, *others))  # each (1, B, H)
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    options = (True, 1, 0.0, torch.is_grad_enabled(), False, False)
    output, *last = getattr(torch, spec.library)(x, state if len(state) > 1 else state[0], flat, *options)
    return output, tuple(part.squeeze(0) for part in last)
