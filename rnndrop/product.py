"""Matrix products for functions that form their own gradients: nothing here is recorded by autograd.

On a CPU in float32 they go through oneDNN, which is what `nn.LSTM` uses too: its products with few rows, and on AMD
processors all of its products, are up to twice as fast as those of `torch.mm` (docs/performance.md). The operator
is private to torch, so everything falls back to `torch.mm` where it is missing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def _onednn() -> tuple[Any, Any] | None:
    """The operators (linear, pack), or None where this build of torch has none."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    try:
        return torch.ops.mkldnn._linear_pointwise, torch.ops.mkldnn._reorder_linear_weight
    except AttributeError:
        return None


_ONEDNN = _onednn()


_BLOCK = 1 << 20  # elements of a product that is added to something


def uses_onednn(tensor: Tensor) -> bool:
    """Whether products of `tensor` go through oneDNN."""
    return _ONEDNN is not None and tensor.dtype == torch.float32 and tensor.device.type == "cpu"


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, add: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias + add` for x (N, I), weight (O, I), bias (O,), add (N, O); the weight may be transposed."""
    if _ONEDNN is not None and uses_onednn(x) and x.numel() and weight.numel():
        if not (weight.is_mkldnn or weight.is_contiguous() or weight.t().is_contiguous()):
            weight = weight.contiguous()  # with other strides oneDNN falls back to a loop, hundreds of times slower
        if add is None:
            return _ONEDNN[0](x, weight, bias, "none", [], "")  # type: ignore[no-any-return]
        return _ONEDNN[0].binary(x, add, weight, bias, "add")  # type: ignore[no-any-return]
    product = torch.mm(x, weight.t()) if bias is None else torch.addmm(bias, x, weight.t())
    return product if add is None else product.add_(add)


def outer(rows: Tensor, columns: Tensor) -> Tensor:
    """`rows.T @ columns` (O, I) for rows (N, O), columns (N, I): the gradient of a weight."""
    if uses_onednn(rows):
        return linear(rows.t().contiguous(), columns.t())
    return torch.mm(rows.t(), columns)


class OuterSum:
    """The sum (O, I) of `rows.T @ columns` over chunks, for rows (N, O), columns (N, I); `total` rows in all."""

    def __init__(self, like: Tensor, total: int) -> None:
        self._onednn = uses_onednn(like)
        self._flipped = self._onednn and like.shape[1] < total  # one of the factors or the sum must be transposed
        self._sum = like.new_zeros(like.shape[::-1] if self._flipped else like.shape)

    def add(self, rows: Tensor, columns: Tensor) -> None:
        """Add the product of a chunk."""
        if not self._onednn:
            self._sum.addmm_(rows.t(), columns)
            return
        if self._flipped:
            rows, columns = columns, rows
        rows, columns = rows.t().contiguous(), columns.t()
        size = max(1, _BLOCK // max(1, len(columns)))  # a mask may leave no columns
        for block in range(0, len(rows), size):  # a block is added while it is in the cache
            self._sum[block : block + size] += linear(rows[block : block + size], columns)

    def result(self) -> Tensor:
        """The sum."""
        return self._sum.t().contiguous() if self._flipped else self._sum


class Packed:
    """A weight (O, I) and bias (O,), laid out once for many products with few rows each."""

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        self._weight = weight
        self._bias = bias
        if _ONEDNN is not None and uses_onednn(weight) and weight.numel():
            self._weight = _ONEDNN[1](weight, rows)

    def linear(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        """`x @ weight.T + bias + add` for x (rows, I), add (rows, O)."""
        return linear(x, self._weight, self._bias, add)
