"""The sLSTM where random numbers do not lead: an empty memory, equal scales, a part of what zoneout holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rnndrop.config.cells import CELLS
from rnndrop.dropout.masks import LayerMasks, MemoryMask
from rnndrop.recurrent.reference import unroll
from rnndrop.recurrent.sequence import run_sequence
from rnndrop.recurrent.weights import LayerWeights
from tests.recurrent.cases import B, H, T

MASKS = {
    "none": None,
    "dropped": ([0.0, 2.0], False),
    "held or not": ([0.0, 1.0], True),
    "held in part": ([0.0, 0.3, 0.7, 1.0], True),
}


def random(seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def outcome(run: Any, inputs: list[Tensor], masks: LayerMasks) -> list[Tensor]:
    """Output, last memory, and the gradients of a random sum of them by x, the weights and the first memory."""
    x, *rest = (part.clone().requires_grad_() for part in inputs)
    output, last = run(CELLS["slstm"], x, tuple(rest[4:]), LayerWeights(*rest[:4]), masks)
    draw, results = random(2), [output, *last]
    total = torch.stack([(part * draw(*part.shape)).sum() for part in results]).sum()
    return [part.detach() for part in [*results, *torch.autograd.grad(total, [x, *rest])]]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("n", ["filled", "empty", "empty here and there", "empty below c"])
def test_the_gradient_is_that_of_the_equations(mask: str, equal: bool, n: str) -> None:
    draw = random(1)
    x, weights = draw(T, B, H), [draw(4 * H, H), draw(4 * H, H), draw(4 * H), draw(4 * H)]
    h, c, filled, s = draw(B, H), draw(B, H), draw(B, H).abs() + 0.3, draw(B, H)
    if equal:  # log i = 0 = log f + s'
        weights, s = [torch.zeros_like(part) for part in weights], -logsigmoid(torch.zeros_like(s))
    there = {"filled": torch.ones_like(c), "empty": torch.zeros_like(c)}.get(n, (draw(B, H) > 0).double())
    memory = [h, c if n == "empty below c" else c * there, filled * there, s]
    masks = LayerMasks()
    if (given := MASKS[mask]) is not None:
        values, previous = given
        chosen = torch.randint(len(values), (T, B, H), generator=torch.Generator().manual_seed(3))
        masks = LayerMasks(cell=MemoryMask(torch.tensor(values, dtype=torch.float64)[chosen], previous))
    pairs = zip(*(outcome(run, [x, *weights, *memory], masks) for run in (run_sequence, unroll)), strict=True)
    assert all((ours - truth).norm() <= 1e-9 * truth.norm() for ours, truth in pairs)
