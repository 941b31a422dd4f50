"""Noise on the words that are read, against counts and draws worked out one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from rnndrop.dropout.rule import Rule, rule
from rnndrop.dropout.words import WordNoise
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel

WORDS = ["the", "<unk>", "cat", "sat", "mat", "on"]
TEXT = np.array([0, 2, 3, 5, 0, 4, 0, 2, 3, 5, 0, 1, 0, 2, 1, 4, 5, 0, 2])
NOISE = WordNoise(TEXT, WORDS, torch.device("cpu"))
T, B = 30, 400


def read(each: Rule, seed: int = 1, x: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What was there, inputs and targets, and what is read."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.from_numpy(np.random.default_rng(0).choice(TEXT, (T, B))) if x is None else x
    targets = torch.from_numpy(np.random.default_rng(1).choice(TEXT, (T, B)))
    targets[-1, :7] = -1
    return inputs, targets, *NOISE.under(each, inputs, targets, generator)


def pairs() -> set[tuple[int, int]]:
    return set(zip(TEXT[:-1].tolist(), TEXT[1:].tolist(), strict=True))


def share(found: Tensor) -> list[float]:
    counts = torch.bincount(found, minlength=len(WORDS) + 1).double()
    return (counts / counts.sum()).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("kind", "stands"), [("unk", 1), ("blank", len(WORDS))])
def test_a_hole_holds_what_its_kind_says_at_its_rate(kind: str, stands: int) -> None:
    inputs, targets, noised, same = read(rule("token", kind, 0.3))
    changed = noised != inputs
    assert torch.equal(same, targets) and set(noised[changed].tolist()) == {stands}
    could = inputs != stands
    assert changed[could].double().mean() == pytest.approx(0.3, abs=0.02)


def test_unigram_draws_from_the_counts() -> None:
    inputs, _, noised, _ = read(rule("token", "unigram", 0.999))
    counts = Counter(TEXT.tolist())
    expected = [counts[v] / len(TEXT) for v in range(len(WORDS))]
    assert share(noised.flatten())[: len(WORDS)] == pytest.approx(expected, abs=0.02)
    assert not torch.equal(noised, inputs)


@pytest.mark.parametrize(
    ("kind", "settings"), [("unigram", {"discounted": True}), ("unk", {"discounted": True}), ("kn", {})]
)
def test_discounting_replaces_a_word_by_how_many_types_follow_it(kind: str, settings: dict[str, bool]) -> None:
    counts, p = Counter(TEXT.tolist()), 0.8
    for word in range(len(WORDS)):
        followers = len({b for a, b in pairs() if a == word})
        x = torch.full((T, B), word)
        _, targets, noised, predicted = read(rule("token", kind, p, **settings), x=x)
        rate = p * followers / counts[word]
        same = {"unk": float(word == 1)}.get(kind)
        if same is None:  # a draw may be the word itself
            weights = [len({a for a, b in pairs() if b == v}) for v in range(len(WORDS))] if kind == "kn" else [
                counts[v] for v in range(len(WORDS))
            ]  # fmt: skip
            same = weights[word] / sum(weights)
        assert (noised != x).double().mean() == pytest.approx(rate * (1 - same), abs=0.02)
        assert (kind == "kn") or torch.equal(predicted, targets)


def test_kneser_ney_draws_from_histories_and_replaces_what_is_predicted() -> None:
    histories = [len({a for a, b in pairs() if b == v}) for v in range(len(WORDS))]
    x = torch.full((T, B), 4)  # "mat": two types follow its two occurrences
    _, targets, noised, predicted = read(rule("token", "kn", 0.999), x=x)
    expected = [each / sum(histories) for each in histories]
    assert share(noised.flatten())[: len(WORDS)] == pytest.approx(expected, abs=0.02)
    real = targets >= 0
    assert share(predicted[real])[: len(WORDS)] == pytest.approx(expected, abs=0.02)
    assert torch.equal(predicted[~real], targets[~real])  # padding stays
    together = (noised[real] == predicted[real]).double().mean()
    assert together == pytest.approx(sum(each**2 for each in expected), abs=0.02)  # two draws, not one


def test_a_type_that_is_dropped_is_dropped_wherever_it_stands() -> None:
    each = rule("token", "none", 0.5, varies=["batch", "type"], fill="unigram")
    inputs, _, noised, _ = read(each)
    for b in range(40):
        became = {(int(a), int(z)) for a, z in zip(inputs[:, b], noised[:, b], strict=True)}
        assert len(became) == len({a for a, _ in became})  # each type of a sequence becomes one type
    assert (noised != inputs).any()


@pytest.mark.parametrize(("varies", "apart"), [(None, True), (["time"], False)])
def test_a_uniform_schedule_draws_a_rate_for_each_sequence_of_a_window(varies: list[str] | None, apart: bool) -> None:
    each = rule("token", "blank", 0.5, schedule="uniform", varies=varies)
    rates = np.array([(read(each, seed)[2] == len(WORDS)).double().mean(0).tolist() for seed in range(60)])  # (60, B)
    assert rates.mean() == pytest.approx(0.25, abs=0.01 if apart else 0.06)
    spread = rates.std(axis=1).mean()  # that of U(0, .5), and of T draws; a mask that the batch shares has one share
    assert spread == pytest.approx((1 / 48 + (1 / 4 - 1 / 12) / T) ** 0.5 if apart else 0, abs=0.01)


def test_the_model_reads_a_blank_as_a_vector_that_it_learns() -> None:
    from rnndrop.dropout.masks import draw_masks
    from rnndrop.dropout.plan import plan

    model = LanguageModel(ModelSettings("lstm", 4, 1, None, False), len(WORDS)).double()
    model.initialize(0.5, torch.Generator().manual_seed(1))
    before = [parameter.clone() for parameter in model.parameters()]
    settings = plan({"token": {"kind": "blank", "p": 0.2}})
    model.hold(settings)
    after = [each for name, each in model.named_parameters() if not name.startswith("noise")]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    with torch.no_grad():
        model.noise["blank"] += torch.arange(4.0)
    masks = draw_masks(settings, model.sizes, 2, 1, torch.Generator(), torch.float64, model.held)
    x = torch.tensor([[2], [len(WORDS)]])
    found = model._embed(x, masks.embedding)
    assert torch.equal(found[0, 0], model.embedding[2]) and torch.equal(found[1, 0], model.noise["blank"])
    found.sum().backward()
    assert torch.equal(model.noise["blank"].grad, torch.ones(4))  # type: ignore[arg-type]
    assert model.embedding.grad.to_dense().sum() == 4  # type: ignore[union-attr]


@pytest.mark.parametrize("zoneout", [False, True])
def test_a_hole_can_hold_what_the_model_predicts_there(zoneout: bool) -> None:
    """Against the model read word by word: the distribution after x[:t] is that of what stands at t.

    Zoneout is there in expectation, as in every evaluation.
    """
    from functools import partial

    from rnndrop.dropout.masks import evaluation_masks
    from rnndrop.dropout.plan import Plan, plan
    from rnndrop.training.predicted import predicted

    model = LanguageModel(ModelSettings("gru", 6, 1, None, False), len(WORDS)).double()
    model.initialize(2.0, torch.Generator().manual_seed(1))
    x = torch.tensor([0, 2, 3]).unsqueeze(1).expand(3, 6000)
    state = tuple(tuple(torch.ones_like(part) for part in layer) for layer in model.initial_state(6000))
    held = plan({"state": {"kind": "zoneout", "p": 0.5}}) if zoneout else Plan(())
    predict = partial(predicted, model, held, state)
    noised, _ = NOISE.under(rule("token", "sampled", 0.999), x, x, torch.Generator().manual_seed(2), predict)
    assert torch.equal(noised[0], x[0])
    none = evaluation_masks(held, model.sizes, torch.Generator(), torch.float64)
    weight, bias = model.decoder_weights(none)
    memory = tuple(tuple(part[:1] for part in layer) for layer in state)
    for t in (1, 2):
        features, memory = model.features(x[t - 1 : t, :1], memory, none)
        expected = (features[0, 0] @ weight.T + bias).softmax(0).tolist()
        assert share(noised[t])[: len(WORDS)] == pytest.approx(expected, abs=0.025)
