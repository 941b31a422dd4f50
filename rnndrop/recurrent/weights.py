"""What the engine takes: a cell's equations and a layer's weights."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Generator, Tensor

from rnndrop.dropout.masks import LayerMasks


class LayerWeights(NamedTuple):
    """The weights of one layer in torch's layout, gates stacked along the first axis.

    No gate of a linear cell takes anything of h: its `weight_hh` are the vectors of `CellSpec.diagonals`, (K, H), and
    its `bias_hh` is empty, (0,).
    """

    weight_ih: Tensor  # (G·H, I)
    weight_hh: Tensor  # (G·H, H)
    bias_ih: Tensor  # (G·H,)
    bias_hh: Tensor  # (G·H,)


class Terms(NamedTuple):
    """The parts of a linear step, h = keep · h' + add, each (…, H). What is read of h is gain · h, None: h."""

    keep: Tensor
    add: Tensor
    gain: Tensor | None = None


class Trace(Protocol):
    """The steps of a window, kept for the way back, and the way back through them; see the cells."""

    reads: Tensor  # (T+1, B, H): what is read of h before each step and after the last
    fed: Tensor  # (T+1, B, K): what recurrent products take of it; (T+1, G·B, K) where each gate takes its own
    from_input: Tensor  # (T, B, G·H): gradients of the gates' inputs from x, once all steps were taken back
    from_state: Tensor  # (T, B, G·H): of those from h(t-1), once their step was taken back

    def step(self, t: int, product: Tensor) -> None:
        """Step `t`, after those before it, from the gates' inputs from h(t-1): (B, G·H), or (G·B, H) gate by gate."""
        ...

    def memory(self) -> tuple[Tensor, ...]:
        """The memory after the last step."""
        ...

    def begin(self, output: Tensor, last: tuple[Tensor | None, ...]) -> None:
        """Start the way back, from the gradients of what was read (T, B, H) and of the last memory."""
        ...

    def back(self, t: int, product: Tensor) -> Tensor:
        """Back through step `t`, after those behind it: the gradient of the gates' inputs from h(t-1) (B, G·H).

        `product`, of the shape of a row of `fed`, is its gradient by the gates of step `t + 1`, zero for the last.
        """
        ...

    def first(self, product: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the first memory; `product` (B, H) is that of h by the gates of the first step."""
        ...


class Equations(Protocol):
    """A module such as `rnndrop.recurrent.lstm`, which a row of `rnndrop.config.cells` names.

    `step` is the plain truth, `Trace` the same for a whole window with its gradients; without it torch unrolls `step`.
    A linear cell has `terms` alone; one with `CellSpec.late` gates has `late`. One that does not begin as
    `trainer.init` says has `initialize`.
    """

    def step(
        self, from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step of the recurrence; see the cells."""
        ...

    def late(self, from_input: Tensor, from_state: Tensor, read: Tensor) -> Tensor:
        """What the products of the last gates take, (B, H): see `CellSpec.late`. `from_state` is of the others."""
        ...

    def Trace(  # noqa: N802
        self, gates: Tensor, memory: tuple[Tensor, ...], read: Tensor, masks: LayerMasks
    ) -> Trace:
        """Start a window from `memory` and from what the first step reads of h (B, H).

        `gates` (T, B, G·H) are the gates' inputs from x, and are overwritten.
        """
        ...

    def terms(self, gates: Tensor, diagonals: Tensor) -> Terms:
        """The terms of a linear cell from its gates' inputs (…, G, H), of all steps at once, and vectors (K, H).

        `add` must be a product with the candidate, which the mask on `update` multiplies; that and the masks on `cell`
        and `state` are applied to what this returns (`rnndrop.recurrent.linear`).
        """
        ...

    def initialize(self, weights: LayerWeights, generator: Generator) -> None:
        """Draw again, in place, what begins in another way than uniformly around 0."""
        ...
