"""The plain recurrence: an autograd loop over time that takes every mask. All faster paths must equal it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rnndrop.config.cells import CellSpec
from rnndrop.dropout.masks import LayerMasks, MemoryMask, WeightMask
from rnndrop.dropout.weight_noise import noised
from rnndrop.recurrent.memory_masks import at, begin, hold
from rnndrop.recurrent.weights import LayerWeights


def unroll(
    cell: CellSpec, x: Tensor, memory: tuple[Tensor, ...], weights: LayerWeights, masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer over x (T, B, I) from `memory`; return what is read of h (T, B, H) and the last memory.

    The memory (each (B, H)) is the kept one: no scale is carried. For what the first step reads see `begin`.
    """
    gates = len(cell.gates)
    weights = masked_weights(weights, masks, gates)
    from_input = gate_products(x, masks.input, weights.weight_ih, weights.bias_ih, gates)  # (T, B, G, H)
    memory, read = begin(memory, cell.memories)
    outputs = []
    for t in range(x.shape[0]):
        now = at_step(masks, t)
        if cell.linear:
            read, memory = _linear_step(cell, from_input[t], weights.weight_hh, memory, now)
            outputs.append(read)
            continue
        recurrent = None if now.recurrent is None else now.recurrent.unsqueeze(0)
        if now.recurrent_gradient is not None:
            read = now.recurrent_gradient * read + (1 - now.recurrent_gradient) * read.detach()
        from_state = _from_state(cell, read, recurrent, weights, from_input[t])
        read, memory = cell.equations.step(from_input[t], from_state, memory, now)
        if len(memory) != cell.memories:
            raise ValueError(f"{cell.name}: its step returns {len(memory)} memories, and its row says {cell.memories}")
        outputs.append(read)
    return torch.stack(outputs), memory


def _from_state(cell: CellSpec, read: Tensor, mask: Tensor | None, weights: LayerWeights, from_input: Tensor) -> Tensor:
    """The gates' inputs (B, G, H) from what is read of h (B, H); the last ones' where they take what others leave."""
    early = len(cell.gates) - cell.late
    rows = early * read.shape[1]
    per_gate = mask is not None and mask.shape[2] > 1
    first = mask[:, :, :early] if mask is not None and per_gate else mask
    found = gate_products(read.unsqueeze(0), first, weights.weight_hh[:rows], weights.bias_hh[:rows], early)[0]
    if not cell.late:
        return found
    taken = cell.equations.late(from_input, found, read).unsqueeze(0)
    last = mask[:, :, early:] if mask is not None and per_gate else mask
    late = gate_products(taken, last, weights.weight_hh[rows:], weights.bias_hh[rows:], cell.late)[0]
    return torch.cat([found, late], 1)


def _linear_step(
    cell: CellSpec, gates: Tensor, diagonals: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step of a linear cell, from its gates' inputs (B, G, H) and vectors (K, H)."""
    keep, add, gain = cell.equations.terms(gates, diagonals)
    new = keep * memory[0] + (add if masks.update is None else masks.update * add)
    kept, read = hold(new, memory[0], masks.cell, masks.state)
    return read if gain is None else gain * read, (kept,)


def gate_products(x: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor, gates: int) -> Tensor:
    """The gates' inputs (T, B, G, H) from x (T, B, I), a mask (T|1, B|1, G|1, I|1) and weight (G·H, I)."""
    if mask is not None and mask.shape[2] > 1:
        masked = x.unsqueeze(2) * mask  # (T, B, G, I)
        product = torch.einsum("tbgi,ghi->tbgh", masked, weight.view(gates, -1, weight.shape[1]))
        return product + bias.view(gates, -1)
    masked = x if mask is None else x * mask.squeeze(2)  # (T, B, I)
    product = F.linear(masked, weight, bias)  # (T, B, G·H)
    return product.view(*product.shape[:2], gates, -1)


def masked_weights(weights: LayerWeights, masks: LayerMasks, gates: int) -> LayerWeights:
    """The weights (G·H, I) and (G·H, H) under their masks (G|1, H|1, I|1) and (G|1, H|1, H|1); differentiable."""

    def masked(weight: Tensor, mask: WeightMask | None) -> Tensor:
        return weight if mask is None else noised(weight.view(gates, -1, weight.shape[1]), mask).view_as(weight)

    return weights._replace(
        weight_ih=masked(weights.weight_ih, masks.weight_ih), weight_hh=masked(weights.weight_hh, masks.weight_hh)
    )


def at_step(masks: LayerMasks, t: int) -> LayerMasks:
    """The masks of step `t`, with the time axis removed."""

    def gates_at(mask: Tensor | None) -> Tensor | None:
        return None if mask is None else at(mask, t)

    def memory_at(mask: MemoryMask | None) -> MemoryMask | None:
        return None if mask is None else mask._replace(values=at(mask.values, t))

    return LayerMasks(
        recurrent=gates_at(masks.recurrent),
        recurrent_gradient=gates_at(masks.recurrent_gradient),
        update=gates_at(masks.update),
        cell=memory_at(masks.cell),
        state=memory_at(masks.state),
    )
