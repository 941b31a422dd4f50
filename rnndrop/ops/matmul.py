"""Matrix products for functions that form their own gradients: nothing here is recorded by autograd.

On a CPU in float32 most of them go through oneDNN, which is what `nn.LSTM` uses too. Which library is faster depends on
the processor and on the shapes; the rules here are what was measured (docs/performance.md), and depend on nothing
else, so that a machine always computes the same. oneDNN's operators are private to torch: where they are missing,
everything falls back to `torch.mm`.

In bf16 (`round_factors`) the factors of a product on a CPU are rounded, its sums are of float32, and the product is
rounded again.
"""

from __future__ import annotations

import platform
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor


def _onednn() -> tuple[Any, Any] | None:
    """The operators (linear, pack), or None where this build of torch has none."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    try:
        return torch.ops.mkldnn._linear_pointwise.default, torch.ops.mkldnn._reorder_linear_weight.default
    except AttributeError:
        return None


_ONEDNN = _onednn()
_rounded = ContextVar("rounded", default=False)  # whether factors are rounded to bf16; each thread has its own
WIDE = torch.backends.cpu.get_cpu_capability() == "AVX512"  # there oneDNN is always the faster one

# `torch.mm` is the faster one, unless WIDE, …
_SMALL = 1 << 20  # … where the largest matrix of a product has fewer elements,
_PACK = 1 << 18  # … and, of a weight for many products with few rows, where the weight has fewer elements


def round_factors(to_bf16: bool) -> None:
    """From now on, round the factors of float32 products on a CPU to bf16, or do not; in this thread alone."""
    _rounded.set(to_bf16)


def rounds() -> bool:
    """Whether factors are rounded to bf16 now."""
    return _rounded.get()


def has_bf16() -> bool:
    """Whether this processor multiplies bf16 itself; elsewhere such products are right, and slow."""
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return _ONEDNN is not None and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # type: ignore[no-any-return]


def factor(x: Tensor) -> Tensor:
    """`x` as the factor of a product. Products round theirs themselves; this is for one that enters several."""
    return x.bfloat16() if _rounded.get() and x.dtype == torch.float32 and x.device.type == "cpu" else x


def _can_use_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN has this product at all."""
    on_cpu = x.dtype in (torch.float32, torch.bfloat16) and x.device.type == "cpu"
    return _ONEDNN is not None and on_cpu and x.numel() > 0 and weight.numel() > 0


def _is_faster(rows: int, inner: int, columns: int) -> bool:
    """Whether oneDNN is the faster one for a product (rows, inner) × (inner, columns)."""
    return WIDE or max(rows * inner, inner * columns, rows * columns) >= _SMALL


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` for x (N, I), weight (O, I), bias (O,); the weight may be transposed.

    The product has the type of its rounded factors.
    """
    x, weight, bias = factor(x), factor(weight), None if bias is None else factor(bias)
    if _can_use_onednn(x, weight) and _is_faster(len(x), x.shape[1], len(weight)):
        assert _ONEDNN is not None
        if not (weight.is_contiguous() or weight.t().is_contiguous()):
            weight = weight.contiguous()  # with other strides oneDNN falls back to a loop, hundreds of times slower
        return _ONEDNN[0](x, weight, bias, "none", [], "")  # type: ignore[no-any-return]
    return torch.mm(x, weight.t()) if bias is None else torch.addmm(bias, x, weight.t())


class Rows:
    """A matrix (N, O) that enters several products; what is transposed of it is so once."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = factor(rows)
        self._transposed: Tensor | None = None

    def outer(self, columns: Tensor) -> Tensor:
        """`rows.T @ columns` (O, I) for columns (N, I): the gradient of a weight.

        Of the two the narrower is transposed, unless the result, then transposed too, would be larger than them. In
        bf16 none has to be, and the result, rounded to bf16, is handed on as float32.
        """
        rows, columns = self.rows, factor(columns)
        if rows.dtype == torch.bfloat16:
            return torch.mm(rows.t(), columns).float()
        inner, out = rows.shape
        pays = WIDE or inner <= out  # else the copy costs more than it gains
        if not (pays and _can_use_onednn(rows, columns) and _is_faster(out, inner, columns.shape[1])):
            return torch.mm(rows.t(), columns)
        if columns.shape[1] < out <= inner:
            return linear(transposed(columns), rows.t()).t()
        if self._transposed is None:
            self._transposed = transposed(rows)
        return linear(self._transposed, columns.t())


def transposed(x: Tensor) -> Tensor:
    """x.T, contiguous. torch copies a transposed matrix with one thread, but not one in three dimensions."""
    return x.t().unsqueeze(0).contiguous().squeeze(0)


class Packed:
    """A weight (O, I) and bias (O,), laid out once for many products with few rows each."""

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        weight = factor(weight)
        self._bias = None if bias is None else factor(bias)
        self._packs = _can_use_onednn(weight, weight) and (WIDE or weight.numel() >= _PACK)
        self._weight = _ONEDNN[1](weight, rows) if _ONEDNN is not None and self._packs else weight

    def linear(self, x: Tensor) -> Tensor:
        """`x @ weight.T + bias` for x (rows, I)."""
        if _ONEDNN is not None and self._packs:
            return _ONEDNN[0](factor(x), self._weight, self._bias, "none", [], "")  # type: ignore[no-any-return]
        return linear(x, self._weight, self._bias)
