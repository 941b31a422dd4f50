"""What every model begins with: embedding → recurrent layers. Masks reach it as data."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnndrop.config.cells import CellSpec, cell_named
from rnndrop.dropout import learned
from rnndrop.dropout.masks import Held, LayerMasks, Masks, Sizes, held_name
from rnndrop.dropout.noises import planned
from rnndrop.dropout.plan import Plan
from rnndrop.dropout.rule import LOCATIONS
from rnndrop.dropout.weight_noise import noised
from rnndrop.ops.kept_units import kept
from rnndrop.recurrent.engine import path, run_layer
from rnndrop.recurrent.weights import LayerWeights

State = tuple[tuple[Tensor, ...], ...]
"""For each layer its memories, and what was read of h last where that may be another, each (B, H)."""


@dataclass(frozen=True)
class ModelSettings:
    """The shape of a model.

    `embedding` is the width of the embedding (None: `hidden`). With tied weights the top layer is as wide as the
    embedding, whose matrix the decoder of a language model shares (Press & Wolf 2017; Inan et al. 2017).
    `forget_bias` is added to the first bias of the gate f (Gers, Schmidhuber & Cummins 2000). `module` and `options`
    are of a model of the user's own, which is none of these (`rnndrop.models.own`).
    """

    cell: str
    hidden: int
    layers: int
    embedding: int | None
    tie_weights: bool
    forget_bias: float = 0.0
    module: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class RecurrentLayer(nn.Module):
    """The weights of one recurrent layer, named and laid out as `LayerWeights` says."""

    def __init__(self, cell: CellSpec, width_in: int, width: int) -> None:
        super().__init__()
        rows = len(cell.gates) * width
        self.weight_ih = nn.Parameter(torch.empty(rows, width_in))
        self.weight_hh = nn.Parameter(torch.empty(cell.diagonals if cell.linear else rows, width))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(0 if cell.linear else rows))

    def weights(self) -> LayerWeights:
        """The weights as the engine takes them."""
        return LayerWeights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)


def weights_of(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of a model without those of its noise: what decays, and what a deterministic evaluation reads.

    Nor those that the user's own model keeps as they are.
    """
    return [each for name, each in model.named_parameters() if each.requires_grad and not name.startswith("noise.")]


