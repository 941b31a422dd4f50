"""The twin: a second pass over the same window in the same step, under masks of its own, and a loss between the two.

Fraternal dropout (Zolna et al. 2018), expectation-linear dropout (Ma et al. 2017), the Π-model (Laine & Aila 2017) and
R-Drop (Liang et al. 2021) are settings of it: `docs/guide/twin.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnndrop.config.schema import TwinSettings
from rnndrop.dropout.masks import LayerMasks, Masks, draw_masks, evaluation_masks, merge_masks
from rnndrop.dropout.plan import Plan
from rnndrop.dropout.words import WordNoise, noised
from rnndrop.models.encoder import State
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.logit_distance import distance_sum
from rnndrop.ops.nll import nll_sum
from rnndrop.training.predicted import predicted

_PLACES = {"recurrent_gradient": "recurrent"}  # of masks that are not called as their location


class FirstPass(NamedTuple):
    """What the second pass takes of the first."""

    inputs: Tensor  # (T, B)
    targets: Tensor  # (T, B)
    state: State  # that it began with
    masks: Masks
    seen: Tensor  # what its decoder saw (T, B, H)
    decoder: tuple[Tensor, Tensor]


class Twin:
    """The second pass of a training.

    `plan` is that of the second pass; `generator` draws its masks and its words, and nothing else, so that those of the
    first pass are what they are without a twin. `adversary` is that of the cross-entropy (`nll_sum`);
    `words` noises what is read.
    """

    def __init__(
        self,
        model: LanguageModel,
        plan: Plan,
        settings: TwinSettings,
        generator: torch.Generator,
        adversary: float = 0.0,
        words: WordNoise | None = None,
    ) -> None:
        self.model, self.settings, self.generator, self.adversary = model, settings, generator, adversary
        self.whole, self.own = plan, plan.without(*settings.share)  # what it does not share with the first pass
        self.words = words

    def objective(self, loss: Tensor, first: FirstPass, inputs: Tensor, targets: Tensor, epoch: float) -> Tensor:
        """What is minimised, summed over the tokens, in place of the first pass's cross-entropy `loss`.

        `inputs` and `targets` (T, B) are the text itself, `epoch` is how long training has lasted. The second pass
        begins with the state of the first; the one it ends with is dropped.
        """
        settings, model, plan = self.settings, self.model, self.own.after(epoch)
        if "token" in settings.share:
            inputs, targets = first.inputs, first.targets
        if settings.masks == "own":
            predict = partial(predicted, model, self.whole.after(epoch), first.state)  # as at evaluation
            inputs, targets = noised(self.words, plan, inputs, targets, self.generator, predict)
        steps, batch = inputs.shape
        second = self.masks(first.masks, steps, batch, plan)
        features, _ = model.features(inputs, first.state, second)
        weight, bias = model.decoder_weights(second)
        rows = model.decoder_rows(second).detach() if self.adversary else None
        if settings.loss == "ce":
            return loss + settings.weight * nll_sum(features, weight, bias, targets, self.adversary, rows)
        if settings.both:
            loss = (loss + nll_sum(features, weight, bias, targets, self.adversary, rows)) / 2
        assert settings.loss is not None
        passes = (first.seen, first.decoder[0]), (features, weight)
        return loss + settings.weight * distance_sum(settings.loss, *passes, bias, targets)

    def masks(self, first: Masks, steps: int, batch: int, plan: Plan) -> Masks:
        """The masks of the second pass: at the shared locations those of the first, elsewhere of `plan`."""
        model, dtype = self.model, self.model.dtype
        if self.settings.masks == "own":
            own = draw_masks(plan, model.sizes, steps, batch, self.generator, dtype, model.held)
        else:
            own = evaluation_masks(plan, model.sizes, self.generator, dtype, model.held)
        return merge_masks(own, masks_at(first, self.settings.share))


def masks_at(masks: Masks, places: Collection[str]) -> Masks:
    """What is there of `masks` at some locations, and no mask elsewhere."""

    def none_elsewhere(part: Masks | LayerMasks, at: Mapping[str, str]) -> dict[str, Any]:
        names = [item.name for item in fields(part) if item.name != "layers"]
        return {name: None for name in names if at.get(name, name) not in places}

    layers = tuple(
        replace(layer, **none_elsewhere(layer, {**_PLACES, **({"input": "hidden"} if depth else {})}))
        for depth, layer in enumerate(masks.layers)
    )
    return replace(masks, layers=layers, **none_elsewhere(masks, {}))
