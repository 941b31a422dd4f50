"""The chunked distances equal the plain ones, token by token: value and gradients, with padding, for any chunks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rnndrop.ops import nll
from rnndrop.ops.logit_distance import MEASURES, distance_sum
from rnndrop.ops.nll import PADDING

T, B, V = 6, 4, 30


def problem(dtype: torch.dtype, widths: tuple[int, int] = (5, 5)) -> tuple[list[Tensor], Tensor]:
    """Features and weight of both passes, the bias, and the targets."""
    generator = torch.Generator().manual_seed(0)
    one, other = widths
    tensors = [
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in [(T, B, one), (V, one), (T, B, other), (V, other), (V,)]
    ]
    return tensors, torch.randint(V, (T, B), generator=generator)


def ours(measure: str, tensors: list[Tensor], targets: Tensor) -> Tensor:
    x1, w1, x2, w2, bias = tensors
    return distance_sum(measure, (x1, w1), (x2, w2), bias, targets)


def plain(measure: str, tensors: list[Tensor], targets: Tensor) -> Tensor:
    x1, w1, x2, w2, bias = tensors
    total = bias.new_zeros(())
    for t in range(T):
        for b in range(B):
            if targets[t, b] != PADDING:
                z1, z2 = w1 @ x1[t, b] + bias, w2 @ x2[t, b] + bias
                p, q = F.softmax(z1, 0), F.softmax(z2, 0)
                forth, back = (p * (p.log() - q.log())).sum(), (q * (q.log() - p.log())).sum()
                total = total + (((z1 - z2) ** 2).mean() if measure == "mse" else 0.5 * (forth + back))
    return total


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("widths", [(5, 5), (5, 3), (40, 40)])  # a shared mask leaves each pass its own units
@pytest.mark.parametrize("rows", [1, 7, 100])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_value_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
    measure: str,
    widths: tuple[int, int],
    rows: int,
    padded: bool,
    dtype: torch.dtype,
    within: float,
) -> None:
    monkeypatch.setitem(nll._CHUNK, "cpu", rows * V * dtype.itemsize)
    tensors, targets = problem(dtype, widths)
    if padded:
        targets[-2:, 1] = PADDING
    found, truth = ours(measure, tensors, targets), plain(measure, tensors, targets)
    assert abs(found - truth).item() <= within * truth.item()
    scale = sum(part.norm() for part in torch.autograd.grad(truth, tensors, retain_graph=True))
    for a, b in zip(torch.autograd.grad(3 * found, tensors), torch.autograd.grad(3 * truth, tensors), strict=True):
        assert (a - b).norm() <= within * scale  # of mse the bias has none


@pytest.mark.parametrize("measure", MEASURES)
def test_the_same_prediction_is_at_a_distance_of_0(measure: str) -> None:
    (x, weight, *_, bias), targets = problem(torch.float32)
    found = distance_sum(measure, (x, weight), (x, weight), bias, targets)
    found.backward()
    assert found.item() == 0
    for each in (x, weight, bias):
        assert each.grad is not None and not each.grad.any()


def test_predictions_that_are_sure_stay_finite() -> None:
    (x1, *rest), targets = problem(torch.float32)
    tensors = [(1000 * x1).detach().requires_grad_(), *rest]
    found = ours("kl", tensors, targets)
    assert found.isfinite() and found > 0
    assert all(part.isfinite().all() for part in torch.autograd.grad(found, tensors))


def test_only_padding_is_at_a_distance_of_0() -> None:
    tensors, targets = problem(torch.float32)
    found = ours("kl", tensors, targets.fill_(PADDING))
    assert found.item() == 0 and not any(part.any() for part in torch.autograd.grad(found, tensors))


def test_the_gradients_are_handed_out_once() -> None:
    tensors, targets = problem(torch.float32)
    found = ours("mse", tensors, targets)
    found.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="earlier backward"):
        found.backward()
