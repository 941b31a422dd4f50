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
from rnndrop.errors import RequestError
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


@pytest.mark.parametrize(
    "undrawn",
    [
        "dropout.token.kind=blank dropout.token.p=0.6",
        "dropout.carry.kind=reset dropout.carry.p=0.6",
        "dropout.recurrent.kind=locked dropout.recurrent.p=0.6 dropout.recurrent.gradient=true",
        "dropout.embedding.kind=word dropout.embedding.p=0.6",
    ],
)
def test_the_rate_is_held_to_what_is_drawn(undrawn: str) -> None:
    asked = ["dropout=none", *undrawn.split(), "evaluation.mc.samples=2", "evaluation.mc.rate=2"]
    config = compose(asked)
    assert not list(config.evaluation.mc.sampled(config.plan).active)
    with pytest.raises(RequestError, match=r"evaluation\.mc\.rate=2 makes 1.2 of dropout.output.p=0.6"):
        compose([*asked, "dropout.output.kind=naive", "dropout.output.p=0.6"])


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


class Reads(LanguageModel):
    """A model that keeps the masks on its output that it was given."""

    drawn: list[torch.Tensor]

    def features(self, words: Any, state: Any, masks: Masks) -> Any:
        assert masks.output is not None
        self.drawn.append(masks.output)
        return super().features(words, state, masks)


def masks_read(rule: dict[str, Any], at: EvaluationSettings, tokens: int, positions: int) -> torch.Tensor:
    """The masks (T, S, H) on the output under which a stream is read, `positions` tokens × samples at a time."""
    model = Reads(ModelSettings("lstm", H, 1, None, False), V)
    model.initialize(1.0, torch.Generator().manual_seed(1))
    model.drawn = []
    stream = np.arange(tokens + 1) % V
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnndrop.evaluation.monte_carlo.POSITIONS", positions)
        monte_carlo(model, plan({"output": {"p": 0.4} | rule}), stream, at, torch.Generator().manual_seed(2))
    return torch.cat(model.drawn)


@pytest.mark.parametrize("positions", [300, 2000, 10**6])  # 1, 6 and all steps at a time
def test_a_drifting_mask_does_not_know_where_the_text_is_cut(positions: int) -> None:
    """Its correlation from step to step is 1 - flip throughout; a chain that began anew would have none at a cut."""
    mask = masks_read({"kind": "naive", "flip": 0.1}, settings(300, window=37), 200, positions)
    correlation = torch.corrcoef(torch.stack([mask[:-1].flatten(), mask[1:].flatten()]))[0, 1]
    assert float(correlation) == pytest.approx(0.9, abs=0.01)
    assert float(mask.mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("positions", [20, 120, 10**6])
@pytest.mark.parametrize("masks", ["pass", "window"])
def test_holes_of_a_block_do_not_know_where_the_text_is_cut(positions: int, masks: Any) -> None:
    at = settings(20, window=50, masks=masks)
    read = masks_read({"kind": "naive", "block": 8}, at, 200, positions)
    windows = [read] if masks == "pass" else read.split(50)
    for column in torch.cat([each.flatten(1).T for each in windows]).tolist():
        holes = "".join("." if value == 0 else "o" for value in column).split("o")
        assert all(len(hole) >= 8 for hole in holes[1:-1] if hole)  # one at an edge may go on beyond it
    assert float((read == 0).double().mean()) == pytest.approx(0.4, abs=0.06)


def test_drifting_and_block_masks_are_drawn_anew_as_often_as_masks_says() -> None:
    """`flip` near 0 stays for the whole pass, or for a window, as a locked mask does."""
    for masks, changes in (("pass", set()), ("window", {50, 100, 150})):
        mask = masks_read({"kind": "naive", "flip": 1e-9}, settings(50, window=50, masks=masks), 200, 500)
        assert {t for t in range(1, 200) if not torch.equal(mask[t - 1], mask[t])} == changes


def test_a_layer_and_a_rule_of_its_own_go_on_by_themselves() -> None:
    from rnndrop.dropout.masks import Sizes, Tails, draw_masks

    sizes, generator, tails = Sizes(V, H, ((H, 3), (3, 4)), 4), torch.Generator().manual_seed(3), Tails()
    stays = {"kind": "naive", "p": 0.5, "flip": 1e-9}
    each = plan({"recurrent": stays | {"also": [stays]}, "output": stays})
    first, second = (draw_masks(each, sizes, 3, 40, generator, tails=tails) for _ in range(2))
    for one, other in zip(first.layers, second.layers, strict=True):
        assert one.recurrent is not None and other.recurrent is not None
        assert torch.equal(one.recurrent[-1], other.recurrent[0])
    assert first.output is not None and second.output is not None
    assert torch.equal(first.output, second.output)
    anew = draw_masks(each, sizes, 3, 40, generator).output
    assert anew is not None and not torch.equal(anew, first.output)


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
