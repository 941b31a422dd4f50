"""The chunked loss equals the plain one: value and gradients, with padding, for every size of the chunks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rnndrop.ops import nll
from rnndrop.ops.kept_units import kept
from rnndrop.ops.nll import PADDING, nll_sum, token_nll

T, B, V = 6, 4, 30


def problem(width: int, dtype: torch.dtype, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features, weight, bias = (
        (scale * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()
        for shape in [(T, B, width), (V, width), (V,)]
    )
    return features, weight, bias, torch.randint(V, (T, B), generator=generator)


def plain(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, reduction: str) -> Tensor:
    logits = F.linear(features.flatten(0, 1), weight, bias)
    return F.cross_entropy(logits, targets.flatten(), ignore_index=PADDING, reduction=reduction)


@pytest.mark.parametrize("width", [5, 12, 50])  # fewer than the tokens of a chunk, as many, and more than all
@pytest.mark.parametrize("rows", [1, 7, 100])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_value_and_gradients(
    monkeypatch: pytest.MonkeyPatch, width: int, rows: int, padded: bool, dtype: torch.dtype, within: float
) -> None:
    monkeypatch.setitem(nll._CHUNK, "cpu", rows * V * dtype.itemsize)
    features, weight, bias, targets = problem(width, dtype)
    if padded:
        targets[-2:, 1] = PADDING
    inputs = (features, weight, bias)
    ours, truth = nll_sum(*inputs, targets), plain(*inputs, targets, "sum")
    assert abs(ours - truth).item() <= within * truth.item()
    for a, b in zip(torch.autograd.grad(3 * ours, inputs), torch.autograd.grad(3 * truth, inputs), strict=True):
        assert (a - b).norm() <= within * b.norm()
    each = token_nll(*inputs, targets)
    torch.testing.assert_close(each, plain(*inputs, targets, "none").detach().view(T, B), rtol=within, atol=within)


@pytest.mark.parametrize(("scale", "shift"), [(30.0, 0.0), (1.0, 200.0), (1.0, -200.0)])
def test_logits_whose_exponentials_overflow_or_vanish(scale: float, shift: float) -> None:
    features, weight, bias, targets = problem(5, torch.float32, scale)
    with torch.no_grad():
        bias += shift
    inputs = (features, weight, bias)
    ours, truth = nll_sum(*inputs, targets), plain(*inputs, targets, "sum")
    torch.testing.assert_close(ours.detach(), truth.detach(), rtol=1e-5, atol=1e-3)
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(truth, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def lowered(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, share: float) -> Tensor:
    """Token by token: the target's row of the weight is moved against h, as far as share of its length."""
    total = features.new_zeros(())
    for h, y in zip(features.flatten(0, 1), targets.flatten(), strict=True):
        if y != PADDING:
            worst = (-share * weight[y].norm() * h / h.norm()).detach()
            moved = torch.stack([row + worst if v == y else row for v, row in enumerate(weight)])
            total = total - F.softmax(moved @ h + bias, 0)[y].log()
    return total


@pytest.mark.parametrize("rows", [1, 7, 100])
@pytest.mark.parametrize("share", [0.01, 1.0])
@pytest.mark.parametrize("padded", [False, True])
def test_an_adversary_moves_the_row_of_the_target(
    monkeypatch: pytest.MonkeyPatch, rows: int, share: float, padded: bool
) -> None:
    monkeypatch.setitem(nll._CHUNK, "cpu", rows * V * 8)
    features, weight, bias, targets = problem(5, torch.float64)
    if padded:
        targets[-2:, 1] = PADDING
    inputs = (features, weight, bias)
    ours, truth = nll_sum(*inputs, targets, share), lowered(*inputs, targets, share)
    assert ours.item() == pytest.approx(truth.item(), rel=1e-12)
    assert ours > plain(*inputs, targets, "sum")
    for a, b in zip(torch.autograd.grad(3 * ours, inputs), torch.autograd.grad(3 * truth, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("share", [1.0, 100.0])
def test_an_adversary_stays_finite(share: float) -> None:
    features, weight, bias, targets = problem(5, torch.float32, 30)
    with torch.no_grad():
        features[0] = 0
    ours = nll_sum(features, weight, bias, targets, share)
    assert ours.isfinite()
    assert all(part.isfinite().all() for part in torch.autograd.grad(ours, (features, weight, bias)))


def test_only_padding_is_a_loss_of_0() -> None:
    features, weight, bias, targets = problem(5, torch.float32)
    value = nll_sum(features, weight, bias, targets.fill_(PADDING))
    value.backward()
    assert value.item() == 0 and weight.grad is not None and not weight.grad.any()


def test_the_gradients_are_handed_out_once() -> None:
    features, weight, bias, targets = problem(5, torch.float32)
    value = nll_sum(features, weight, bias, targets)
    value.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="earlier backward"):
        value.backward()


@pytest.mark.parametrize("drop", ["some", "all"])
def test_units_that_a_shared_mask_drops_are_left_out(drop: str) -> None:
    features, weight, bias, targets = problem(8, torch.float64)
    mask = torch.tensor([2.0, 0, 0, 2, 0, 2, 2, 0] if drop == "some" else [0.0] * 8, dtype=torch.float64)
    units = kept(mask.view(1, 1, 8))
    assert units is not None
    ours = nll_sum(units.select(features), units.columns(weight), bias, targets)
    truth = plain(features * mask, weight, bias, targets, "sum")
    inputs = (features, weight, bias)
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(truth, inputs), strict=True):
        torch.testing.assert_close(a, b)
