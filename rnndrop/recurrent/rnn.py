"""The simple recurrent network (Elman 1990)."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.dropout.masks import LayerMasks
from rnndrop.recurrent.gate_product import GateProduct
from rnndrop.recurrent.memory_masks import Hold, hold


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
    """The steps of a window, kept for the way back. `gates` (T, B, H) come in as what x(t) gives and both biases,
    and hold h before any mask after their step."""

    def __init__(self, gates: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks) -> None:
        self._gates = gates
        self._hold = Hold.of(masks.cell, masks.state)
        self.reads = gates.new_empty(gates.shape[0] + 1, *memory[0].shape)  # reads[t]: what step t reads of h
        self.reads[0] = memory[0]
        self._kept = memory[0]

    def step(self, t: int, product: GateProduct) -> None:
        """The equation of `step`, in place."""
        torch.tanh(product.forward(self.reads[t], t, self._gates[t]), out=self._gates[t])
        read = self._gates[t]
        if self._hold is not None:
            self._kept, read = self._hold.at(t).forward(read, self._kept)
        self.reads[t + 1] = read

    def memory(self) -> tuple[Tensor, ...]:
        """The memory (h,) after the last step."""
        return ((self.reads[-1] if self._hold is None else self._kept).clone(),)

    def gradients(self, last: tuple[Tensor | None, ...]) -> Gradients:
        """The way back, from the gradient of the last memory."""
        return Gradients(1 - self._gates * self._gates, self._hold, last[0])


class Gradients:
    """The way back. `gates` (T, B, H) come in as the derivatives of all tanh; `step` turns those of its t into
    gradients."""

    def __init__(self, gates: Tensor, hold: Hold | None, last: Tensor | None) -> None:
        self.from_input = self.from_state = gates
        self._hold = hold
        self._kept = torch.zeros_like(gates[0]) if last is None else last

    def step(self, t: int, read: Tensor) -> Tensor:
        """From the gradient (B, H) of what is read after step `t` to that of its gate (B, H)."""
        if self._hold is None:
            h, self._kept = read + self._kept, torch.zeros_like(read)
        else:
            h, self._kept = self._hold.at(t).backward(self._kept, read)
        return self.from_state[t].mul_(h)

    def memory(self, read: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the first memory; `read` (B, H) is that of what the first step read."""
        return (read + self._kept,)
