"""The long short-term memory (Hochreiter & Schmidhuber 1997), with torch's order of the gates."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.dropout.masks import LayerMasks, MemoryMask
from rnndrop.recurrent.gate_product import GateProduct
from rnndrop.recurrent.memory_masks import Hold, at, hold


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
    """The steps of a window, kept for the way back. All gates are overwritten in place: `gates` (T, B, 4·H)
    comes in as what x(t) gives and both biases, and holds i, f, tanh and o after its step.

    On a CPU the sigmoid is several times as fast as tanh, so tanh(x) is formed as 2·sigmoid(2x) - 1.
    """

    def __init__(self, gates: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks) -> None:
        steps, batch, width = gates.shape[0], *memory[0].shape
        self._by_gate = gates.view(steps, batch, 4, width)
        self._update = masks.update
        self._hold_c = Hold.of(masks.cell)
        self._hold_h = Hold.of(_holes(masks.cell), masks.state)
        self.reads = gates.new_empty(steps + 1, batch, width)  # reads[t]: what step t reads of h
        self.reads[0] = memory[0]
        self._c = gates.new_empty(steps + 1, batch, width)  # _c[t]: the memory before step t
        self._c[0] = memory[1]
        self._tanh_c = gates.new_empty(steps, batch, width)
        self._h_kept = memory[0]
        # views of every step, made in one go
        self._gate_steps = gates.unbind()
        self._i, self._f, self._g, self._o = (gate.unbind() for gate in self._by_gate.unbind(2))
        self._read_steps, self._c_steps, self._tanh_c_steps = (
            self.reads.unbind(),
            self._c.unbind(),
            self._tanh_c.unbind(),
        )

    def step(self, t: int, product: GateProduct) -> None:
        """The equations of `step`, in place."""
        gates, i, f, g, o = self._gate_steps[t], self._i[t], self._f[t], self._g[t], self._o[t]
        c, new_c, tanh_c, read = self._c_steps[t], self._c_steps[t + 1], self._tanh_c_steps[t], self._read_steps[t + 1]
        inputs = product.forward(self._read_steps[t], t, gates)
        inputs.view(len(g), 4, -1).select(1, 2).mul_(2)
        torch.sigmoid(inputs, out=gates)
        g.mul_(2).sub_(1)
        if self._update is not None:
            g = g * at(self._update, t)
        torch.mul(f, c, out=new_c).addcmul_(i, g)
        torch.mul(new_c, 2, out=tanh_c).sigmoid_().mul_(2).sub_(1)
        torch.mul(o, tanh_c, out=read)
        if self._hold_c is not None:
            new_c.copy_(self._hold_c.at(t).forward(new_c, c)[0])
        if self._hold_h is not None:
            self._h_kept, held = self._hold_h.at(t).forward(read, self._h_kept)
            read.copy_(held)

    def memory(self) -> tuple[Tensor, ...]:
        """The memory (h, c) after the last step."""
        h = self.reads[-1] if self._hold_h is None else self._h_kept
        return h.clone(), self._c[-1].clone()

    def gradients(self, last: tuple[Tensor | None, ...]) -> Gradients:
        """The way back, from the gradients of the last memory."""
        i, f, g, o = self._by_gate.unbind(2)
        d = torch.empty_like(self._by_gate)
        d_i, d_f, d_g, d_o = d.unbind(2)
        masked_g, masked_i = (g, i) if self._update is None else (g * self._update, i * self._update)
        sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
        sigmoid_backward(masked_g, i, grad_input=d_i)
        sigmoid_backward(self._c[:-1], f, grad_input=d_f)
        tanh_backward(masked_i, g, grad_input=d_g)
        sigmoid_backward(self._tanh_c, o, grad_input=d_o)
        c_by_h = tanh_backward(o, self._tanh_c)  # (T, B, H): dh/dc
        return Gradients(d, c_by_h, f, (self._hold_h, self._hold_c), last)


class Gradients:
    """The way back. `gates` (T, B, 4·H) come in as the local derivatives of all steps, by c for i, f and g and by
    h for o; `step` turns those of its t into gradients."""

    def __init__(
        self,
        gates: Tensor,
        c_by_h: Tensor,
        forget: Tensor,
        holds: tuple[Hold | None, Hold | None],
        last: tuple[Tensor | None, ...],
    ) -> None:
        self.from_input = self.from_state = gates.flatten(2)
        self._gate_steps = self.from_state.unbind()
        self._by_c, self._by_h = gates[:, :, :3].unbind(), gates[:, :, 3].unbind()
        self._c_by_h = c_by_h.unbind()
        self._forget = forget.unbind()
        self._hold_h, self._hold_c = holds
        self._h = last[0]
        self._c = torch.zeros_like(c_by_h[0]) if last[1] is None else last[1]

    def step(self, t: int, read: Tensor) -> Tensor:
        """From the gradient (B, H) of what is read after step `t` to that of its gates (B, 4·H)."""
        if self._hold_h is not None:
            kept = torch.zeros_like(read) if self._h is None else self._h
            h, self._h = self._hold_h.at(t).backward(kept, read)
        else:
            h, self._h = (read if self._h is None else read + self._h), None
        carried = None
        kept = self._c
        if self._hold_c is not None:
            hold_c = self._hold_c.at(t)
            kept, carried = hold_c.keep * kept, hold_c.carry * kept
        c = torch.addcmul(kept, h, self._c_by_h[t])
        self._by_c[t].mul_(c.unsqueeze(1))
        self._by_h[t].mul_(h)
        self._c = c * self._forget[t] if carried is None else torch.addcmul(carried, c, self._forget[t])
        return self._gate_steps[t]

    def memory(self, read: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the first memory; `read` (B, H) is that of what the first step read."""
        return (read if self._h is None else read + self._h), self._c
