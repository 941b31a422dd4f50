"""Drawing masks: the one place where randomness enters a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnndrop.dropout import learned
from rnndrop.dropout.noises import drawn_rate, noise_named, ones
from rnndrop.dropout.plan import Plan
from rnndrop.dropout.rule import LOCATIONS, Rule

Held = Mapping[str, Tensor]
"""What a model holds for its noise, by location and layer (`held_name`): parameters of learned noise, first weights."""


class MemoryMask(NamedTuple):
    """A mask on a memory: `values` (T|1, B|1, H|1); `previous`: a 1 keeps the previous value (zoneout)."""

    values: Tensor
    previous: bool


class WeightNoise(NamedTuple):
    """What happens to a weight W where it is more than a product with a mask; each part has the shape of a mask on W.

    `scale` m multiplies, and `shift` is added. `start`: the weights W0 that fill holes, W0 + m ⊙ (W - W0). `smallest`:
    the share of weights, by |W|, that m acts on. `log_variance`: the weights with σ² far above W² are left out.
    """

    scale: Tensor | None = None
    shift: Tensor | None = None
    start: Tensor | None = None
    smallest: float | None = None
    log_variance: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> WeightNoise:
        """With `function` of each tensor."""
        parts = (self.scale, self.shift, self.start, self.log_variance)
        scale, shift, start, log_variance = (None if part is None else function(part) for part in parts)
        return WeightNoise(scale, shift, start, self.smallest, log_variance)


WeightMask = Tensor | WeightNoise


@dataclass(frozen=True)
class LayerMasks:
    """The masks of one recurrent layer; None: no dropout there. G gates, `n|1`: n, or 1 to broadcast."""

    input: Tensor | None = None  # (T|1, B|1, G|1, I|1): location `input` for layer 0, `hidden` above
    recurrent: Tensor | None = None  # (T|1, B|1, G|1, H|1)
    recurrent_gradient: Tensor | None = None  # (T|1, B|1, H|1): of 0 and 1, on the gradient alone
    update: Tensor | None = None  # (T|1, B|1, H|1)
    cell: MemoryMask | None = None
    state: MemoryMask | None = None
    weight_ih: WeightMask | None = None  # (G|1, H|1, I|1)
    weight_hh: WeightMask | None = None  # (G|1, H|1, H|1)


@dataclass(frozen=True)
class Masks:
    """All masks of a language model for one window."""

    layers: tuple[LayerMasks, ...]
    embedding: Tensor | None = None  # (B|1, V|1, E|1)
    output: Tensor | None = None  # (T|1, B|1, H|1)
    weight_decoder: WeightMask | None = None  # (V|1, H|1)
    carry: Tensor | None = None  # (B,): of 0 and 1, on the memory that the window begins with
    layer: Tensor | None = None  # (L|1, B|1): of 0, for a layer that is left out, and 1


def map_masks(function: Callable[[Tensor], Tensor], masks: Masks) -> Masks:
    """Apply `function` to every mask that is there."""

    def of(mask: Any) -> Any:
        if isinstance(mask, MemoryMask):
            return mask._replace(values=function(mask.values))
        if isinstance(mask, WeightNoise):
            return mask.map(function)
        return None if mask is None else function(mask)

    return _combined(of, masks)


def merge_masks(one: Masks, other: Masks) -> Masks:
    """The masks of two plans together: at a location of both, one acts after the other."""
    return _combined(_together, one, other)


def _together(mine: Any, theirs: Any) -> Any:
    """Two masks of one place as one."""
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    if isinstance(mine, MemoryMask):
        if mine.previous:  # what one of them holds is held
            return mine._replace(values=1 - (1 - mine.values) * (1 - theirs.values))
        return mine._replace(values=mine.values * theirs.values)
    return mine * theirs


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
        """Width of the top layer; without layers, of the embedding."""
        return self.layers[-1][1] if self.layers else self.embedding


def held_name(location: str, depth: int) -> str:
    """The name in `Held` of what belongs to a location of a layer, counted from 0; of the decoder it is 0."""
    return f"{location}_{depth}"


class Tails:
    """What masks that depend on the steps before hand on, so that a text that is read in parts is masked as a whole.

    Every draw goes through the same rules in the same order, and takes what the draw before has left.
    """

    def __init__(self) -> None:
        self._left: list[Tensor] = []
        self._next = 0

    def begin(self) -> None:
        """Go on with a further part of the text."""
        self._next = 0

    def taken(self) -> Tensor | None:
        """What the part before has left for the next rule; None in the first part."""
        return self._left[self._next] if self._next < len(self._left) else None

    def leave(self, tail: Tensor) -> None:
        """Leave it for the part that follows."""
        self._left[self._next : self._next + 1] = [tail.clone()]
        self._next += 1


def draw(
    rule: Rule, sizes: Mapping[str, int], generator: torch.Generator, dtype: torch.dtype, tails: Tails | None = None
) -> Tensor:
    """Draw the mask of one rule; `sizes` maps each axis of the location to its length.

    Returns a mask with one dimension for each of the location's axes, of length 1 where it does not vary.
    Its mean is 1, or 0 where the noise is added. For fills "previous", "input" and "initial", and on the gradient
    alone, it is of 0 and 1. With `tails` it goes on where the draw before has ended.
    """
    tails = tails or Tails()
    shape = rule.shape(sizes)
    if rule.block is not None:
        mask = _spans(rule, shape, generator, dtype, tails)
        if rule.fill == "previous":
            return 1 - mask
        return mask if _unscaled(rule) else mask.div_(kept_rate(rule))
    if rule.fill == "previous":
        mask = ones(shape, rule.p, generator, dtype)
    elif _unscaled(rule):
        mask = ones(shape, 1 - rule.p, generator, dtype)
    else:
        mask = noise_named(rule.noise).draw(shape, rule.p, generator, dtype)
    return mask if rule.flip is None else _drifting(mask, rule.flip, generator, tails)


def _unscaled(rule: Rule) -> bool:
    """Whether what is kept is kept as it is: evaluation is not the mean of such a mask, but the model without it."""
    return rule.fill in ("input", "initial") or rule.gradient or rule.smallest is not None or rule.location == "token"


def kept_rate(rule: Rule) -> float:
    """The chance that an entry of a mask with holes is drawn as no hole."""
    if rule.block is None:
        return drawn_rate(1 - rule.p) if rule.fill != "previous" else 1 - drawn_rate(rule.p)
    return (1 - drawn_rate(_begins(rule))) ** rule.block


def _begins(rule: Rule) -> float:
    """The chance that a hole of `block` steps begins at a step, for a share p of holes in all."""
    assert rule.block is not None
    return 1.0 - float((1 - rule.p) ** (1 / rule.block))


def _spans(rule: Rule, shape: list[int], generator: torch.Generator, dtype: torch.dtype, tails: Tails) -> Tensor:
    """0 in holes of `block` steps and their unions, else 1; holes may begin before the text."""
    assert rule.block is not None
    before, chance = rule.block - 1, _begins(rule)
    if (earlier := tails.taken()) is None:
        begins = ones([before + shape[0], *shape[1:]], chance, generator, dtype)
    else:
        begins = torch.cat([earlier, ones(shape, chance, generator, dtype)])
    tails.leave(begins[len(begins) - before :])
    return 1 - begins.unfold(0, rule.block, 1).amax(-1)  # (T, …)


def _drifting(fresh: Tensor, flip: float, generator: torch.Generator, tails: Tails) -> Tensor:
    """From entries that are independent at each step to those that stay, but for a chance `flip` of the new one."""
    flips = ones(fresh.shape, flip, generator, torch.float32).bool()
    if (earlier := tails.taken()) is None:
        flips[0] = True
        mask = fresh.gather(0, _latest(flips))
    else:
        mask = torch.cat([earlier, fresh]).gather(0, _latest(torch.cat([torch.ones_like(flips[:1]), flips])))[1:]
    tails.leave(mask[-1:])
    return mask


def _latest(flips: Tensor) -> Tensor:
    """The last step up to each (T, …) that drew."""
    steps = torch.arange(len(flips), device=flips.device).view(-1, *[1] * (flips.dim() - 1))
    return torch.where(flips, steps, 0).cummax(0).values


def expectation(rule: Rule, generator: torch.Generator, dtype: torch.dtype) -> Tensor | None:
    """The mask that stands for a rule at evaluation: its mean for fill "previous", nothing otherwise."""
    if rule.fill != "previous":
        return None
    shape = (1,) * len(LOCATIONS[rule.location].axes)
    return torch.full(shape, 1 - kept_rate(rule), dtype=dtype, device=generator.device)


def draw_masks(
    plan: Plan,
    sizes: Sizes,
    steps: int,
    batch: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    held: Held | None = None,
    tails: Tails | None = None,
) -> Masks:
    """Draw the masks of a training window of `steps` × `batch` tokens, on the generator's device.

    `held` is what the model holds for the plan. The words themselves are drawn elsewhere (`rnndrop.dropout.words`).
    With the same `tails` in every draw, masks that depend on the steps before go on from window to window; else they
    begin anew.
    """
    tails = tails or Tails()
    tails.begin()

    def drawn(rule: Rule, name: str, feature: int, fan_in: int) -> Any:
        lengths = {
            "time": steps, "batch": batch, "gate": sizes.gates, "feature": feature, "type": sizes.vocabulary,
            "out": feature, "in": fan_in, "layer": len(sizes.layers),
        }  # fmt: skip
        if noise_named(rule.noise).learned:
            assert held is not None
            return WeightNoise(*learned.draw(rule.noise, rule.shape(lengths), held[name], generator))
        mask = draw(rule, lengths, generator, dtype, tails)
        if noise_named(rule.noise).added:
            return WeightNoise(shift=mask)
        if rule.fill == "start":
            assert held is not None
            return WeightNoise(scale=mask, start=held[name])
        return mask if rule.smallest is None else WeightNoise(scale=mask, smallest=rule.smallest)

    return _assemble(plan, sizes, drawn)


def evaluation_masks(
    plan: Plan,
    sizes: Sizes,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    held: Held | None = None,
) -> Masks:
    """The masks of deterministic evaluation: nothing is drawn."""

    def mean(rule: Rule, name: str, *_: int) -> Any:
        if rule.noise == "sparse":
            assert held is not None
            return WeightNoise(log_variance=held[name].detach())
        return expectation(rule, generator, dtype)

    return _assemble(plan, sizes, mean)


def _assemble(plan: Plan, sizes: Sizes, mask_of: Callable[[Rule, str, int, int], Any]) -> Masks:
    """Build all masks with `mask_of(rule, name in Held, feature or fan-out, fan-in)`, in a fixed order."""

    def mask(location: str, feature: int, fan_in: int = 0, depth: int = 0, gradient: bool = False) -> Any:
        together = None
        for rule in plan.at(location):
            if rule.gradient == gradient:
                found = mask_of(rule, held_name(location, depth), feature, fan_in)
                if LOCATIONS[location].keeps_memory and found is not None:
                    found = MemoryMask(found, rule.fill == "previous")
                together = _together(together, found)
        return together

    layers = tuple(
        LayerMasks(
            input=mask("hidden" if depth else "input", width_in),
            recurrent=mask("recurrent", width),
            update=mask("update", width),
            cell=mask("cell", width),
            state=mask("state", width),
            weight_ih=mask("weight_ih", width, width_in, depth),
            weight_hh=mask("weight_hh", width, width, depth),
            recurrent_gradient=_without_gates(mask("recurrent", width, gradient=True)),
        )
        for depth, (width_in, width) in enumerate(sizes.layers)
    )
    return Masks(
        layers,
        embedding=mask("embedding", sizes.embedding),
        output=mask("output", sizes.output),
        weight_decoder=mask("weight_decoder", sizes.vocabulary, sizes.output),
        carry=mask("carry", 0),
        layer=mask("layer", 0),
    )


def _without_gates(mask: Tensor | None) -> Tensor | None:
    """(T|1, B|1, 1, H|1) → (T|1, B|1, H|1)."""
    return None if mask is None else mask.squeeze(2)
