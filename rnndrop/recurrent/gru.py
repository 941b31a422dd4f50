"""The gated recurrent unit (Cho et al. 2014), in the form of cuDNN and torch: reset after the product."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.dropout.noise import LayerMasks
from rnndrop.recurrent.memory import hold

GATES = 3
MEMORIES = 1  # h


def step(
    from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step: gate inputs (B, 3, H) from x(t) and from h(t-1), memory (h,) → what is read of h, new memory.

        r, z = sigmoid(W x + U h')        n = m_update · tanh(W x + r · U h')
        h = (1 - z) · n + z · h'          kept and read through m_cell, then m_state

    The h' that z carries on is the kept one, without the mask on `recurrent` and without any scale.
    """
    (h_previous,) = memory
    r = torch.sigmoid(from_input[:, 0] + from_state[:, 0])
    z = torch.sigmoid(from_input[:, 1] + from_state[:, 1])
    n = torch.tanh(from_input[:, 2] + r * from_state[:, 2])
    if masks.update is not None:
        n = masks.update * n
    h = (1 - z) * n + z * h_previous
    kept, read = hold(h, h, h_previous, masks.cell)
    kept, read = hold(kept, read, h_previous, masks.state)
    return read, (kept,)
