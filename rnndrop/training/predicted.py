"""What a model predicts, drawn from its own distributions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rnndrop.dropout.masks import evaluation_masks
from rnndrop.dropout.plan import Plan
from rnndrop.models.encoder import State
from rnndrop.models.language_model import LanguageModel


@torch.no_grad()
def predicted(model: LanguageModel, plan: Plan, state: State, inputs: Tensor, generator: torch.Generator) -> Tensor:
    """A word drawn from the prediction after each of inputs (T, B), read from `state` as at evaluation under `plan`."""
    masks = evaluation_masks(plan, model.sizes, generator, model.dtype, model.held)
    features, _ = model.features(inputs, state, masks)
    decoder = model.decoder_weights(masks)
    draws = [torch.multinomial(F.linear(row, *decoder).softmax(1), 1, generator=generator) for row in features]
    return torch.cat(draws, 1).t()  # (T, B)
