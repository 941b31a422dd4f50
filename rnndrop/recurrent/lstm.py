"""The long short-term memory (Hochreiter & Schmidhuber 1997), with torch's order of the gates."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.dropout.masks import LayerMasks, MemoryMask
from rnndrop.recurrent.kernels import lstm_backward, lstm_forward
from rnndrop.recurrent.memory_masks import Hold, array, feed, gradients_of_gates, gradients_of_memory, hold, rows


def step(
    from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step: gate inputs (B, 4, H) from x(t) and from h(t-1), memory (h, c) → what is read of h, new memory.

        i, f, o = sigmoid(W x + U h')     g = m_update · tanh(W x + U h')
        c = f · c' + i · g                kept through m_cell
        h = o · tanh(c)                   kept and read through m_state, and through m_cell if its fill is "zero"

    `masks` are those of this step, without the time axis. h sees c before m_cell: the candidate of zoneout, not what
    it holds (Krueger et al. 2017, section 3.2). A zero of m_cell empties h as well, o · tanh(0), and its scale acts
    on h, after tanh: within tanh it would not keep the mean.
    """
    h_previous, c_previous = memory
    i, f, g, o = (from_input + from_state).unbind(1)
    g = torch.tanh(g) if masks.update is None else masks.update * torch.tanh(g)
    c = torch.sigmoid(f) * c_previous + torch.sigmoid(i) * g
    c_kept, _ = hold(c, c_previous, masks.cell)
    h = torch.sigmoid(o) * torch.tanh(c)
    h_kept, h_read = hold(h, h_previous, _holes(masks.cell), masks.state)
    return h_read, (h_kept, c_kept)


def _holes(mask: MemoryMask | None) -> MemoryMask | None:
    """The mask on c that acts on h too."""
    return None if mask is None or mask.previous else mask


class Trace:
    """The steps of a window, kept for the way back (`rnndrop.recurrent.weights.Trace`).

    `gates` (T, B, 4·H) come in as what x(t) gives and both biases, and hold i, f, tanh and o after their step.
    """

    def __init__(self, gates: Tensor, memory: tuple[Tensor, ...], read: Tensor, masks: LayerMasks) -> None:
        steps, (batch, width) = len(gates), read.shape
        self.reads = gates.new_empty(steps + 1, batch, width)
        self._c = gates.new_empty(steps + 1, batch, width)  # _c[t]: the memory before step t
        self._tanh_c = gates.new_empty(steps, batch, width)
        hold_c, hold_h = Hold.of(self.reads[1:], masks.cell), Hold.of(self.reads[1:], _holes(masks.cell), masks.state)
        self._kept = torch.empty_like(self.reads) if hold_h.active else self.reads  # _kept[t]: h before step t
        self._kept[0], self._c[0], self.reads[0] = memory[0], memory[1], read
        self.fed, taken = feed(self.reads, masks.recurrent)
        update = rows(read.new_ones(1, 1, 1) if masks.update is None else masks.update, self.reads[1:])
        self._arrays = gates.numpy(), self._c.numpy(), self._tanh_c.numpy()
        self._states = self.reads.numpy(), self._kept.numpy()
        self._masks = tuple(taken), update, tuple(hold_c), tuple(hold_h)

    def step(self, t: int, product: Tensor) -> None:
        """The equations of `step`, in place."""
        lstm_forward(t, array(product), *self._arrays, *self._states, *self._masks)

    def memory(self) -> tuple[Tensor, ...]:
        """The memory (h, c) after the last step."""
        return self._kept[-1].clone(), self._c[-1].clone()

    def begin(self, output: Tensor, last: tuple[Tensor | None, ...]) -> None:
        """Start the way back, from the gradients of what was read (T, B, H) and of the last memory."""
        self._to_h, self._to_c = gradients_of_memory(output, last)
        self.from_input = self.from_state = gradients_of_gates(output, 4)
        self._gradients = [array(each) for each in (output, self.from_state, self._to_h, self._to_c)]

    def back(self, t: int, product: Tensor) -> Tensor:
        """From the gradient of what step `t + 1` took of h to that of the gates of step `t` (B, 4·H)."""
        lstm_backward(t, array(product), *self._gradients, *self._arrays, *self._masks)
        return self.from_state[t]

    def first(self, product: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the first memory; `product` (B, H) is that of h by the first step."""
        return self._to_h + product, self._to_c
