"""sLSTM (Beck et al. 2024, arXiv:2405.04517, section 2.2), with one head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rnndrop.dropout.masks import LayerMasks, MemoryMask
from rnndrop.recurrent.memory_masks import hold


def step(
    from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step: gate inputs (B, 4, H) from x(t) and from h(t-1), memory (h, c, n, s) → what is read of h, new memory.

        i = exp(W x + U h')     f, o = sigmoid(W x + U h')     z = m_update · tanh(W x + U h')     (11) to (14)
        c = f · c' + i · z      n = f · n' + i                 h = o · c / n                       (8) to (10)

    c and n are kept divided by exp(s), s = max(log f + s', log i) (15) to (17), which h does not see; s = log i where
    nothing is in them yet. m_state acts on h as in an LSTM. m_cell acts on c: what it holds is c, n and s together, of
    which h sees the candidates; what it zeroes is c and h, and the n that divides goes on.
    """
    h_previous, c_previous, n_previous, s_previous = memory
    i, f, z, o = (from_input + from_state).unbind(1)
    z = torch.tanh(z) if masks.update is None else masks.update * torch.tanh(z)
    f = logsigmoid(f) + s_previous
    s = torch.where(n_previous == 0, i, torch.maximum(f, i))
    i, f = torch.exp(i - s), torch.exp((f - s).clamp(max=0))  # above 0 it is where nothing is in them
    c, n = f * c_previous + i * z, f * n_previous + i
    h = torch.sigmoid(o) * c / n
    h_kept, h_read = hold(h, h_previous, _holes(masks.cell), masks.state)
    if masks.cell is None:
        return h_read, (h_kept, c, n, s)
    if not masks.cell.previous:
        return h_read, (h_kept, hold(c, c_previous, masks.cell)[0], n, s)
    c, n, s = _held(masks.cell.values, (c, n, s), (c_previous, n_previous, s_previous))
    return h_read, (h_kept, c, n, s)


def _holes(mask: MemoryMask | None) -> MemoryMask | None:
    """The mask on c that acts on h too."""
    return None if mask is None or mask.previous else mask


def _held(d: Tensor, new: tuple[Tensor, ...], previous: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """d · previous + (1-d) · new of c and n, each given as (c, n, s): brought to one scale, that of what counts."""
    both = torch.where(previous[1] == 0, new[2], torch.maximum(previous[2], new[2]))
    s = torch.where(d == 1, previous[2], torch.where(d == 0, new[2], both))
    old, now = (torch.exp((part[2] - s).clamp(max=0)) for part in (previous, new))
    c, n = (d * old * before + (1 - d) * now * after for before, after in zip(previous[:2], new[:2], strict=True))
    return c, n, s
