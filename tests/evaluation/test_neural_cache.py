"""The continuous cache against one loop over tokens that follows the paper's formula word by word."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from rnndrop.config.compose import compose
from rnndrop.config.schema import CacheSettings
from rnndrop.dropout.masks import evaluation_masks
from rnndrop.dropout.plan import plan
from rnndrop.evaluation import neural_cache
from rnndrop.evaluation.neural_cache import cache_nll
from rnndrop.evaluation.perplexity import perplexity, stream_nll
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel

V = 5
TOKENS = np.random.default_rng(0).integers(V, size=40)


def model_of(layers: int = 1) -> LanguageModel:
    model = LanguageModel(ModelSettings("lstm", 4, layers, None, False), V)
    model.initialize(1.0, torch.Generator().manual_seed(1))
    return model.double()


def settings(size: int = 7, theta: float = 2.0, mix: float = 0.3) -> CacheSettings:
    return CacheSettings(size=size, theta=theta, mix=mix)


@torch.no_grad()
def naive(model: LanguageModel, at: CacheSettings) -> list[float]:
    """-ln p of each token after the first, from two distributions over the whole vocabulary."""
    masks = evaluation_masks(plan({}), model.sizes, torch.Generator(), torch.float64)
    weight, bias = model.decoder_weights(masks)
    state = model.initial_state(1)
    memory: list[Any] = []
    result: list[Any] = []
    for word, following in pairwise(TOKENS):
        h, state = model.features(torch.tensor([[word]]), state, masks)
        h = h[0, 0]
        p = torch.softmax(weight @ h + bias, 0)
        if memory:
            from_cache = torch.zeros(V, dtype=torch.float64)
            for key, value in memory[-at.size :]:
                from_cache[value] += math.exp(at.theta * (h @ key).item())
            p = (1 - at.mix) * p + at.mix * from_cache / from_cache.sum()
        result.append(-math.log(p[following].item()))
        memory.append((h, following))
    return result


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("window", [1, 6, 200])
@pytest.mark.parametrize(("theta", "mix"), [(2.0, 0.3), (0.0, 0.9)])
def test_against_the_naive_loop(
    monkeypatch: pytest.MonkeyPatch, size: int, window: int, theta: float, mix: float
) -> None:
    monkeypatch.setattr(neural_cache, "WINDOW", window)
    model, at = model_of(2), settings(size, theta, mix)
    np.testing.assert_allclose(cache_nll(model, plan({}), TOKENS, at), naive(model, at), rtol=1e-10)


def test_the_first_token_and_a_share_of_nearly_0_are_the_model_s() -> None:
    model = model_of()
    evaluation = compose([]).evaluation.model_copy(update={"batch_size": 1})
    plain = stream_nll(model, plan({}), TOKENS, evaluation)
    np.testing.assert_allclose(cache_nll(model, plan({}), TOKENS, settings(mix=1e-12)), plain, rtol=1e-9)
    assert cache_nll(model, plan({}), TOKENS, settings(mix=0.9))[0] == pytest.approx(plain[0], rel=1e-12)


def test_the_future_does_not_count() -> None:
    model, other = model_of(), TOKENS.copy()
    other[25:] = (other[25:] + 1) % V
    one, two = (cache_nll(model, plan({}), tokens, settings())[:24] for tokens in (TOKENS, other))
    np.testing.assert_allclose(one, two, rtol=1e-12)


def test_it_finds_what_repeats() -> None:
    model, tokens = model_of(), np.tile([0, 3, 1, 4, 2, 2], 30)
    evaluation = compose([]).evaluation.model_copy(update={"batch_size": 1})
    plain = perplexity(stream_nll(model, plan({}), tokens, evaluation))
    assert perplexity(cache_nll(model, plan({}), tokens, settings(50, 20.0, 0.5))) < 0.85 * plain
