"""The gated recurrent unit (Cho et al. 2014), in the form of cuDNN and torch: reset after the product."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.dropout.masks import LayerMasks
from rnndrop.recurrent.gate_product import GateProduct
from rnndrop.recurrent.memory_masks import Hold, at, hold


def step(
    from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step: gate inputs (B, 3, H) from x(t) and from h(t-1), memory (h,) → what is read of h, new memory.

        r, z = sigmoid(W x + U h')        n = m_update · tanh(W x + r · U h')
        h = (1 - z) · n + z · h'          kept and read through m_cell and m_state

    The h' that z carries on is the kept one, without the mask on `recurrent` and without any scale.
    """
    (h_previous,) = memory
    r = torch.sigmoid(from_input[:, 0] + from_state[:, 0])
    z = torch.sigmoid(from_input[:, 1] + from_state[:, 1])
    n = torch.tanh(from_input[:, 2] + r * from_state[:, 2])
    if masks.update is not None:
        n = masks.update * n
    h = (1 - z) * n + z * h_previous
    kept, read = hold(h, h_previous, masks.cell, masks.state)
    return read, (kept,)


class Trace:
    """The steps of a window, kept for the way back. `gates` (T, B, 3·H) come in as what x(t) gives and bias_ih,
    and hold r, z and tanh after their step."""

    def __init__(self, gates: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks) -> None:
        steps, batch, width = gates.shape[0], *memory[0].shape
        self._gates = gates
        self._by_gate = gates.view(steps, batch, 3, width)
        self._update = masks.update
        self._hold = Hold.of(masks.cell, masks.state)
        self.reads = gates.new_empty(steps + 1, batch, width)  # reads[t]: what step t reads of h
        self.reads[0] = memory[0]
        self._kept = self.reads if self._hold is None else self.reads.clone()  # the h that z carries on
        self._candidate = gates.new_empty(steps, batch, width)  # U h' where it enters n

    def step(self, t: int, product: GateProduct) -> None:
        """The equations of `step`, in place."""
        width = self.reads.shape[-1]
        from_state = product.forward(self.reads[t], t)
        self._gates[t, :, : 2 * width].add_(from_state[:, : 2 * width]).sigmoid_()
        r, z, n = self._by_gate[t].unbind(1)
        self._candidate[t] = from_state[:, 2 * width :]
        n.addcmul_(r, self._candidate[t]).tanh_()
        if self._update is not None:
            n = n * at(self._update, t)
        h = torch.lerp(n, self._kept[t], z, out=self.reads[t + 1])
        if self._hold is not None:
            kept, read = self._hold.at(t).forward(h, self._kept[t])
            self._kept[t + 1], self.reads[t + 1] = kept, read

    def memory(self) -> tuple[Tensor, ...]:
        """The memory (h,) after the last step."""
        return (self._kept[-1].clone(),)

    def gradients(self, last: tuple[Tensor | None, ...]) -> Gradients:
        """The way back, from the gradient of the last memory."""
        r, z, n = self._by_gate.unbind(2)
        d = torch.empty_like(self._by_gate)
        d_r, d_z, d_n = d.unbind(2)
        sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
        masked_n, share = n, 1 - z
        if self._update is not None:
            masked_n, share = n * self._update, share * self._update
        candidate = tanh_backward(share, n)  # by what tanh takes
        sigmoid_backward(candidate * self._candidate, r, grad_input=d_r)
        sigmoid_backward(self._kept[:-1] - masked_n, z, grad_input=d_z)
        torch.mul(candidate, r, out=d_n)
        return Gradients(d, candidate, z, self._hold, last[0])


class Gradients:
    """The way back. `from_state` (T, B, 3·H) comes in as the local derivatives of all steps by h; `step` turns those
    of its t into gradients."""

    def __init__(self, gates: Tensor, candidate: Tensor, carry: Tensor, hold: Hold | None, last: Tensor | None) -> None:
        self.from_state = gates.flatten(2)
        self._by_gate = gates
        self._candidate = candidate
        self._carry = carry
        self._hold = hold
        self._kept = torch.zeros_like(candidate[0]) if last is None else last

    def step(self, t: int, read: Tensor) -> Tensor:
        """From the gradient (B, H) of what is read after step `t` to that of what its gates take from h (B, 3·H)."""
        if self._hold is None:
            h = read + self._kept
            self._kept = h * self._carry[t]
        else:
            h, carried = self._hold.at(t).backward(self._kept, read)
            self._kept = torch.addcmul(carried, h, self._carry[t])
        self._by_gate[t].mul_(h.unsqueeze(1))
        self._candidate[t].mul_(h)
        return self.from_state[t]

    @property
    def from_input(self) -> Tensor:
        """The gradients of what all gates take from x (T, B, 3·H)."""
        return torch.cat([self._by_gate[:, :, :2], self._candidate.unsqueeze(2)], 2).flatten(2)

    def memory(self, read: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the first memory; `read` (B, H) is that of what the first step read."""
        return (read + self._kept,)
