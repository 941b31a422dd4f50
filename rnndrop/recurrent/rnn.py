"""The simple recurrent network (Elman 1990)."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.dropout.noise import LayerMasks
from rnndrop.recurrent.memory import hold

GATES = 1
MEMORIES = 1  # h


def step(
    from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step: inputs (B, 1, H) from x(t) and from h(t-1), memory (h,) → what is read of h, new memory.

    h = tanh(W x + U h')                  kept and read through m_cell, then m_state
    """
    (h_previous,) = memory
    h = torch.tanh(from_input[:, 0] + from_state[:, 0])
    kept, read = hold(h, h, h_previous, masks.cell)
    kept, read = hold(kept, read, h_previous, masks.state)
    return read, (kept,)
