"""The language model: an encoder, and a decoder that scores every word type."""

from __future__ import annotations

import torch
from torch import nn

from rnndrop.models.encoder import Encoder, ModelSettings


class LanguageModel(Encoder):
    """Predicts the next token; `decoder_weights` (V, H) and (V,) are as `rnndrop.ops.nll` takes them."""

    def __init__(self, settings: ModelSettings, vocabulary_size: int) -> None:
        super().__init__(settings, vocabulary_size)
        self.decoder_bias = nn.Parameter(torch.empty(vocabulary_size))
        self.decoder = None if settings.tie_weights else nn.Parameter(torch.empty(vocabulary_size, self.sizes.output))
