"""The long short-term memory (Hochreiter & Schmidhuber 1997), with torch's order of the gates."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.dropout.noise import LayerMasks
from rnndrop.recurrent.memory import hold

GATES = 4
MEMORIES = 2  # h and c


def step(
    from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step: gate inputs (B, 4, H) from x(t) and from h(t-1), memory (h, c) → what is read of h, new memory.

        i, f, o = sigmoid(W x + U h')     g = m_update · tanh(W x + U h')
        c = f · c' + i · g                kept and read through m_cell
        h = o · tanh(c)                   kept and read through m_state

    `masks` are those of this step, without the time axis. Zoneout's h sees the candidate c, not the held one
    (Krueger et al. 2017, section 3.2).
    """
    h_previous, c_previous = memory
    i, f, g, o = (from_input + from_state).unbind(1)
    g = torch.tanh(g) if masks.update is None else masks.update * torch.tanh(g)
    c = torch.sigmoid(f) * c_previous + torch.sigmoid(i) * g
    c_kept, c_read = hold(c, c, c_previous, masks.cell)
    if masks.cell is not None and masks.cell.previous:
        c_read = c
    h = torch.sigmoid(o) * torch.tanh(c_read)
    h_kept, h_read = hold(h, h, h_previous, masks.state)
    return h_read, (h_kept, c_kept)
