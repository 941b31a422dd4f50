"""The path of a GPU equals the plain recurrence; here on a CPU, as it stands and compiled."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from threading import Thread
from types import ModuleType
from typing import Any

import pytest
import torch

from rnndrop.config.cells import CELLS
from rnndrop.dropout.masks import LayerMasks
from rnndrop.recurrent import fused
from rnndrop.recurrent.engine import path
from rnndrop.recurrent.fused import run_fused
from rnndrop.recurrent.reference import unroll
from rnndrop.recurrent.weights import LayerWeights
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
def test_more_structures_than_torch_counts_are_compiled_in_any_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a GPU, whose way back runs in a thread of its own, which knows no settings of the others."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))

    def total(parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return torch.stack(parts).sum()

    call = fused._compiled(total)
    found: list[float] = []

    def work() -> None:
        found.extend(call((torch.ones(2),) * count).item() for count in range(1, 16))

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert found == [2.0 * count for count in range(1, 16)]
    assert not [each for each in caplog.records if each.name == "rnndrop"], "some were not compiled"


@pytest.mark.usefixtures("plain")
def test_a_step_that_changes_what_it_is_given_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way back begins with what the step was given: it would follow another function, without a word."""

    def step(by_x: torch.Tensor, by_h: torch.Tensor, memory: tuple[torch.Tensor, ...], masks: LayerMasks) -> Any:
        h = by_x[:, 0].add_(by_h[:, 0]).tanh()
        return h, (h,)

    module = ModuleType("tests.in_place")
    module.step = step  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests.in_place", module)
    with pytest.raises(ValueError, match="changes what it is given in place"):
        run_fused(
            replace(CELLS["rnn"], module="tests.in_place"), torch.randn(3, 2, 4), (torch.zeros(2, 5),),
            LayerWeights(torch.randn(5, 4), torch.randn(5, 5), torch.zeros(5), torch.zeros(5)), LayerMasks(),
        )  # fmt: skip


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
