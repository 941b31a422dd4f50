"""Drawing masks: the one place where randomness enters a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

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
    if rule.noise == "gaussian":
        mask = torch.empty(shape, dtype=dtype, device=generator.device)
        return mask.normal_(1.0, (rule.p / (1 - rule.p)) ** 0.5, generator=generator)
    if rule.fill == "previous":
        return _bernoulli(shape, rule.p, generator, dtype)
    return _bernoulli(shape, 1 - rule.p, generator, dtype).div_(drawn_rate(1 - rule.p))


def drawn_rate(p: float) -> float:
    """The chance, other than 0 and 1, with which a draw of chance p comes out: p as `_levels` rounds it.

    Scales and expectations are those of this rate. It is p within a thousandth of p and of 1-p, unless one of them is
    below 2^-22.
    """
    level, bits = _levels(p)
    return level / (1 << bits)


def _levels(p: float) -> tuple[int, int]:
    """How many of the 2^bits values of a random integer stand for chance p, and bits: 16, or 32 near 0 and 1."""
    bits = 16 if 2**-7 <= p <= 1 - 2**-7 else 32
    return min(max(round(p * (1 << bits)), 1), (1 << bits) - 1), bits


def _bernoulli(shape: Sequence[int], p: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """1 with chance `drawn_rate(p)`, else 0.

    On a CPU one random word of 64 bits serves four elements, near 0 and 1 two: several times as fast as torch's
    `bernoulli_`.
    """
    if generator.device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=generator.device).bernoulli_(drawn_rate(p), generator=generator)
    level, bits = _levels(p)
    count = math.prod(shape)
    words = torch.empty(-(-count * bits // 64), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    integers = words.view(torch.int16 if bits == 16 else torch.int32)[:count]
    return torch.lt(integers, level - (1 << bits - 1), out=torch.empty(count, dtype=dtype)).view(shape)


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
