"""Monte-Carlo evaluation against brute force over all masks."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from rnndrop.config.compose import compose
from rnndrop.config.schema import EvaluationSettings, MonteCarloSettings
from rnndrop.dropout.masks import LayerMasks, Masks
from rnndrop.dropout.plan import plan
from rnndrop.evaluation.monte_carlo import monte_carlo, summarise
from rnndrop.evaluation.perplexity import perplexity, stream_nll
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import token_nll
from rnndrop.stats import Estimate

TOKENS = np.array([0, 2, 1, 3, 3, 0, 4, 2, 1])
H, V = 2, 5


def model_of(cell: str = "lstm") -> LanguageModel:
    model = LanguageModel(ModelSettings(cell, H, 1, None, False), V)
    model.initialize(2.0, torch.Generator().manual_seed(1))
    return model.double()


def settings(samples: int, columns: int = 1, window: int = 100, **mc: Any) -> EvaluationSettings:
    sampling = MonteCarloSettings(samples=samples, **({"masks": "pass", "embedding": False} | mc))
    return compose([]).evaluation.model_copy(update={"batch_size": columns, "window": window, "mc": sampling})


def measure(model: LanguageModel, rules: Any, at: EvaluationSettings, seed: int = 0) -> Estimate:
    return monte_carlo(model, plan(rules), TOKENS, at, torch.Generator().manual_seed(seed))


def brute_force(model: LanguageModel, p: float) -> float:
    """The perplexity of the mean probabilities over all masks of `recurrent` and `output`, once a pass."""
    total = np.zeros(len(TOKENS) - 1)
    inputs, targets = torch.from_numpy(TOKENS[:-1, None].copy()), torch.from_numpy(TOKENS[1:, None].copy())
    for bits in itertools.product([0, 1], repeat=2 * H):
        mask = torch.tensor(bits, dtype=torch.float64) / (1 - p)
        masks = Masks((LayerMasks(recurrent=mask[:H].view(1, 1, 1, H)),), output=mask[H:].view(1, 1, H))
        features, _ = model.features(inputs, model.initial_state(1), masks)
        nll = token_nll(features, *model.decoder_weights(masks), targets).squeeze(1)
        total += (1 - p) ** sum(bits) * p ** (2 * H - sum(bits)) * torch.exp(-nll).numpy()
    return math.exp(-np.log(total).mean())


@pytest.mark.parametrize("kind", ["locked", "shared"])
@pytest.mark.parametrize("columns", [1, 2])
def test_against_brute_force_over_all_masks(kind: str, columns: int) -> None:
    model, p = model_of(), 0.4
    rules = {"recurrent": {"kind": kind, "p": p}, "output": {"kind": kind, "p": p}}
    if columns == 1:
        expected = brute_force(model, p)
        errors = []
        for seed in range(30):
            result = measure(model, rules, settings(600), seed)
            errors.append((result.value - expected) / result.standard_error)
        assert abs(np.mean(errors)) < 4 / math.sqrt(30)  # unbiased …
        assert 0.6 < np.std(errors) < 1.5  # … and the standard error is what it says
    else:  # the samples of a column are still many
        assert measure(model, rules, settings(600, columns)).standard_error > 0


def test_weight_masks_take_one_pass_a_sample_and_agree_with_the_shared_mask() -> None:
    model = model_of()
    columns = measure(model, {"weight_hh": {"kind": "weight_columns", "p": 0.4}}, settings(400))
    shared = measure(model, {"recurrent": {"kind": "shared", "p": 0.4}}, settings(400))
    margin = 4 * math.hypot(columns.standard_error, shared.standard_error)
    assert abs(columns.value - shared.value) < margin


@pytest.mark.parametrize("masks", ["pass", "window"])
@pytest.mark.parametrize("rules", [{}, {"recurrent": {"kind": "locked", "p": 0.0}}])
def test_without_dropout_it_is_the_deterministic_perplexity(masks: str, rules: Any) -> None:
    model = model_of()
    at = settings(3, masks=masks)
    result = measure(model, rules, at)
    assert result.value == pytest.approx(perplexity(stream_nll(model, plan({}), TOKENS, at)), rel=1e-12)
    assert result.standard_error == pytest.approx(0, abs=1e-9)


def test_embedding_dropout_is_off_unless_asked() -> None:
    model, rules = model_of(), {"embedding": {"kind": "word_per_sequence", "p": 0.5}}
    assert measure(model, rules, settings(5)).standard_error == pytest.approx(0, abs=1e-9)
    assert measure(model, rules, settings(5, embedding=True)).standard_error > 1e-3


@pytest.mark.parametrize("kind", ["naive", "zoneout"])
def test_kinds_that_vary_over_time_are_sampled_at_every_step(kind: str) -> None:
    result = measure(model_of(), {"cell": {"kind": kind, "p": 0.5}}, settings(50))
    assert math.isfinite(result.value) and result.standard_error > 0


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("location", ["cell", "state", "recurrent"])
def test_how_much_is_computed_at_a_time_does_not_change_the_result(
    monkeypatch: pytest.MonkeyPatch, cell: str, location: str
) -> None:
    model, rules = model_of(cell), {location: {"kind": "locked", "p": 0.5}}
    whole = measure(model, rules, settings(4))
    monkeypatch.setattr("rnndrop.evaluation.monte_carlo.POSITIONS", 4)  # a step at a time
    in_steps, in_windows = measure(model, rules, settings(4)), measure(model, rules, settings(4, window=3))
    assert in_steps.value == pytest.approx(whole.value, rel=1e-6)
    assert in_windows.value == pytest.approx(whole.value, rel=1e-6)


def test_masks_once_a_window_differ_between_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rules = model_of(), {"output": {"kind": "locked", "p": 0.5}}
    once, fresh = (measure(model, rules, settings(2, window=3, masks=masks)) for masks in ("pass", "window"))
    assert once.value != fresh.value
    monkeypatch.setattr("rnndrop.evaluation.monte_carlo.POSITIONS", 4)  # memory for one or two steps at a time
    again = measure(model, rules, settings(2, window=3, masks="window"))
    assert again.value == pytest.approx(fresh.value, rel=1e-5)


def test_averages_probabilities_not_log_probabilities_and_takes_the_bias_out(monkeypatch: pytest.MonkeyPatch) -> None:
    p = np.array([[0.5, 0.1], [0.1, 0.3], [0.3, 0.2]])
    means = [p.mean(axis=0), *(np.delete(p, left_out, axis=0).mean(axis=0) for left_out in range(3))]
    whole, *without = (-np.log(mean).mean() for mean in means)
    expected = math.exp(3 * whole - 2 * np.mean(without))
    result = summarise(-np.log(p))
    assert result.value == pytest.approx(expected)
    assert result.standard_error == pytest.approx(
        expected * math.sqrt(2 / 3 * np.square(without - np.mean(without)).sum())
    )
    monkeypatch.setattr("rnndrop.evaluation.monte_carlo.BLOCK", 1)  # a token at a time
    assert summarise(-np.log(p)).value == pytest.approx(expected)


def test_one_sample_is_what_it_is_and_has_no_standard_error() -> None:
    one = summarise(-np.log(np.array([[0.5, 0.1]])))
    assert one.value == pytest.approx(1 / math.sqrt(0.05)) and math.isnan(one.standard_error)


def test_probabilities_that_underflow_and_samples_too_few_to_say() -> None:
    assert summarise(np.full((2, 3), 800.0)).value == math.inf
    for few in ([[1.0, 2000.0], [2000.0, 1.0], [2.0, 2000.0]], [[1.0, np.inf], [2.0, 3.0]]):
        result = summarise(np.array(few))
        assert result.value == math.inf and math.isnan(result.standard_error)
    shifted = np.array([[1.0, 2.0], [3.0, 1.5], [1.2, 2.2]])
    far = summarise(shifted + 600).value
    assert far == pytest.approx(summarise(shifted).value * math.exp(600))
