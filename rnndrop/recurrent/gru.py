"""The gated recurrent unit (Cho et al. 2014), in the form of cuDNN and torch: reset after the product."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.dropout.masks import LayerMasks
from rnndrop.recurrent.kernels import gru_backward, gru_forward
from rnndrop.recurrent.memory_masks import Hold, array, feed, gradients_of_gates, gradients_of_memory, hold, rows


def step(
    from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step: gate inputs (B, 3, H) from x(t) and from h(t-1), memory (h,) → what is read of h, new memory.

        r, z = sigmoid(W x + U h')        n = m_update · tanh(W x + r · U h')
        h = (1 - z) · n + z · h'          kept and read through m_cell and m_state

    The h' that z carries on is the kept one, without the mask on `recurrent` and without any scale.
    """
    r = torch.sigmoid(from_input[:, 0] + from_state[:, 0])
    return mixed(from_input, from_state, r * from_state[:, 2], memory, masks)


def mixed(
    from_input: Tensor, from_state: Tensor, to_candidate: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The rest of a step, from what the candidate takes of h(t-1), (B, H)."""
    (h_previous,) = memory
    z = torch.sigmoid(from_input[:, 1] + from_state[:, 1])
    n = torch.tanh(from_input[:, 2] + to_candidate)
    if masks.update is not None:
        n = masks.update * n
    h = (1 - z) * n + z * h_previous
    kept, read = hold(h, h_previous, masks.cell, masks.state)
    return read, (kept,)


class Trace:
    """The steps of a window, kept for the way back (`rnndrop.recurrent.weights.Trace`).

    `gates` (T, B, 3·H) come in as what x(t) gives and bias_ih, and hold r, z and tanh after their step.
    """

    def __init__(self, gates: Tensor, memory: tuple[Tensor, ...], read: Tensor, masks: LayerMasks) -> None:
        steps, (batch, width) = len(gates), read.shape
        self.reads = gates.new_empty(steps + 1, batch, width)
        candidate = gates.new_empty(steps, batch, width)  # U h' where it enters n
        holds = Hold.of(self.reads[1:], masks.cell, masks.state)
        if read is not memory[0]:  # z carries on the one that was kept, whether or not a mask makes them two again
            holds = holds._replace(active=True)
        self._kept = torch.empty_like(self.reads) if holds.active else self.reads  # _kept[t]: the h' that z carries on
        self._kept[0], self.reads[0] = memory[0], read
        self.fed, taken = feed(self.reads, masks.recurrent)
        update = rows(read.new_ones(1, 1, 1) if masks.update is None else masks.update, self.reads[1:])
        self._arrays = gates.numpy(), candidate.numpy()
        self._reads, self._history = self.reads.numpy(), self._kept.numpy()
        self._masks = tuple(taken), update, tuple(holds)

    def step(self, t: int, product: Tensor) -> None:
        """The equations of `step`, in place."""
        gru_forward(t, array(product), *self._arrays, self._reads, self._history, *self._masks)

    def memory(self) -> tuple[Tensor, ...]:
        """The memory (h,) after the last step."""
        return (self._kept[-1].clone(),)

    def begin(self, output: Tensor, last: tuple[Tensor | None, ...]) -> None:
        """Start the way back, from the gradients of what was read (T, B, H) and of the last memory."""
        (self._to_h,) = gradients_of_memory(output, last)
        self.from_input, self.from_state = gradients_of_gates(output, 3), gradients_of_gates(output, 3)
        self._gradients = [array(each) for each in (output, self.from_input, self.from_state, self._to_h)]

    def back(self, t: int, product: Tensor) -> Tensor:
        """From the gradient of what step `t + 1` took of h to that of what the gates of `t` take from h (B, 3·H)."""
        gru_backward(t, array(product), *self._gradients, *self._arrays, self._history, *self._masks)
        return self.from_state[t]

    def first(self, product: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the first memory; `product` (B, H) is that of h by the first step."""
        return (self._to_h + product,)
