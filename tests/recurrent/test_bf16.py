"""trainer.precision=bf16 on a CPU: near to float32 with every mask, and its sums are of float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.dropout.masks import LayerMasks
from rnndrop.ops import matmul
from rnndrop.ops.nll import nll_sum, token_nll
from rnndrop.recurrent.engine import path, run_layer
from rnndrop.recurrent.sequence import run_sequence
from rnndrop.runs.doctor import Finding, examine
from tests.conftest import TINY
from tests.recurrent.cases import MEMORY_PAIRS, POINTS, drawn, outcome
from tests.recurrent.test_sequence import TRACED

pytestmark = pytest.mark.skipif(not matmul.has_bf16(), reason="this processor has no bf16 products")


@pytest.fixture
def rounded() -> Iterator[None]:
    matmul.round_factors(True)
    yield
    matmul.round_factors(False)


def assert_near(run: Any, cell: str, masks: LayerMasks) -> None:
    ours = outcome(run, cell, masks, torch.float32, scale=0.3)
    matmul.round_factors(False)
    truths = outcome(run, cell, masks, torch.float32, scale=0.3)
    errors = [((a - b).norm() / b.norm()).item() for a, b in zip(ours, truths, strict=True)]
    assert {part.dtype for part in ours} == {torch.float32}
    assert 0 < max(errors) < 0.05, errors  # factors are rounded by up to 1/256


@pytest.mark.usefixtures("rounded")
@pytest.mark.parametrize(("cell", "location", "kind"), [point for point in POINTS if point[0] in TRACED])
def test_every_kind_is_near_float32(cell: str, location: str, kind: str) -> None:
    assert_near(run_sequence, cell, drawn(cell, {location: {"kind": kind, "p": 0.5}}, torch.float32))


@pytest.mark.usefixtures("rounded")
@pytest.mark.parametrize(("cell", "settings"), [pair for pair in MEMORY_PAIRS if pair[0] in TRACED])
def test_rules_on_both_memories_are_near_float32(cell: str, settings: dict[str, Any]) -> None:
    assert_near(run_sequence, cell, drawn(cell, settings, torch.float32))


@pytest.mark.usefixtures("rounded")
def test_without_a_mask_inside_the_products_are_rounded_too() -> None:
    def layer(_: Any, *arguments: Any) -> Any:
        return run_layer("lstm", *arguments)

    assert path("lstm", LayerMasks(), torch.device("cpu")).startswith("compiled")
    assert_near(layer, "lstm", LayerMasks())
    assert path("lstm", LayerMasks(), torch.device("cpu")) == "library"


@pytest.mark.usefixtures("rounded")
def test_the_loss_and_its_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    features, weight, bias = (
        torch.randn(*shape, generator=generator).requires_grad_() for shape in ((6, 4, 30), (2000, 30), (2000,))
    )
    targets = torch.randint(2000, (6, 4), generator=generator)
    inputs = (features, weight, bias)
    ours, each = nll_sum(*inputs, targets), token_nll(*inputs, targets)
    logits = F.linear(features, weight, bias).flatten(0, 1)
    truth = F.cross_entropy(logits, targets.flatten(), reduction="sum")
    assert ours.item() == pytest.approx(truth.item(), rel=2e-3)
    assert each.sum().item() == pytest.approx(truth.item(), rel=2e-3)
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(truth, inputs), strict=True):
        assert a.dtype == torch.float32 and (a - b).norm() / b.norm() < 0.02


def test_a_run_in_bf16(tmp_path: Path) -> None:
    asked = [*TINY, "trainer.epochs=1", "dropout=variational", "evaluation.mc.samples=2", "trainer.device=cpu"]
    plain = rnndrop.run([*asked, f"output={tmp_path}"])
    record = rnndrop.run([*asked, f"output={tmp_path}", "trainer.precision=bf16"])
    assert record.run_id != plain.run_id and record.model["paths"][0].startswith("compiled")
    for name in ("test_perplexity", "test_perplexity_mc"):
        assert (
            record.metrics[name] == pytest.approx(plain.metrics[name], rel=0.02)
            and record.metrics[name] != plain.metrics[name]
        )
    assert not matmul.rounds()


def test_doctor_says_whether_a_precision_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def device() -> Finding:
        found = {each.name: each for each in examine(compose([*TINY, "trainer.precision=bf16", "trainer.device=cpu"]))}
        assert found["step"].sound
        return found["device"]

    assert device().sound and "bf16 products" in device().detail
    monkeypatch.setattr(matmul, "has_bf16", lambda: False)
    assert not device().sound and "Use trainer.precision=float32" in device().detail
