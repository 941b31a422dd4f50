"""The model of task=sentiment: an encoder, and a decoder that gives one number at a sequence's last token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnndrop.dropout.noise import Masks
from rnndrop.models.encoder import Encoder, ModelSettings


class Regressor(Encoder):
    """Rates a sequence: encoder → dropout → linear(1) (Gal & Ghahramani 2016, section 5.2)."""

    def __init__(self, settings: ModelSettings, vocabulary_size: int) -> None:
        super().__init__(settings, vocabulary_size)
        self.decoder_bias = nn.Parameter(torch.empty(1))
        self.decoder = nn.Parameter(torch.empty(1, self.sizes.output))

    def predict(self, tokens: Tensor, lengths: Tensor, masks: Masks) -> Tensor:
        """One number (B,) for each sequence of tokens (T, B), padded after the last one, of lengths (B,).

        What is read is h at the last token, so what stands in the padding is never looked at.
        """
        features, _ = self.features(tokens, self.initial_state(tokens.shape[1]), masks)  # (T, B, H)
        last = features[lengths - 1, torch.arange(len(lengths), device=lengths.device)]  # (B, H)
        return F.linear(last, *self.decoder_weights(masks)).squeeze(1)
