"""Layers of linear cells: the scan equals the recurrence step by step, under every mask, compiled and by doubling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rnndrop.config.cells import CELLS, CellSpec
from rnndrop.dropout.masks import LayerMasks
from rnndrop.ops import matmul
from rnndrop.recurrent import engine, kernels, rglru
from rnndrop.recurrent.linear import run_linear, scan
from rnndrop.recurrent.reference import unroll
from rnndrop.recurrent.weights import LayerWeights
from tests.recurrent.cases import MEMORY_PAIRS, POINTS, B, D, H, T, drawn, outcome, shapes_of

LINEAR = [name for name, cell in CELLS.items() if cell.linear]
WAYS = [
    False,
    pytest.param(True, marks=pytest.mark.skipif(not kernels.AVAILABLE, reason="numba is not installed")),
]
every_cell = pytest.mark.parametrize("cell", LINEAR)
both_ways = pytest.mark.parametrize("compiled", WAYS)


def assert_equal(cell: str, masks: LayerMasks, compiled: bool, **how: Any) -> None:
    def ours(
        spec: CellSpec, x: Tensor, memory: tuple[Tensor, ...], weights: LayerWeights, masks: LayerMasks
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        return run_linear(spec, x, memory, weights, masks, compiled)

    within = 1e-4 if how else 1e-9
    for mine, truth in zip(outcome(ours, cell, masks, **how), outcome(unroll, cell, masks, **how), strict=True):
        assert (mine - truth).norm() <= within * truth.norm()


@both_ways
@pytest.mark.parametrize(("cell", "location", "kind"), [point for point in POINTS if point[0] in LINEAR])
def test_every_kind_equals_the_steps(cell: str, location: str, kind: str, compiled: bool) -> None:
    assert_equal(cell, drawn(cell, {location: {"kind": kind, "p": 0.5}}), compiled)
    assert_equal(cell, drawn(cell, {location: {"kind": kind, "p": 0.5}}, torch.float32), compiled, dtype=torch.float32)


@both_ways
@pytest.mark.parametrize(("cell", "settings"), [pair for pair in MEMORY_PAIRS if pair[0] in LINEAR])
def test_rules_on_both_memories_equal_the_steps(cell: str, settings: dict[str, Any], compiled: bool) -> None:
    assert_equal(cell, drawn(cell, settings), compiled)


@both_ways
@every_cell
def test_gradients_are_those_of_small_differences(cell: str, compiled: bool) -> None:
    places = ("input", "update", "cell", "weight_ih")
    masks = drawn(
        cell, {place: {"kind": "locked" if "w" not in place else "dropconnect", "p": 0.3} for place in places}
    )
    generator = torch.Generator().manual_seed(1)
    shapes = [(T, B, D), (B, H), *shapes_of(cell)]
    inputs = [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]

    def layer(x: Tensor, first: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        output, memory = run_linear(CELLS[cell], x, (first,), LayerWeights(*weights), masks, compiled)
        return output, *memory

    assert torch.autograd.gradcheck(layer, inputs)


@both_ways
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 37])
def test_a_scan_of_any_length_equals_a_loop(steps: int, compiled: bool) -> None:
    generator = torch.Generator().manual_seed(steps)
    keep, add, first, by = (
        torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((steps, B, H), (steps, B, H), (B, H), (steps, B, H))
    )
    h, truth = first, []
    for t in range(steps):
        h = keep[t] * h + add[t]
        truth.append(h)
    ours = scan(keep, add, first, compiled)
    torch.testing.assert_close(ours, torch.stack(truth), rtol=1e-12, atol=1e-12)
    both = [torch.autograd.grad((each * by).sum(), (keep, add, first)) for each in (ours, torch.stack(truth))]
    for mine, plain in zip(*both, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-12, atol=1e-12)


@both_ways
def test_what_forgets_all_is_exact(compiled: bool) -> None:
    """512 steps that keep a hundredth, or nothing: 0.01^512 is no number, and no quotient of such is taken."""
    keep = torch.full((512, 1, 2), 0.01)
    keep[100:, :, 1] = 0
    keep.requires_grad_()
    h = scan(keep, torch.ones(512, 1, 2), torch.zeros(1, 2), compiled)
    torch.testing.assert_close(h[-1], torch.tensor([[1 / 0.99, 1.0]]))
    (gradient,) = torch.autograd.grad(h.sum(), keep)
    assert torch.isfinite(gradient).all()


@both_ways
@every_cell
def test_what_zoneout_holds_stays_the_same_to_the_last_bit(cell: str, compiled: bool) -> None:
    masks = drawn(cell, {"cell": {"kind": "zoneout", "p": 0.5}}, torch.float32)
    assert masks.cell is not None
    generator = torch.Generator().manual_seed(1)
    weights = LayerWeights(*(torch.randn(*shape, generator=generator) for shape in shapes_of(cell)))
    first, held = torch.randn(B, H, generator=generator), masks.cell.values[0] == 1
    _, (kept,) = run_linear(
        CELLS[cell], torch.randn(1, B, D, generator=generator), (first,), weights,
        LayerMasks(cell=masks.cell._replace(values=masks.cell.values[:1])), compiled,
    )  # fmt: skip
    assert held.any() and torch.equal(kept[held], first[held]) and not (kept == first)[~held].any()


@every_cell
@pytest.mark.parametrize("place", ["update", "cell", "memory"])
def test_what_has_another_size_is_refused(cell: str, place: str) -> None:
    """Compiled steps would read what lies beyond it."""
    masks = LayerMasks() if place == "memory" else drawn(cell, {place: {"kind": "naive", "p": 0.5}})
    weights = LayerWeights(*(torch.randn(*shape, dtype=torch.float64) for shape in shapes_of(cell)))
    x = torch.randn(T, B if place == "memory" else B + 1, D, dtype=torch.float64)
    with pytest.raises((RuntimeError, ValueError)):
        run_linear(CELLS[cell], x, (torch.zeros(B + 1, H, dtype=torch.float64),), weights, masks, True)


@every_cell
def test_a_weight_that_changed_before_the_way_back_is_refused(cell: str) -> None:
    weights = LayerWeights(*(torch.randn(*shape).requires_grad_() for shape in shapes_of(cell)))
    output, _ = run_linear(CELLS[cell], torch.randn(T, B, D), (torch.zeros(B, H),), weights, LayerMasks(), False)
    with torch.no_grad():
        weights.weight_ih.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.skipif(not matmul.has_bf16(), reason="this processor has no bf16 products")
@every_cell
def test_in_bf16_it_is_near_float32(cell: str) -> None:
    def layer(spec: Any, *arguments: Any) -> Any:
        return engine.run_layer(spec.name, *arguments)

    masks = drawn(cell, {"input": {"kind": "locked", "p": 0.4}, "cell": {"kind": "naive", "p": 0.3}}, torch.float32)
    truth = outcome(layer, cell, masks, torch.float32, scale=0.3)
    matmul.round_factors(True)
    try:
        ours = outcome(layer, cell, masks, torch.float32, scale=0.3)
    finally:
        matmul.round_factors(False)
    errors = [((a - b).norm() / b.norm()).item() for a, b in zip(ours, truth, strict=True) if b.numel() and b.any()]
    assert {part.dtype for part in ours} == {torch.float32} and 0 < max(errors) < 0.05, errors


@every_cell
def test_the_path_says_scan_with_every_mask_and_on_every_device(cell: str) -> None:
    masks = drawn(cell, {"cell": {"kind": "zoneout", "p": 0.5}, "input": {"kind": "shared", "p": 0.5}})
    for device in ("cpu", "cuda"):
        assert engine.path(cell, masks, torch.device(device)) == "scan: input kept units"


def test_rglru_begins_as_in_the_code_of_its_authors() -> None:
    weights = LayerWeights(*(torch.zeros(*shape) for shape in shapes_of("rglru")))
    rglru.initialize(weights, torch.Generator().manual_seed(0))
    a = torch.sigmoid(weights.weight_hh.double())  # of which an open gate takes the 8th power
    assert weights.weight_hh.shape == (1, H) and a.min() >= 0.8999 and a.max() <= 0.9991 and a.std() > 0.01


def test_an_open_gate_of_rglru_has_a_finite_gradient() -> None:
    """Where r is 0 to the last bit, a is 1 and sqrt(1 - a²) has no derivative."""
    gates = torch.full((1, 3, 1), -200.0, requires_grad=True)
    terms = rglru.terms(gates, torch.ones(1, 1))
    (gradient,) = torch.autograd.grad((terms.keep + terms.add).sum(), gates)
    assert torch.isfinite(gradient).all()
