"""A temperature against a plain loop over whole distributions, and the search for it against a fine grid."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rnndrop.config.compose import compose
from rnndrop.dropout.masks import evaluation_masks
from rnndrop.dropout.plan import plan
from rnndrop.evaluation.perplexity import perplexity, stream_nll
from rnndrop.evaluation.temperature import HIGH, LOW, measure_temperature, tuned
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel

V = 5
TOKENS = np.random.default_rng(0).integers(V, size=80)
AT = compose(["evaluation.batch_size=1", "evaluation=temperature"])


def model_of(scale: float = 1.0) -> LanguageModel:
    model = LanguageModel(ModelSettings("lstm", 4, 1, None, False), V)
    model.initialize(scale, torch.Generator().manual_seed(1))
    return model.double()


@torch.no_grad()
def softmax(model: LanguageModel, word: int, state: Any, temperature: float) -> tuple[np.ndarray, Any]:
    """p (V,) of what follows a word, in numpy, and the new state."""
    masks = evaluation_masks(plan({}), model.sizes, torch.Generator(), torch.float64)
    weight, bias = (part.numpy() for part in model.decoder_weights(masks))
    h, state = model.features(torch.tensor([[word]]), state, masks)
    p = np.exp((weight @ h[0, 0].numpy() + bias) / temperature)
    return p / p.sum(), state


def naive(model: LanguageModel, temperature: float, tokens: np.ndarray = TOKENS) -> list[float]:
    """-ln p of each token after the first, from the whole softmax."""
    state, found = model.initial_state(1), []
    for word, following in pairwise(tokens):
        p, state = softmax(model, word, state, temperature)
        found.append(-math.log(p[following]))
    return found


def written_by(model: LanguageModel, temperature: float, seed: int) -> np.ndarray:
    """Tokens that the model itself writes at a temperature, which is then the best one, but for chance."""
    source, state, tokens = np.random.default_rng(seed), model.initial_state(1), [0]
    while len(tokens) < 500:
        p, state = softmax(model, tokens[-1], state, temperature)
        tokens.append(int(source.choice(V, p=p)))
    return np.array(tokens)


@pytest.mark.parametrize("temperature", [0.5, 0.93, 1.0, 1.5])
def test_against_the_naive_loop(temperature: float) -> None:
    found = stream_nll(model_of(), plan({}), TOKENS, AT.evaluation, temperature)
    np.testing.assert_allclose(found, naive(model_of(), temperature), rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_temperature_of_one_is_none(dtype: torch.dtype) -> None:
    model = model_of().to(dtype)
    plain = stream_nll(model, plan({}), TOKENS, AT.evaluation)
    assert np.array_equal(stream_nll(model, plan({}), TOKENS, AT.evaluation, 1.0), plain)
    assert not np.array_equal(stream_nll(model, plan({}), TOKENS, AT.evaluation, 0.9), plain)


def measured(model: LanguageModel, valid: np.ndarray, test: np.ndarray) -> tuple[dict[str, Any], dict[str, float]]:
    splits = {"valid": valid, "test": test}
    corpus: Any = SimpleNamespace(split=lambda name: splits[name])
    return measure_temperature(model, AT, corpus)


@pytest.mark.parametrize("written_at", [0.7, 1.0, 1.2])
def test_it_is_tuned_on_valid_and_applied_to_test(written_at: float) -> None:
    model = model_of(3.0)
    valid, test = written_by(model, written_at, 0), written_by(model, 0.6, 1)
    grid = {each: float(np.mean(naive(model, each, valid))) for each in np.arange(60, 140, 2) / 100}
    best = min(grid, key=grid.__getitem__)
    settings, perplexities = measured(model, valid, test)
    found = settings["value"]
    assert settings["tune"] and found == pytest.approx(best, abs=0.0201)
    assert found == pytest.approx(written_at, abs=0.15)
    of_valid, of_test = (math.exp(np.mean(naive(model, found, tokens))) for tokens in (valid, test))
    assert perplexities["valid"] == pytest.approx(of_valid, rel=1e-10)
    assert perplexities["test"] == pytest.approx(of_test, rel=1e-10)
    assert of_valid <= perplexity(stream_nll(model, plan({}), valid, AT.evaluation))


@pytest.mark.parametrize(("valley", "found"), [(0.93, 0.93), (1.0, 1.0), (1.002, 1.0), (0.1, 0.5), (3.0, 1.5)])
def test_the_search(valley: float, found: float) -> None:
    asked: list[float] = []

    def score(temperature: float) -> float:
        asked.append(temperature)
        return (1 / temperature - 1 / valley) ** 2

    assert tuned(score) == found
    assert len(asked) <= 20 and LOW <= min(asked) <= max(asked) <= HIGH


def test_a_flat_score_leaves_the_temperature_alone() -> None:
    assert tuned(lambda _: 5.0) == 1.0
    assert tuned(lambda _: math.inf) == 1.0
