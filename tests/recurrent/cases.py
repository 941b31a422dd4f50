"""Every kind of mask at every location of every cell, and what a layer makes of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnndrop.config.cells import CELLS
from rnndrop.dropout.masks import LayerMasks, Sizes, draw_masks
from rnndrop.dropout.plan import plan
from rnndrop.dropout.rule import kinds_at
from rnndrop.recurrent.weights import LayerWeights

T, B, D, H = 5, 3, 6, 7
PLACES = ["input", "recurrent", "update", "cell", "state", "weight_ih", "weight_hh"]
POINTS = [
    (cell, location, kind)
    for location in PLACES
    for kind in kinds_at(location)
    if kind != "none"
    for cell, spec in CELLS.items()
    if location not in spec.without
]

_LOCKED, _NAIVE, _HELD = {"kind": "locked", "p": 0.4}, {"kind": "naive", "p": 0.3}, {"kind": "zoneout", "p": 0.3}
_GAUSSIAN = {"kind": "locked", "p": 0.4, "noise": "gaussian"}
MEMORY_PAIRS = [
    (cell, {"cell": on_cell, "state": on_state})
    for cell in sorted(CELLS)
    if "state" not in CELLS[cell].without
    for on_cell in (_LOCKED, _NAIVE, _GAUSSIAN, _HELD)
    for on_state in (_LOCKED, _NAIVE, _GAUSSIAN, _HELD)
]
"""A rule on each of the two locations that act on a memory."""


def drawn(cell: str, settings: dict[str, dict[str, Any]], dtype: torch.dtype = torch.float64) -> LayerMasks:
    sizes = Sizes(11, D, ((D, H),), len(CELLS[cell].gates))
    generator = torch.Generator().manual_seed(4)
    gates = len(CELLS[cell].gates)
    first = {
        f"weight_{end}_0": torch.full((gates, H, width), 0.1, dtype=dtype) for end, width in (("ih", D), ("hh", H))
    }
    masks = draw_masks(plan(settings), sizes, T, B, generator, dtype, first)
    return masks.layers[0]


def shapes_of(cell: str) -> list[tuple[int, ...]]:
    """Those of the weights of a layer."""
    rows, linear = len(CELLS[cell].gates) * H, CELLS[cell].linear
    return [(rows, D), (CELLS[cell].diagonals if linear else rows, H), (rows,), (0 if linear else rows,)]


def outcome(
    run: Any, cell: str, masks: LayerMasks, dtype: torch.dtype = torch.float64, read: bool = False, scale: float = 1.0
) -> list[Tensor]:
    """Output, last memory, and the gradients of a random sum of them by x, every weight and the first memory.

    `read`: the first step reads another h than the one that was kept. `scale`: of what goes in.
    """
    generator = torch.Generator().manual_seed(5)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    shapes = [(T, B, D), *shapes_of(cell), *[(B, H)] * (CELLS[cell].memories + read)]
    x, *rest = ((scale * random(*shape)).requires_grad_() for shape in shapes)
    output, last = run(CELLS[cell], x, tuple(rest[4:]), LayerWeights(*rest[:4]), masks)
    results = [output, *last]
    total = torch.stack([(part * random(*part.shape)).sum() for part in results]).sum()
    return [part.detach() for part in [*results, *torch.autograd.grad(total, [x, *rest], materialize_grads=True)]]
