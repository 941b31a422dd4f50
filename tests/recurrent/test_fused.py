"""The path of a GPU equals the plain recurrence; here on a CPU, as it stands and compiled."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from rnndrop.config.cells import CELLS
from rnndrop.dropout.masks import LayerMasks
from rnndrop.recurrent import fused
from rnndrop.recurrent.engine import path
from rnndrop.recurrent.fused import run_fused
from rnndrop.recurrent.reference import unroll
from tests.recurrent.cases import MEMORY_PAIRS, POINTS, drawn, outcome

FUSED = [name for name, cell in CELLS.items() if not cell.linear and not cell.late]
TOGETHER = {
    "recurrent": {"kind": "locked", "p": 0.5},
    "update": {"kind": "locked", "p": 0.3},
    "cell": {"kind": "zoneout", "p": 0.3},
    "state": {"kind": "zoneout", "p": 0.3},
}


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fused._steps.cache_clear()
    monkeypatch.setattr(fused, "_compiled", lambda function: function)
    yield
    fused._steps.cache_clear()


def assert_equal(cell: str, masks: LayerMasks, dtype: torch.dtype = torch.float64, within: float = 1e-9) -> None:
    for read in (False, True) if masks.cell or masks.state else (False,):
        pairs = zip(*(outcome(run, cell, masks, dtype, read) for run in (run_fused, unroll)), strict=True)
        assert all((ours - truth).norm() <= within * truth.norm() for ours, truth in pairs)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("cell", "location", "kind"), [point for point in POINTS if point[0] in FUSED])
def test_every_kind_equals_the_reference(cell: str, location: str, kind: str) -> None:
    assert_equal(cell, drawn(cell, {location: {"kind": kind, "p": 0.5}}))


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("cell", FUSED)
def test_the_products_of_all_gates_at_once_equal_the_reference(cell: str) -> None:
    masks = drawn(cell, {"recurrent": {"kind": "locked_gates", "p": 0.5}}, torch.float32)
    assert_equal(cell, masks, torch.float32, within=1e-4)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("cell", "settings"), [pair for pair in MEMORY_PAIRS if pair[0] in FUSED])
def test_rules_on_both_memories_equal_the_reference(cell: str, settings: dict[str, Any]) -> None:
    assert_equal(cell, drawn(cell, settings))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler: torch.compile makes nothing on a CPU")
@pytest.mark.filterwarnings("ignore")  # torch's own, of its compiler
def test_compiled_it_equals_the_reference(caplog: pytest.LogCaptureFixture) -> None:
    assert_equal("lstm", drawn("lstm", TOGETHER))
    assert not [each for each in caplog.records if each.name == "rnndrop"], "it was not compiled"


@pytest.mark.filterwarnings("ignore")
def test_without_a_compiler_it_goes_on_as_it_stands(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", lambda function, **options: refuse)
    fused._steps.cache_clear()
    assert_equal("gru", drawn("gru", {"recurrent": {"kind": "locked", "p": 0.5}}))
    fused._steps.cache_clear()
    assert {each.getMessage() for each in caplog.records} == {
        "torch.compile failed, going on without: no compiler here"
    }


def test_an_error_of_the_step_itself_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong() -> None:
        raise ValueError("wrong")

    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    with pytest.raises(ValueError, match="wrong"):
        fused._compiled(wrong)()


def test_the_record_says_so() -> None:
    masks = drawn("lstm", {"recurrent": {"kind": "locked", "p": 0.5}})
    assert path("lstm", masks, torch.device("cuda")) == "fused: input dense, recurrent dense"
