"""sLSTM (Beck et al. 2024, arXiv:2405.04517, section 2.2), with one head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rnndrop.dropout.masks import LayerMasks, MemoryMask
from rnndrop.recurrent.kernels import slstm_backward, slstm_forward
from rnndrop.recurrent.memory_masks import Hold, array, feed, gradients_of_gates, gradients_of_memory, hold, rows


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


class Trace:
    """The steps of a window, kept for the way back (`rnndrop.recurrent.weights.Trace`).

    `gates` (T, B, 4·H) come in as what x(t) gives and both biases. After their step they hold what one of i and f is
    over exp(s), the other being 1, then log f + s' - log i, whose sign says which, tanh and o.
    """

    def __init__(self, gates: Tensor, memory: tuple[Tensor, ...], read: Tensor, masks: LayerMasks) -> None:
        steps, (batch, width) = len(gates), read.shape
        self.reads = gates.new_empty(steps + 1, batch, width)
        self._scaled = gates.new_empty(steps + 1, batch, 3 * width)  # _scaled[t]: c, n and s before step t
        slip = gates.new_empty(steps, batch, width)  # 1 - f
        together = masks.cell if masks.cell is not None and masks.cell.previous else None
        hold_c, hold_scaled = Hold.of(self.reads[1:], _holes(masks.cell)), Hold.of(self.reads[1:], together)
        hold_h = Hold.of(self.reads[1:], _holes(masks.cell), masks.state)
        ahead = torch.empty_like(slip) if hold_scaled.active else slip  # s' minus the new s, before the mask
        self._kept = torch.empty_like(self.reads) if hold_h.active else self.reads  # _kept[t]: h before step t
        self._kept[0], self._scaled[0], self.reads[0] = memory[0], torch.cat(memory[1:], 1), read
        self.fed, taken = feed(self.reads, masks.recurrent)
        update = rows(read.new_ones(1, 1, 1) if masks.update is None else masks.update, self.reads[1:])
        self._arrays = gates.numpy(), slip.numpy(), self._scaled.numpy(), ahead.numpy()
        self._states = self.reads.numpy(), self._kept.numpy()
        self._masks = tuple(taken), update, tuple(hold_c), tuple(hold_scaled), tuple(hold_h)

    def step(self, t: int, product: Tensor) -> None:
        """The equations of `step`, in place."""
        slstm_forward(t, array(product), *self._arrays, *self._states, *self._masks)

    def memory(self) -> tuple[Tensor, ...]:
        """The memory (h, c, n, s) after the last step."""
        return self._kept[-1].clone(), *_apart(self._scaled[-1])

    def begin(self, output: Tensor, last: tuple[Tensor | None, ...]) -> None:
        """Start the way back, from the gradients of what was read (T, B, H) and of the last memory."""
        self._to_h, *scaled = gradients_of_memory(output, last)
        self._to_scaled = torch.cat(scaled, 1)
        self.from_input = self.from_state = gradients_of_gates(output, 4)
        self._gradients = [array(each) for each in (output, self.from_state, self._to_h, self._to_scaled)]

    def back(self, t: int, product: Tensor) -> Tensor:
        """From the gradient of what step `t + 1` took of h to that of the gates of step `t` (B, 4·H)."""
        slstm_backward(t, array(product), *self._gradients, *self._arrays, *self._masks)
        return self.from_state[t]

    def first(self, product: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the first memory; `product` (B, H) is that of h by the first step."""
        return self._to_h + product, *_apart(self._to_scaled)


def _apart(scaled: Tensor) -> tuple[Tensor, ...]:
    """c, n and s, each (B, H), of (B, 3·H)."""
    return tuple(part.clone() for part in scaled.chunk(3, 1))
