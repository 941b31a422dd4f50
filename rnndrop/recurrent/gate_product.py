"""The products of a layer, x → the gates' inputs, under a mask on x: three ways, chosen by the mask's shape.

All take x (B, I) at a step `t`, or (T, B, I) with `t` None, and gates (B, G·H) or (T, B, G·H) likewise. In bf16 what a
step gives is of bf16 still, as compiled steps take it.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from rnndrop.ops.kept_units import Kept, kept
from rnndrop.ops.matmul import WIDE, Packed, Rows, factor, linear, transposed
from rnndrop.recurrent.memory_masks import at

# Elements of a weight from which its transposed layout pays within a window.
_PACK_BACKWARD = {torch.bfloat16: 1 << 20, torch.float32: math.inf if WIDE else 1 << 20}
# Elements of a weight up to which the products of all gates in a step are formed at once.
_AT_ONCE = {torch.bfloat16: 1 << 21, torch.float32: 1 << 19}


class GateProduct(Protocol):
    """The product of masked inputs with a weight (G·H, I), and its gradients."""

    def pack(self, rows: int) -> None:
        """Lay the weight out for many products of `rows` rows."""
        ...

    def forward(self, x: Tensor, t: int | None) -> Tensor:
        """The gates' inputs."""
        ...

    def backward(self, gradient: Tensor, t: int | None) -> Tensor:
        """The gradient of x from that of the gates' inputs."""
        ...

    def weight_gradient(self, gradient: Rows, x: Tensor) -> Tensor:
        """The gradient of the weight (G·H, I) from those of all gates' inputs (T·B, G·H) and x (T, B, I)."""
        ...


PER_GATE = "per gate"


def product_kind(mask: Tensor | None) -> str:
    """Which product serves a mask (T|1, B|1, G|1, I|1): "dense", "per gate" or "kept units"."""
    if mask is None:
        return "dense"
    if mask.shape[2] > 1:
        return PER_GATE
    return "dense" if kept(mask) is None else "kept units"


def gate_product(weight: Tensor, bias: Tensor | None, mask: Tensor | None, gates: int) -> GateProduct:
    """The cheapest product for a weight (G·H, I), a bias (G·H,) and a mask (T|1, B|1, G|1, I|1)."""
    if mask is None:
        return _Dense(weight, bias, None)
    if mask.shape[2] > 1:
        return _PerGate(weight, bias, mask)
    units = kept(mask)
    return _Dense(weight, bias, mask.squeeze(2)) if units is None else _KeptUnits(weight, bias, units)


class _Matrix:
    """A weight (O, I) with its bias and, where it pays, its layouts for products with few rows."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._dtype = factor(weight), weight.dtype
        self._bias = bias
        self._rows: int | None = None
        self._forward: Packed | None = None
        self._backward: Packed | None = None

    def pack(self, rows: int) -> None:
        self._rows = rows

    def forward(self, x: Tensor) -> Tensor:
        """x (…, I) → (…, O)."""
        if self._rows is None:
            return self._flat(x, self._weight, self._bias)
        if self._forward is None:
            self._forward = Packed(self._weight, self._bias, self._rows)
        return self._forward.linear(x)

    def backward(self, gradient: Tensor) -> Tensor:
        """Gradient (…, O) → (…, I)."""
        if self._rows is None:
            return self._flat(gradient, self._weight.t(), None)
        if self._weight.numel() < _PACK_BACKWARD.get(self._weight.dtype, math.inf):
            return linear(gradient, self._weight.t())
        if self._backward is None:
            self._backward = Packed(transposed(self._weight), None, self._rows)
        return self._backward.linear(gradient)

    def _flat(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x (T, B, I) → (T, B, O), of the type of the parameters."""
        return linear(x.flatten(0, 1), weight, bias).view(*x.shape[:2], -1).to(self._dtype)


class _Dense:
    """Without a mask, or with one that all gates share and whose zeros differ between rows or steps."""

    def __init__(self, weight: Tensor, bias: Tensor | None, mask: Tensor | None) -> None:
        self._matrix = _Matrix(weight, bias)
        self._mask = mask  # (T|1, B|1, I|1)
        self.pack = self._matrix.pack

    def forward(self, x: Tensor, t: int | None) -> Tensor:
        return self._matrix.forward(_times(x, self._mask, t))

    def backward(self, gradient: Tensor, t: int | None) -> Tensor:
        product = self._matrix.backward(gradient)
        return product if self._mask is None else product.mul_(_at(self._mask, t))

    def weight_gradient(self, gradient: Rows, x: Tensor) -> Tensor:
        return gradient.outer(_times(x, self._mask, None).flatten(0, 1))


class _KeptUnits:
    """With one mask for the whole batch and window: what it drops is left out of the arithmetic."""

    def __init__(self, weight: Tensor, bias: Tensor | None, units: Kept) -> None:
        self._units = units
        self._matrix = _Matrix(units.columns(weight), bias)  # (G·H, K)
        self.pack = self._matrix.pack

    def forward(self, x: Tensor, t: int | None) -> Tensor:
        return self._matrix.forward(self._units.select(x))

    def backward(self, gradient: Tensor, t: int | None) -> Tensor:
        return self._units.spread(self._matrix.backward(gradient).mul_(self._units.scale))

    def weight_gradient(self, gradient: Rows, x: Tensor) -> Tensor:
        return self._units.spread(gradient.outer(self._units.select(x).flatten(0, 1)))


