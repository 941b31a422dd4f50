"""A cell: the minimal gated unit (Zhou, Wu, Zhang & Zhou 2016), in the form whose gate acts after the product."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.config.cells import CellSpec
from rnndrop.dropout.masks import LayerMasks
from rnndrop.recurrent.memory_masks import hold

ROW = CellSpec("toy_mgu", __name__, gates="fn", bias_inside=True)


def step(
    from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    (previous,) = memory
    f = torch.sigmoid(from_input[:, 0] + from_state[:, 0])
    n = torch.tanh(from_input[:, 1] + f * from_state[:, 1])
    n = n if masks.update is None else masks.update * n
    kept, read = hold((1 - f) * previous + f * n, previous, masks.cell, masks.state)
    return read, (kept,)
