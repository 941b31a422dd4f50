"""What the engine takes: a cell's equations and a layer's weights."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from rnndrop.dropout.masks import LayerMasks
from rnndrop.recurrent.gate_product import GateProduct


class LayerWeights(NamedTuple):
    """The weights of one layer in torch's layout, gates stacked along the first axis."""

    weight_ih: Tensor  # (G·H, I)
    weight_hh: Tensor  # (G·H, H)
    bias_ih: Tensor  # (G·H,)
    bias_hh: Tensor  # (G·H,)


class Gradients(Protocol):
    """The way back through a window; see the cells."""

    from_state: Tensor  # (T, B, G·H): gradients of the gates' inputs from h(t-1), once their step was taken

    @property
    def from_input(self) -> Tensor:
        """Gradients (T, B, G·H) of the gates' inputs from x, once all steps were taken."""
        ...

    def step(self, t: int, read: Tensor) -> Tensor:
        """From the gradient (B, H) of what is read after step `t` to that of the gates' inputs from h(t-1)."""
        ...

    def memory(self, read: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the first memory; `read` (B, H) is that of what the first step read."""
        ...


class Trace(Protocol):
    """The steps of a window, kept for the way back; see the cells."""

    reads: Tensor  # (T+1, B, H): what is read of h before each step and after the last

    def step(self, t: int, product: GateProduct) -> None:
        """Step `t`, after those before it; `product` gives the gates' inputs from h(t-1)."""
        ...

    def memory(self) -> tuple[Tensor, ...]:
        """The memory after the last step."""
        ...

    def gradients(self, last: tuple[Tensor | None, ...]) -> Gradients:
        """Start the way back from the gradients of the last memory."""
        ...


class Equations(Protocol):
    """A module such as `rnndrop.recurrent.lstm`, which a row of `rnndrop.config.cells` names.

    `step` is the plain truth, `Trace` the same for a whole window with its gradients; without it torch unrolls `step`.
    """

    def step(
        self, from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step of the recurrence; see the cells."""
        ...

    def Trace(self, gates: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks) -> Trace:  # noqa: N802
        """Start a window; `gates` (T, B, G·H) are the gates' inputs from x, and are overwritten."""
        ...
