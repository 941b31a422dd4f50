"""The continuous cache (Grave, Joulin & Usunier 2017, arXiv:1612.04426): words that followed similar states return."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rnndrop.config.schema import CacheSettings, Config
from rnndrop.data import batching
from rnndrop.data.corpus import Corpus
from rnndrop.dropout.masks import evaluation_masks
from rnndrop.dropout.plan import Plan
from rnndrop.evaluation.perplexity import Measured, perplexity
from rnndrop.evaluation.reading import of_splits, windows
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import token_nll

WINDOW = 200  # tokens at a time; does not change the result


@torch.no_grad()
def cache_nll(model: LanguageModel, plan: Plan, tokens: np.ndarray, settings: CacheSettings) -> np.ndarray:
    """-ln p (nats) of each token (N,) after the first, deterministic, in one pass over the whole stream.

        p(w) = (1 - mix) · p_model(w) + mix · p_cache(w)
        p_cache(w) ∝ Σ exp(theta · h(t)·h(i)) over the latest `size` steps i < t after which w came

    h is what the decoder sees. The first token is the model's alone: the cache is still empty.
    """
    device = model.device
    masks = evaluation_masks(plan, model.sizes, torch.Generator(device), model.dtype, model.held)
    decoder = model.decoder_weights(masks)
    state = model.initial_state(1)
    keys = model.embedding.new_empty(0, model.sizes.output)  # h of the latest steps …
    words = torch.empty(0, dtype=torch.int64, device=device)  # … and what came after each
    parts = []
    for window in windows(*batching.columns(tokens, 1), WINDOW):
        inputs, targets = (torch.from_numpy(part).to(device) for part in window)  # (T, 1)
        features, state = model.features(inputs, state, masks)
        keys = torch.cat([keys[-settings.size :], features.squeeze(1)])  # (S + T, H)
        words = torch.cat([words[-settings.size :], targets.squeeze(1)])
        nll = token_nll(features, *decoder, targets).squeeze(1)
        parts.append(_mixed(nll, keys, words, settings).cpu().numpy())
    return np.concatenate(parts)


def _mixed(nll: Tensor, keys: Tensor, words: Tensor, settings: CacheSettings) -> Tensor:
    """-ln p (T,) of the last T of `words` (S + T,), from the model's -ln p (T,) and all h (S + T, H)."""
    steps = torch.arange(len(keys), device=keys.device)
    now = steps[-len(nll) :, None]
    cached = (steps < now) & (steps >= now - settings.size)  # (T, S + T)
    scores = (settings.theta * keys[-len(nll) :] @ keys.t()).masked_fill_(~cached, -torch.inf)
    same = words[-len(nll) :, None] == words
    of_word = scores.masked_fill(~same, -torch.inf).logsumexp(1)
    log_cache = of_word - scores.logsumexp(1)
    mix = keys.new_tensor(settings.mix)
    mixed = torch.logaddexp(torch.log1p(-mix) - nll, mix.log() + log_cache)
    return torch.where(cached.any(1), -mixed, nll)


def measure_cache(model: LanguageModel, config: Config, corpus: Corpus) -> Measured:
    """The settings of the continuous cache, and the perplexities of the valid and test splits with it."""
    settings = config.evaluation.cache
    return settings.model_dump(), of_splits(
        lambda split: perplexity(cache_nll(model, config.plan, corpus.split(split), settings))
    )
