"""Drawing masks: the one place where randomness enters a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnndrop.dropout.noises import NOISES, drawn_rate, ones
from rnndrop.dropout.plan import Plan
from rnndrop.dropout.rule import LOCATIONS, Rule


class MemoryMask(NamedTuple):
    """A mask on a memory: `values` (T|1, B|1, H|1); `previous`: a 1 keeps the previous value (zoneout)."""

    values: Tensor
    previous: bool


@dataclass(frozen=True)
class LayerMasks:
    """The masks of one recurrent layer; None: no dropout there. G gates, `n|1`: n, or 1 to broadcast."""

    input: Tensor | None = None  # (T|1, B|1, G|1, I|1): location `input` for layer 0, `hidden` above
    recurrent: Tensor | None = None  # (T|1, B|1, G|1, H|1)
    update: Tensor | None = None  # (T|1, B|1, H|1)
    cell: MemoryMask | None = None
    state: MemoryMask | None = None
    weight_ih: Tensor | None = None  # (G|1, H|1, I|1)
    weight_hh: Tensor | None = None  # (G|1, H|1, H|1)


@dataclass(frozen=True)
class Masks:
    """All masks of a language model for one window."""

    layers: tuple[LayerMasks, ...]
    embedding: Tensor | None = None  # (B|1, V|1, E|1)
    output: Tensor | None = None  # (T|1, B|1, H|1)
    weight_decoder: Tensor | None = None  # (V|1, H|1)


def map_masks(function: Callable[[Tensor], Tensor], masks: Masks) -> Masks:
    """Apply `function` to every mask that is there."""

    def of(mask: Any) -> Any:
        if isinstance(mask, MemoryMask):
            return mask._replace(values=function(mask.values))
        return None if mask is None else function(mask)

    return _combined(of, masks)


def merge_masks(one: Masks, other: Masks) -> Masks:
    """The masks of two plans that have no location in common."""
    return _combined(lambda mine, theirs: theirs if mine is None else mine, one, other)


def _combined(function: Callable[..., Any], *masks: Masks) -> Masks:
    """Apply `function` to the masks, or None, that stand at the same place."""
    layers = (
        LayerMasks(
            **{item.name: function(*(getattr(each, item.name) for each in layer)) for item in fields(LayerMasks)}
        )
        for layer in zip(*(each.layers for each in masks), strict=True)
    )
    rest = [item.name for item in fields(Masks) if item.name != "layers"]
    return Masks(tuple(layers), **{name: function(*(getattr(each, name) for each in masks)) for name in rest})


@dataclass(frozen=True)
class Sizes:
    """What the shapes of the masks depend on: `layers` holds (input size, hidden size) from the bottom up."""

    vocabulary: int
    embedding: int
    layers: tuple[tuple[int, int], ...]
    gates: int

    @property
    def output(self) -> int:
        """Width of the top layer."""
        return self.layers[-1][1]


def draw(rule: Rule, sizes: Mapping[str, int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Draw the mask of one rule; `sizes` maps each axis of the location to its length.

    Returns a mask with one dimension for each of the location's axes, of length 1 where it does not vary.
    Its mean is 1 (for fill "previous": `drawn_rate(p)`, the chance of keeping the previous value).
    """
    shape = rule.shape(sizes)
    if rule.fill == "previous":
        return ones(shape, rule.p, generator, dtype)
    return NOISES[rule.noise].draw(shape, rule.p, generator, dtype)


def expectation(rule: Rule, generator: torch.Generator, dtype: torch.dtype) -> Tensor | None:
    """The mask that stands for a rule at evaluation: its mean for fill "previous", nothing otherwise."""
    if rule.fill != "previous":
        return None
    shape = (1,) * len(LOCATIONS[rule.location].axes)
    return torch.full(shape, drawn_rate(rule.p), dtype=dtype, device=generator.device)


def draw_masks(
    plan: Plan, sizes: Sizes, steps: int, batch: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Masks:
    """Draw the masks of a training window of `steps` × `batch` tokens, on the generator's device."""

    def drawn(rule: Rule, feature: int, fan_in: int) -> Tensor:
        lengths = {
            "time": steps, "batch": batch, "gate": sizes.gates, "feature": feature,
            "type": sizes.vocabulary, "out": feature, "in": fan_in,
        }  # fmt: skip
        return draw(rule, lengths, generator, dtype)

    return _assemble(plan, sizes, drawn)


def evaluation_masks(plan: Plan, sizes: Sizes, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Masks:
    """The masks of deterministic evaluation: nothing is drawn."""
    return _assemble(plan, sizes, lambda rule, *_: expectation(rule, generator, dtype))


def _assemble(plan: Plan, sizes: Sizes, mask_of: Callable[[Rule, int, int], Tensor | None]) -> Masks:
    """Build all masks with `mask_of(rule, feature or fan-out, fan-in)`, in a fixed order."""

    def mask(location: str, feature: int, fan_in: int = 0) -> Tensor | None:
        rule = plan[location]
        return mask_of(rule, feature, fan_in) if rule.active else None

    def memory(location: str, feature: int) -> MemoryMask | None:
        values = mask(location, feature)
        return None if values is None else MemoryMask(values, plan[location].fill == "previous")

    layers = tuple(
        LayerMasks(
            input=mask("hidden" if depth else "input", width_in),
            recurrent=mask("recurrent", width),
            update=mask("update", width),
            cell=memory("cell", width),
            state=memory("state", width),
            weight_ih=mask("weight_ih", width, width_in),
            weight_hh=mask("weight_hh", width, width),
        )
        for depth, (width_in, width) in enumerate(sizes.layers)
    )
    return Masks(
        layers,
        embedding=mask("embedding", sizes.embedding),
        output=mask("output", sizes.output),
        weight_decoder=mask("weight_decoder", sizes.vocabulary, sizes.output),
    )
