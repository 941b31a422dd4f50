"""The simple recurrent network (Elman 1990)."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.dropout.masks import LayerMasks
from rnndrop.recurrent.kernels import rnn_backward, rnn_forward
from rnndrop.recurrent.memory_masks import Hold, array, feed, gradients_of_gates, gradients_of_memory, hold


def step(
    from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step: inputs (B, 1, H) from x(t) and from h(t-1), memory (h,) → what is read of h, new memory.

    h = tanh(W x + U h')                  kept and read through m_cell and m_state
    """
    (h_previous,) = memory
    h = torch.tanh(from_input[:, 0] + from_state[:, 0])
    kept, read = hold(h, h_previous, masks.cell, masks.state)
    return read, (kept,)


class Trace:
    """The steps of a window, kept for the way back (`rnndrop.recurrent.weights.Trace`).

    `gates` (T, B, H) come in as what x(t) gives and both biases, and hold h before any mask after their step.
    """

    def __init__(self, gates: Tensor, memory: tuple[Tensor, ...], read: Tensor, masks: LayerMasks) -> None:
        self.reads = gates.new_empty(len(gates) + 1, *read.shape)
        holds = Hold.of(self.reads[1:], masks.cell, masks.state)
        self._kept = torch.empty_like(self.reads) if holds.active else self.reads  # _kept[t]: h before step t
        self._kept[0], self.reads[0] = memory[0], read
        self.fed, taken = feed(self.reads, masks.recurrent)
        self._gates = gates.numpy()
        self._states = self.reads.numpy(), self._kept.numpy()
        self._masks = tuple(taken), tuple(holds)

    def step(self, t: int, product: Tensor) -> None:
        """The equation of `step`, in place."""
        rnn_forward(t, array(product), self._gates, *self._states, *self._masks)

    def memory(self) -> tuple[Tensor, ...]:
        """The memory (h,) after the last step."""
        return (self._kept[-1].clone(),)

    def begin(self, output: Tensor, last: tuple[Tensor | None, ...]) -> None:
        """Start the way back, from the gradients of what was read (T, B, H) and of the last memory."""
        (self._to_h,) = gradients_of_memory(output, last)
        self.from_input = self.from_state = gradients_of_gates(output, 1)
        self._gradients = [array(each) for each in (output, self.from_state, self._to_h)]

    def back(self, t: int, product: Tensor) -> Tensor:
        """From the gradient of what step `t + 1` took of h to that of what tanh takes at step `t` (B, H)."""
        rnn_backward(t, array(product), *self._gradients, self._gates, *self._masks)
        return self.from_state[t]

    def first(self, product: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the first memory; `product` (B, H) is that of h by the first step."""
        return (self._to_h + product,)
