"""The twin: a second pass over the same window in the same step, under masks of its own, and a loss between the two.

Fraternal dropout (Zolna et al. 2018), expectation-linear dropout (Ma et al. 2017), the Π-model (Laine & Aila 2017) and
R-Drop (Liang et al. 2021) are settings of it: `docs/guide/twin.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from rnndrop.config.schema import TwinSettings, without
from rnndrop.dropout.masks import LayerMasks, Masks, draw_masks, evaluation_masks, merge_masks
from rnndrop.dropout.plan import Plan
from rnndrop.models.encoder import State
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.logit_distance import distance_sum
from rnndrop.ops.nll import nll_sum


class Twin:
    """The second pass of a training.

    `plan` is that of the second pass; `generator` draws its masks and nothing else, so that those of the first pass are
    what they are without a twin. `adversary` is that of the cross-entropy (`nll_sum`).
    """

    def __init__(
        self,
        model: LanguageModel,
        plan: Plan,
        settings: TwinSettings,
        generator: torch.Generator,
        adversary: float = 0.0,
    ) -> None:
        self.model, self.settings, self.generator, self.adversary = model, settings, generator, adversary
        self.own = without(plan, settings.share)  # what it does not share with the first pass

    def objective(
        self,
        loss: Tensor,
        inputs: Tensor,
        targets: Tensor,
        state: State,
        masks: Masks,
        seen: Tensor,
        decoder: tuple[Tensor, Tensor],
    ) -> Tensor:
        """What is minimised, summed over the tokens, in place of the first pass's cross-entropy `loss`.

        Of the first pass: its inputs and targets (T, B), the state that it began with, its masks, what its decoder
        `seen` (T, B, H), and that decoder. The second pass begins with the same state; the one it ends with is dropped.
        """
        settings, model = self.settings, self.model
        second = self.masks(masks, *inputs.shape)
        features, _ = model.features(inputs, state, second)
        weight, bias = model.decoder_weights(second)
        if settings.loss == "ce":
            return loss + settings.weight * nll_sum(features, weight, bias, targets, self.adversary)
        if settings.both:
            loss = (loss + nll_sum(features, weight, bias, targets, self.adversary)) / 2
        assert settings.loss is not None
        distance = distance_sum(settings.loss, (seen, decoder[0]), (features, weight), bias, targets)
        return loss + settings.weight * distance

    def masks(self, first: Masks, steps: int, batch: int) -> Masks:
        """The masks of the second pass: at the shared locations those of the first, elsewhere its own."""
        model, dtype = self.model, self.model.embedding.dtype
        if self.settings.masks == "own":
            own = draw_masks(self.own, model.sizes, steps, batch, self.generator, dtype)
        else:
            own = evaluation_masks(self.own, model.sizes, self.generator, dtype)
        return merge_masks(own, masks_at(first, self.settings.share))


def masks_at(masks: Masks, places: Collection[str]) -> Masks:
    """What is there of `masks` at some locations, and no mask elsewhere."""

    def none_elsewhere(part: Masks | LayerMasks, at: Mapping[str, str]) -> dict[str, Any]:
        names = [item.name for item in fields(part) if item.name != "layers"]
        return {name: None for name in names if at.get(name, name) not in places}

    layers = tuple(
        replace(layer, **none_elsewhere(layer, {"input": "hidden"} if depth else {}))
        for depth, layer in enumerate(masks.layers)
    )
    return replace(masks, layers=layers, **none_elsewhere(masks, {}))