class Encoder(nn.Module):
    """From tokens to what a decoder sees. Call `initialize` before use: the weights start empty.

    A model is an encoder with a decoder: `decoder` (outputs, H), or None where it shares the embedding's matrix, and
    `decoder_bias` (outputs,), which it adds after `super().__init__`.
    """

    decoder: nn.Parameter | None
    decoder_bias: nn.Parameter

    def __init__(self, settings: ModelSettings, vocabulary_size: int) -> None:
        super().__init__()
        self.cell, self.forget_bias = settings.cell, settings.forget_bias
        embedding = settings.embedding or settings.hidden
        widths = [settings.hidden] * settings.layers
        if settings.tie_weights:
            widths[-1] = embedding
        layers = tuple(zip([embedding, *widths[:-1]], widths, strict=True))
        cell = cell_named(settings.cell)
        self.sizes = Sizes(vocabulary_size, embedding, layers, len(cell.gates))
        self.embedding = nn.Parameter(torch.empty(vocabulary_size, embedding))
        self.layers = nn.ModuleList(RecurrentLayer(cell, *layer) for layer in layers)
        self.noise = nn.ParameterDict()  # of learned noise, by `held_name`
        self.first_weights: dict[str, Tensor] = {}  # those that fill holes, likewise

    @torch.no_grad()
    def initialize(self, scale: float, generator: torch.Generator, by_width: bool = False) -> None:
        """Draw every parameter, biases too, from U(-scale, scale) (Zaremba et al. 2014).

        `by_width`: those of a recurrent layer of H units from U(-1/√H, 1/√H), as torch and AWD-LSTM do. Then what a
        cell draws in a way of its own.
        """
        cell = cell_named(self.cell)
        for parameter in self.parameters():
            parameter.uniform_(-scale, scale, generator=generator)
        for layer, (_, width) in zip(self.layers if by_width else (), self.sizes.layers, strict=False):
            for parameter in layer.parameters():
                parameter.uniform_(-(width**-0.5), width**-0.5, generator=generator)
        for layer, (_, width) in zip(self.layers if self.forget_bias else (), self.sizes.layers, strict=False):
            assert isinstance(layer, RecurrentLayer)
            forget = cell.gates.index("f")
            layer.bias_ih[forget * width : (forget + 1) * width] += self.forget_bias
        if (own := getattr(cell.equations, "initialize", None)) is not None:
            for layer in self.layers:
                assert isinstance(layer, RecurrentLayer)
                own(layer.weights(), generator)

    @torch.no_grad()
    def hold(self, plan: Plan) -> None:
        """Make what the plan needs beside the masks, from the weights as they are: see `Held`. Draws nothing."""
        for rule in plan.active:
            if rule.fill == "blank":
                self.noise["blank"] = nn.Parameter(torch.zeros_like(self.embedding[0]))
            for name, weight in self.matrices(rule.location).items():
                if planned(rule.noise).learned:
                    lengths = dict(zip(LOCATIONS[rule.location].axes, weight.shape, strict=True))
                    start = learned.initial(rule.noise, rule.p, rule.shape(lengths))
                    self.noise[name] = nn.Parameter(start.to(weight))
                if rule.fill == "start":
                    self.first_weights[name] = weight.clone()

    @property
    def held(self) -> Held:
        """What the drawing of masks needs of the model."""
        return {**self.noise, **self.first_weights}

    def learned(self, plan: Plan) -> dict[str, dict[str, float]]:
        """What the learned noise of the plan has come to, by location and layer: see `rnndrop.dropout.learned`."""
        return {
            name: learned.summary(rule.noise, weight, self.noise[name])
            for rule in plan.active
            if planned(rule.noise).learned
            for name, weight in self.matrices(rule.location).items()
        }

    def matrices(self, location: str) -> dict[str, Tensor]:
        """The weights at a location of weights, each in the shape of its masks, by `held_name`."""
        if location == "weight_decoder":
            weight = self.embedding if self.decoder is None else self.decoder
            return {held_name(location, 0): weight}
        if not LOCATIONS[location].is_weight:
            return {}
        parts = [getattr(layer, location) for layer in self.layers]  # each (G·H, I)
        return {
            held_name(location, depth): part.view(self.sizes.gates, -1, part.shape[1])
            for depth, part in enumerate(parts)
        }

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return self.embedding.dtype

    @property
    def draws(self) -> bool:
        """Whether it draws its noise itself, as a model of the user's own does, while it reads."""
        return False

    def drawing(self, source: torch.Generator) -> AbstractContextManager[None]:
        """Within, a model that draws its noise itself does so, as `source` has it."""
        return nullcontext()

    def initial_state(self, batch: int) -> State:
        """The zero state of `batch` sequences."""
        memories = cell_named(self.cell).memories
        return tuple(
            tuple(self.embedding.new_zeros(batch, width) for _ in range(memories)) for _, width in self.sizes.layers
        )

    def features(self, tokens: Tensor, state: State, masks: Masks) -> tuple[Tensor, State]:
        """From tokens (T, B) to what the decoder sees, as `seen`, and the state for the next window."""
        top, new_state = self.top(tokens, state, masks)
        return self.seen(top, masks), new_state

    def top(self, tokens: Tensor, state: State, masks: Masks) -> tuple[Tensor, State]:
        """From tokens (T, B) to the top layer's h (T, B, H) before its mask, and the state for the next window."""
        x = self._embed(tokens, masks.embedding)
        if masks.carry is not None:
            state = tuple(tuple(part * masks.carry.unsqueeze(1) for part in memory) for memory in state)
        new_state = []
        for depth, (layer, memory, layer_masks) in enumerate(zip(self.layers, state, masks.layers, strict=True)):
            assert isinstance(layer, RecurrentLayer)
            h, memory = run_layer(self.cell, x, memory, layer.weights(), layer_masks)
            new_state.append((*memory, h[-1]) if _apart(self.cell, layer_masks) else memory)
            x = h if masks.layer is None or h.shape != x.shape else _or_input(masks.layer, depth, h, x)
        return x, tuple(new_state)

    def seen(self, top: Tensor, masks: Masks) -> Tensor:
        """The top layer's h (T, B, H), masked.

        Where one mask drops units of the whole batch, only the others are there, as in `decoder_weights`.
        """
        if (units := kept(masks.output)) is not None:
            return units.select(top)
        return top if masks.output is None else top * masks.output

    def decoder_weights(self, masks: Masks) -> tuple[Tensor, Tensor]:
        """The decoder's masked weight (outputs, H) and bias (outputs,)."""
        weight = self.decoder_rows(masks)
        if (units := kept(masks.output)) is not None:
            weight = units.columns(weight)
        return weight, self.decoder_bias

    def decoder_rows(self, masks: Masks) -> Tensor:
        """The decoder's masked weight (outputs, H), also where `decoder_weights` leaves units out."""
        return noised(self.embedding if self.decoder is None else self.decoder, masks.weight_decoder)

    def paths(self, masks: Masks) -> list[str]:
        """Which path of the engine each layer takes with these masks."""
        return [path(self.cell, layer, self.embedding.device) for layer in masks.layers]

    def _embed(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Rows of the embedding (T, B, E) times a mask (B|1, V|1, E|1) on word types.

        A matrix of its own gets a sparse gradient: of the rows that the window reads.
        """
        sparse = self.decoder is not None and tokens.device.type in ("cpu", "cuda")
        blank = self.noise.get("blank")
        known = tokens if blank is None else tokens.clamp(max=len(self.embedding) - 1)
        x = F.embedding(known, self.embedding, sparse=sparse)
        if blank is not None:
            x = torch.where((tokens == len(self.embedding)).unsqueeze(2), blank, x)
        if mask is None:
            return x
        sequence = torch.arange(tokens.shape[1], device=tokens.device) if mask.shape[0] > 1 else 0
        masked = x * mask[sequence, known if mask.shape[1] > 1 else 0]  # (T, B, E|1)
        if blank is not None:  # no type of the vocabulary, of which the mask is
            masked = torch.where((tokens == len(self.embedding)).unsqueeze(2), blank, masked)
        return masked


def _apart(cell: str, masks: LayerMasks) -> bool:
    """Whether what was read of h last may be another than the h that is kept, and is read.

    In torch's cells only holes part the two; linear ones never read h.
    """
    holes = any(mask is not None and not mask.previous for mask in (masks.cell, masks.state))
    return holes or not (cell_named(cell).library or cell_named(cell).linear)


def _or_input(mask: Tensor, depth: int, h: Tensor, x: Tensor) -> Tensor:
    """A layer's h (T, B, H), or for sequences in which the mask (L|1, B|1) leaves the layer out, what entered it."""
    kept = mask[depth if len(mask) > 1 else 0].unsqueeze(1)  # (B|1, 1)
    return kept * h + (1 - kept) * x