class _PerGate:
    """With one mask for each gate: one product for each gate; of steps, `pack`ed, a `StepProduct`."""

    def __init__(self, weight: Tensor, bias: Tensor | None, mask: Tensor) -> None:
        self._weight, self._bias = weight, bias
        self._gates = mask.shape[2]
        biases = [None] * self._gates if bias is None else bias.chunk(self._gates)
        parts = zip(weight.chunk(self._gates), biases, mask.unbind(2), strict=True)
        self._products = [_Dense(*part) for part in parts]
        self._mask = mask.transpose(1, 2)  # (T|1, G, B|1, I|1)
        self._step: StepProduct | None = None

    def pack(self, rows: int) -> None:
        self._step = StepProduct(self._weight, self._bias, self._gates, rows)

    def forward(self, x: Tensor, t: int | None) -> Tensor:
        if self._step is None:
            return torch.cat([product.forward(x, t) for product in self._products], -1)
        products = self._step.forward((x * _at(self._mask, t)).flatten(0, 1))  # (G·B, H)
        return products.view(self._gates, len(x), -1).transpose(0, 1).flatten(1)  # (B, G·H)

    def backward(self, gradient: Tensor, t: int | None) -> Tensor:
        if self._step is None:
            first, *others = (
                p.backward(part, t) for p, part in zip(self._products, self._split(gradient), strict=True)
            )
            for other in others:
                first += other
            return first
        by_gate = self._step.backward(gradient).view(self._gates, len(gradient), -1)  # (G, B, I)
        return by_gate.mul_(_at(self._mask, t)).sum(0)  # (B, I)

    def weight_gradient(self, gradient: Rows, x: Tensor) -> Tensor:
        parts = map(Rows, self._split(gradient.rows))
        return torch.cat([p.weight_gradient(part, x) for p, part in zip(self._products, parts, strict=True)])

    def _split(self, gates: Tensor) -> tuple[Tensor, ...]:
        return gates.chunk(self._gates, -1)


class StepProduct:
    """The product of a step with rows that are masked already: (B, I), or (G·B, I) where each gate takes its own.

    The products of all gates are formed at once where the weight is small.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, parts: int, rows: int) -> None:
        """For a weight (G·H, I), a bias (G·H,) and `rows` sequences; `parts` is 1, or G where each gate has its own."""
        self._weight = factor(weight).reshape(parts, len(weight) // parts, weight.shape[1])  # (G, H, I)
        self._bias = None if bias is None else factor(bias).view(parts, 1, -1)
        biases = [None] * parts if self._bias is None else self._bias.flatten(1)
        self._parts = [_Matrix(*part) for part in zip(self._weight, biases, strict=True)]
        for part in self._parts:
            part.pack(rows)
        self._at_once = parts > 1 and weight.numel() <= _AT_ONCE.get(self._weight.dtype, 0)

    def forward(self, taken: Tensor) -> Tensor:
        """The gates' inputs (B, G·H), or (G·B, H) where each gate takes its own."""
        if len(self._parts) == 1:
            return self._parts[0].forward(taken)
        if not self._at_once:
            own = taken.chunk(len(self._parts))
            return torch.cat([part.forward(rows) for part, rows in zip(self._parts, own, strict=True)])
        by_gate = factor(taken).view(len(self._parts), -1, taken.shape[1])  # (G, B, I)
        products = torch.bmm(by_gate, self._weight.transpose(1, 2))
        if self._bias is not None:
            products += self._bias
        return products.flatten(0, 1)  # (G·B, H)

    def backward(self, gradient: Tensor) -> Tensor:
        """The gradient of what is taken, from that of the gates' inputs (B, G·H)."""
        if len(self._parts) == 1:
            return self._parts[0].backward(gradient)
        if not self._at_once:
            own = gradient.chunk(len(self._parts), 1)
            return torch.cat([part.backward(rows) for part, rows in zip(self._parts, own, strict=True)])
        by_gate = factor(gradient).view(len(gradient), len(self._parts), -1).transpose(0, 1)  # (G, B, H)
        return torch.bmm(by_gate, self._weight).flatten(0, 1)  # (G·B, I)

    def weight_gradient(self, gradient: Rows, taken: Tensor) -> Tensor:
        """The gradient of the weight, from those of all gates' inputs (T·B, G·H) and what all steps take, (T, …, I)."""
        if len(self._parts) == 1:
            return gradient.outer(taken.flatten(0, 1))
        own = taken.chunk(len(self._parts), 1)  # each (T, B, I)
        by_gate = map(Rows, gradient.rows.chunk(len(self._parts), 1))
        return torch.cat([rows.outer(each.flatten(0, 1)) for rows, each in zip(by_gate, own, strict=True)])


def _at(mask: Tensor, t: int | None) -> Tensor:
    """A mask (T|1, B|1, I|1), or its (B|1, I|1) at step `t`."""
    return mask if t is None else at(mask, t)


def _times(x: Tensor, mask: Tensor | None, t: int | None) -> Tensor:
    return x if mask is None else x * _at(mask, t)
