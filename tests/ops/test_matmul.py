"""Products are the same whichever library forms them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnndrop.ops import matmul
from rnndrop.ops.matmul import Packed, Rows, linear

SHAPES = [
    (3, 5, 4),
    (20, 400, 1600),
    (20, 325, 2600),
    (20, 700, 1600),
    (1600, 700, 20),
    (700, 1600, 20),
    (0, 5, 4),
    (3, 0, 4),
]


@pytest.fixture(params=[False, True], ids=["avx2", "avx512"])
def wide(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "WIDE", request.param)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def assert_same(ours: Tensor, truth: Tensor) -> None:
    assert ours.shape == truth.shape
    torch.testing.assert_close(ours.double(), truth, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(("rows", "inner", "columns"), SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_linear(rows: int, inner: int, columns: int, transposed: bool) -> None:
    x, bias = drawn(rows, inner), drawn(columns)
    weight = drawn(inner, columns).t() if transposed else drawn(columns, inner)
    truth = x.double() @ weight.double().t()
    assert_same(linear(x, weight), truth)
    assert_same(linear(x, weight, bias), truth + bias)
    if rows:
        assert_same(Packed(weight, bias, rows).linear(x), truth + bias)


@pytest.mark.usefixtures("wide")
def test_linear_takes_columns_of_a_weight() -> None:
    x, weight = drawn(20, 700), drawn(1600, 1400)[:, ::2]
    assert_same(linear(x, weight), x.double() @ weight.double().t())


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(("rows", "inner", "columns"), SHAPES)
def test_outer(rows: int, inner: int, columns: int) -> None:
    x, y = drawn(inner, rows), drawn(inner, columns)
    shared = Rows(x)
    for _ in range(2):  # the second finds what the first has transposed
        assert_same(shared.outer(y), x.double().t() @ y.double())
