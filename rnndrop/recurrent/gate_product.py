"""The products of a layer, x → the gates' inputs, under a mask on x: three ways, chosen by the mask's shape.

All take x (B, I) at a step `t`, or (T, B, I) with `t` None, and gates (B, G·H) or (T, B, G·H) likewise.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from rnndrop.ops.kept_units import Kept, kept
from rnndrop.ops.matmul import WIDE, Packed, linear, outer
from rnndrop.recurrent.memory_masks import at

_PACK_BACKWARD = 1 << (22 if WIDE else 20)  # elements of a weight whose transposed layout pays within a window


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

    def weight_gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        """The gradient of the weight (G·H, I) from those of all gates' inputs (T, B, G·H) and x (T, B, I)."""
        ...


def product_kind(mask: Tensor | None) -> str:
    """Which product serves a mask (T|1, B|1, G|1, I|1): "dense", "per gate" or "kept units"."""
    if mask is None:
        return "dense"
    if mask.shape[2] > 1:
        return "per gate"
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
        self._weight = weight
        self._bias = bias
        self._rows: int | None = None
        self._forward: Packed | None = None
        self._backward: Packed | None = None

    def pack(self, rows: int) -> None:
        self._rows = rows

    def forward(self, x: Tensor) -> Tensor:
        """x (…, I) → (…, O)."""
        if self._rows is None:
            return _flat(x, self._weight, self._bias)
        if self._forward is None:
            self._forward = Packed(self._weight, self._bias, self._rows)
        return self._forward.linear(x)

    def backward(self, gradient: Tensor) -> Tensor:
        """Gradient (…, O) → (…, I)."""
        if self._rows is None:
            return _flat(gradient, self._weight.t(), None)
        if self._weight.numel() < _PACK_BACKWARD:
            return linear(gradient, self._weight.t())
        if self._backward is None:
            self._backward = Packed(self._weight.t(), None, self._rows)
        return self._backward.linear(gradient)


def _flat(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (T, B, I) → (T, B, O)."""
    return linear(x.flatten(0, 1), weight, bias).view(*x.shape[:2], -1)


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

    def weight_gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        return outer(gradient.flatten(0, 1), _times(x, self._mask, None).flatten(0, 1))


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

    def weight_gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        return self._units.spread(outer(gradient.flatten(0, 1), self._units.select(x).flatten(0, 1)))


class _PerGate:
    """With one mask for each gate: one product for each gate."""

    def __init__(self, weight: Tensor, bias: Tensor | None, mask: Tensor) -> None:
        gates = mask.shape[2]
        biases = [None] * gates if bias is None else bias.chunk(gates)
        self._products = [_Dense(part, biases[gate], mask[:, :, gate]) for gate, part in enumerate(weight.chunk(gates))]

    def pack(self, rows: int) -> None:
        for product in self._products:
            product.pack(rows)

    def forward(self, x: Tensor, t: int | None) -> Tensor:
        return torch.cat([product.forward(x, t) for product in self._products], -1)

    def backward(self, gradient: Tensor, t: int | None) -> Tensor:
        first, *others = (p.backward(part, t) for p, part in zip(self._products, self._split(gradient), strict=True))
        for other in others:
            first += other
        return first

    def weight_gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        parts = self._split(gradient)
        return torch.cat([p.weight_gradient(part, x) for p, part in zip(self._products, parts, strict=True)])

    def _split(self, gates: Tensor) -> tuple[Tensor, ...]:
        return gates.chunk(len(self._products), -1)


def _at(mask: Tensor, t: int | None) -> Tensor:
    """A mask (T|1, B|1, I|1), or its (B|1, I|1) at step `t`."""
    return mask if t is None else at(mask, t)


def _times(x: Tensor, mask: Tensor | None, t: int | None) -> Tensor:
    return x if mask is None else x * _at(mask, t)
