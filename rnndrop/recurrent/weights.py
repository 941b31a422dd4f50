"""What the engine takes: a cell's equations and a layer's weights."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from rnndrop.dropout.noise import LayerMasks


class LayerWeights(NamedTuple):
    """The weights of one layer in torch's layout, gates stacked along the first axis."""

    weight_ih: Tensor  # (G·H, I)
    weight_hh: Tensor  # (G·H, H)
    bias_ih: Tensor  # (G·H,)
    bias_hh: Tensor  # (G·H,)


class Cell(Protocol):
    """A module such as `rnndrop.recurrent.lstm`: its number of gates and memories, and the equations of a step."""

    GATES: int
    MEMORIES: int

    def step(
        self, from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step of the recurrence; see the cells."""
        ...
