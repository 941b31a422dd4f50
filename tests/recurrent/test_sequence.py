"""The engine equals the plain recurrence: outputs, memories and all gradients, for every cell and shape of mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import rnndrop
from rnndrop.config.cells import CELLS
from rnndrop.dropout.masks import LayerMasks
from rnndrop.recurrent.engine import path, run_layer
from rnndrop.recurrent.reference import unroll
from rnndrop.recurrent.sequence import run_sequence
from rnndrop.recurrent.weights import LayerWeights
from tests.recurrent.cases import MEMORY_PAIRS, POINTS, B, D, H, T, drawn, outcome

TRACED = [name for name in sorted(CELLS) if hasattr(CELLS[name].equations, "Trace")]  # the others torch unrolls
every_cell = pytest.mark.parametrize("cell", TRACED)
every_point = pytest.mark.parametrize(("cell", "location", "kind"), [point for point in POINTS if point[0] in TRACED])


def assert_equal(cell: str, masks: LayerMasks, dtype: torch.dtype = torch.float64, within: float = 1e-9) -> None:
    for read in (False, True):
        pairs = zip(*(outcome(run, cell, masks, dtype, read) for run in (run_sequence, unroll)), strict=True)
        assert all((ours - truth).norm() <= within * truth.norm() for ours, truth in pairs)


@every_point
def test_every_kind_equals_the_reference(cell: str, location: str, kind: str) -> None:
    assert_equal(cell, drawn(cell, {location: {"kind": kind, "p": 0.5}}))


@pytest.mark.parametrize(("cell", "settings"), [pair for pair in MEMORY_PAIRS if pair[0] in TRACED])
def test_rules_on_both_memories_equal_the_reference(cell: str, settings: dict[str, Any]) -> None:
    assert_equal(cell, drawn(cell, settings))


@every_point
def test_every_kind_is_close_in_float32(cell: str, location: str, kind: str) -> None:
    masks = drawn(cell, {location: {"kind": kind, "p": 0.5}}, torch.float32)
    assert_equal(cell, masks, torch.float32, within=1e-4)


@every_cell
@pytest.mark.parametrize("on_gradient", ["token", "naive", "locked", "shared"])
@pytest.mark.parametrize("forward", ["none", "locked", "shared", "locked_gates"])
def test_a_mask_on_the_gradient_alone_equals_the_reference(cell: str, on_gradient: str, forward: str) -> None:
    """h-detach (Arpit et al. 2019): what is read is untouched, what comes back through U is cut."""
    forward_p = 0.0 if forward == "none" else 0.4
    masks, plain = (
        drawn(cell, {"recurrent": {"kind": forward, "p": forward_p, "also": [cut]}})
        for cut in ({"kind": on_gradient, "p": p, "gradient": True} for p in (0.5, 0.0))
    )
    masks = replace(masks, recurrent=plain.recurrent)
    assert masks.recurrent_gradient is not None and set(masks.recurrent_gradient.unique().tolist()) == {0.0, 1.0}
    assert_equal(cell, masks)
    results, plain_results = outcome(run_sequence, cell, masks), outcome(run_sequence, cell, plain)
    assert torch.equal(results[0], plain_results[0])
    by_x = 1 + CELLS[cell].memories
    differs = not torch.equal(results[by_x], plain_results[by_x])
    assert differs or forward == "shared"  # what is dropped has no gradient to cut


@every_cell
@pytest.mark.parametrize("noise", ["bernoulli", "gaussian"])
def test_masks_together_equal_the_reference(cell: str, noise: str) -> None:
    settings: dict[str, dict[str, Any]] = {
        "input": {"kind": "shared", "p": 0.3, "noise": noise},
        "recurrent": {"kind": "shared", "p": 0.3, "noise": noise},
        "update": {"kind": "locked", "p": 0.3, "noise": noise},
        "cell": {"kind": "locked", "p": 0.3, "noise": noise},
        "state": {"kind": "zoneout", "p": 0.3},
        "weight_hh": {"kind": "dropconnect", "p": 0.3, "noise": noise},
    }
    assert_equal(
        cell, drawn(cell, {place: rule for place, rule in settings.items() if place not in CELLS[cell].without})
    )


@every_cell
def test_no_mask_and_a_mask_that_drops_everything(cell: str) -> None:
    assert_equal(cell, LayerMasks())
    nothing = torch.zeros(1, 1, 1, H, dtype=torch.float64)
    assert_equal(cell, LayerMasks(recurrent=nothing))


@pytest.mark.parametrize("cell", [name for name in TRACED if CELLS[name].library])
def test_the_library_equals_the_sequence(cell: str) -> None:
    def library(_: Any, *arguments: Any) -> Any:
        return run_layer(cell, *arguments)

    masks = drawn(cell, {"input": {"kind": "locked", "p": 0.5}, "weight_hh": {"kind": "dropconnect", "p": 0.5}})
    assert path(cell, masks, torch.device("cuda")) == "library"
    for read in (False, True):
        pairs = zip(*(outcome(run, cell, masks, read=read) for run in (library, run_sequence)), strict=True)
        for ours, truth in pairs:
            torch.testing.assert_close(ours, truth, rtol=1e-9, atol=1e-12)


@every_cell
def test_only_what_needs_a_gradient_gets_one(cell: str) -> None:
    masks = drawn(cell, {"recurrent": {"kind": "locked", "p": 0.5}})
    gates = len(CELLS[cell].gates)
    weights = LayerWeights(torch.randn(gates * H, D), torch.randn(gates * H, H), *torch.randn(2, gates * H))
    weights = weights._replace(weight_hh=weights.weight_hh.requires_grad_())
    masks = replace(masks, recurrent=None if masks.recurrent is None else masks.recurrent.float())
    memory = tuple(torch.zeros(B, H) for _ in range(CELLS[cell].memories))
    output, _ = run_sequence(CELLS[cell], torch.randn(T, B, D), memory, weights, masks)
    output.sum().backward()
    assert weights.weight_hh.grad is not None and weights.weight_ih.grad is None


@every_cell
def test_a_weight_that_changed_before_the_way_back_is_refused(cell: str) -> None:
    gates = len(CELLS[cell].gates)
    weights = LayerWeights(
        *(
            torch.randn(*shape, requires_grad=True)
            for shape in [(gates * H, D), (gates * H, H), (gates * H,), (gates * H,)]
        )
    )
    memory = tuple(torch.zeros(B, H) for _ in range(CELLS[cell].memories))
    output, _ = run_sequence(CELLS[cell], torch.randn(T, B, D), memory, weights, LayerMasks())
    with torch.no_grad():
        weights.weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize(
    ("cell", "place", "kind", "named"),
    [
        ("lstm", "output", "locked", "library"),
        ("gru", "output", "locked", "compiled: input dense, recurrent dense"),
        ("lstm", "recurrent", "locked", "compiled: input dense, recurrent dense"),
        ("lstm", "recurrent", "locked_gates", "compiled: input dense, recurrent per gate"),
        ("lstm", "recurrent", "shared", "compiled: input dense, recurrent kept units"),
    ],
)
def test_the_record_names_the_path(tmp_path: Path, cell: str, place: str, kind: str, named: str) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be\n" * 40)
    record = rnndrop.run(
        ["data=text", f"data.file={tmp_path}/text.txt", "trainer.epochs=1", "model.hidden=16", f"output={tmp_path}",
         "trainer.device=cpu", f"model={cell}", f"dropout.{place}.kind={kind}", f"dropout.{place}.p=0.5"]
    )  # fmt: skip
    assert record.model["paths"] == [named, named]


@every_cell
def test_what_zoneout_holds_stays_the_same_to_the_last_bit(cell: str) -> None:
    masks = drawn(cell, {"state": {"kind": "zoneout", "p": 0.5}}, torch.float32)
    output = outcome(run_sequence, cell, masks, torch.float32)[0]
    assert masks.state is not None
    held = masks.state.values[1:] == 1
    assert held.any() and torch.equal(output[1:][held], output[:-1][held])
    assert not (output[1:] == output[:-1])[~held].any()


@every_cell
@pytest.mark.parametrize("place", ["update", "state", "recurrent", "memory"])
def test_what_has_another_size_is_refused(cell: str, place: str) -> None:
    """Compiled steps would read what lies beyond it."""
    if place != "memory" and place in CELLS[cell].without:
        return
    masks = LayerMasks() if place == "memory" else drawn(cell, {place: {"kind": "naive", "p": 0.5}})
    gates = len(CELLS[cell].gates)
    shapes = [(gates * H, D), (gates * H, H), (gates * H,), (gates * H,)]
    weights = LayerWeights(*(torch.randn(*shape, dtype=torch.float64) for shape in shapes))
    batch = B if place == "memory" else B + 1
    memory = tuple(torch.zeros(B + 1, H, dtype=torch.float64) for _ in range(CELLS[cell].memories))
    with pytest.raises((RuntimeError, ValueError)):
        run_sequence(CELLS[cell], torch.randn(T, batch, D, dtype=torch.float64), memory, weights, masks)


@every_cell
@pytest.mark.parametrize("more", [(1, 0), (0, 1)])
def test_masks_and_weights_for_other_gates_are_refused(cell: str, more: tuple[int, int]) -> None:
    gates = len(CELLS[cell].gates)
    masks = LayerMasks(recurrent=torch.ones(1, B, gates + more[0], H, dtype=torch.float64))
    rows = (gates + more[1]) * H
    weights = LayerWeights(*(torch.randn(*s, dtype=torch.float64) for s in ((rows, D), (rows, H), (rows,), (rows,))))
    memory = tuple(torch.zeros(B, H, dtype=torch.float64) for _ in range(CELLS[cell].memories))
    with pytest.raises(ValueError, match=f"of {gates}"):
        run_sequence(CELLS[cell], torch.randn(T, B, D, dtype=torch.float64), memory, weights, masks)
