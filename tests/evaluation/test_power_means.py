"""Power means of Monte-Carlo samples against plain loops over whole distributions, in numpy and float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from rnndrop.config.compose import compose
from rnndrop.config.schema import EvaluationSettings
from rnndrop.dropout.masks import LayerMasks, Masks, draw_masks
from rnndrop.dropout.plan import Plan, plan
from rnndrop.errors import RequestError
from rnndrop.evaluation import monte_carlo as module
from rnndrop.evaluation.monte_carlo import log_power_mean, monte_carlo, power_nll
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.stats import Estimate

TOKENS = np.array([0, 2, 1, 3, 3, 0, 4, 2, 1, 1])
H, V = 3, 5
COLUMNS = {"recurrent": {"kind": "locked", "p": 0.4}, "output": {"kind": "locked", "p": 0.3}}
WEIGHTS = {"weight_hh": {"kind": "dropconnect", "p": 0.4}, "weight_decoder": {"kind": "dropconnect", "p": 0.3}}
MIXED = {"recurrent": {"kind": "locked", "p": 0.4}, "output": {"kind": "naive", "p": 0.3},
         "state": {"kind": "zoneout", "p": 0.2}}  # fmt: skip


def model_of() -> LanguageModel:
    model = LanguageModel(ModelSettings("lstm", H, 1, None, False), V)
    model.initialize(2.0, torch.Generator().manual_seed(1))
    return model.double()


def settings(samples: int, columns: int = 1, window: int = 100, **mc: Any) -> EvaluationSettings:
    base = compose([f"evaluation.mc.samples={samples}", *(f"evaluation.mc.{name}={mc[name]}" for name in mc)])
    return base.evaluation.model_copy(update={"batch_size": columns, "window": window})


def measure(rules: Any, at: EvaluationSettings, seed: int = 0) -> Estimate:
    return monte_carlo(model_of(), plan(rules), TOKENS, at, torch.Generator().manual_seed(seed))


@torch.no_grad()
def distributions(model: LanguageModel, masks: Masks, temperature: float = 1.0, columns: int = 1) -> np.ndarray:
    """p (N, V) after each token but the last, from logits in numpy; each column of the text begins anew."""
    weight, bias = (part.numpy() for part in model.decoder_weights(masks))
    found = []
    for inputs in np.array_split(TOKENS[:-1], columns):  # the first of them are longer by one
        features, _ = model.features(torch.from_numpy(inputs[:, None].copy()), model.initial_state(1), masks)
        p = np.exp((features[:, 0].numpy() @ weight.T + bias) / temperature)
        found.append(p / p.sum(1, keepdims=True))
    return np.concatenate(found)


def naive_nll(samples: Sequence[np.ndarray], power: float, shares: Sequence[float] | None = None) -> float:
    """The mean NLL of the normalised power mean of p (N, V) of samples, token by token and type by type."""
    shares = [1 / len(samples)] * len(samples) if shares is None else shares
    total = 0.0
    for at, target in enumerate(TOKENS[1:]):
        mean = []
        for word in range(V):
            p = [each[at, word] for each in samples]
            if power == 0:
                mean.append(math.exp(sum(share * math.log(x) for share, x in zip(shares, p, strict=True))))
            else:
                mean.append(sum(share * x**power for share, x in zip(shares, p, strict=True)) ** (1 / power))
        total -= math.log(mean[target] / sum(mean))
    return total / (len(TOKENS) - 1)


def naive_estimate(samples: Sequence[np.ndarray], power: float) -> Estimate:
    """The jackknife written out: pseudo-values of the mean NLL, and the delta method through exp."""
    count, whole = len(samples), naive_nll(samples, power)
    left_out = [naive_nll([*samples[:at], *samples[at + 1 :]], power) for at in range(count)]
    pseudo = np.array([count * whole - (count - 1) * each for each in left_out])
    value = math.exp(pseudo.mean())
    return Estimate(value, value * float(pseudo.std(ddof=1)) / math.sqrt(count))


def masks_side_by_side(rules: Any, samples: int, seed: int) -> list[Masks]:
    """The masks of each sample of a plan on activations, as columns of one draw."""
    model = model_of()
    of_all = draw_masks(plan(rules), model.sizes, 1, samples, torch.Generator().manual_seed(seed), torch.float64)
    (layer,) = of_all.layers
    assert layer.recurrent is not None and of_all.output is not None
    return [
        Masks((LayerMasks(recurrent=layer.recurrent[:, [each]]),), output=of_all.output[:, [each]])
        for each in range(samples)
    ]


def masks_in_turn(rules: Any, samples: int, seed: int) -> list[Masks]:
    """Those of a plan on weights, one draw a sample."""
    generator, model = torch.Generator().manual_seed(seed), model_of()
    return [draw_masks(plan(rules), model.sizes, 1, 1, generator, torch.float64) for _ in range(samples)]


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(("rules", "drawn"), [(COLUMNS, masks_side_by_side), (WEIGHTS, masks_in_turn)])
def test_against_the_naive_loop(power: float, temperature: float, columns: int, rules: Any, drawn: Any) -> None:
    samples = [distributions(model_of(), masks, temperature, columns) for masks in drawn(rules, 5, 3)]
    expected = naive_estimate(samples, power)
    found = measure(rules, settings(5, columns, power=power, temperature=temperature), 3)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found.value != pytest.approx(naive_estimate(samples, 1.0).value, rel=1e-5)  # another mean than usual


@pytest.mark.parametrize("rules", [COLUMNS, WEIGHTS])
def test_the_arithmetic_mean_is_the_usual_one(rules: Any) -> None:
    drawn = masks_side_by_side if rules is COLUMNS else masks_in_turn
    samples = [distributions(model_of(), masks) for masks in drawn(rules, 5, 3)]
    usual = measure(rules, settings(5), 3)
    assert usual == pytest.approx(naive_estimate(samples, 1.0), rel=1e-9)
    assert measure(rules, settings(5, power=1 - 1e-9), 3) == pytest.approx(usual, rel=1e-6)


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_against_all_masks(power: float) -> None:
    """The estimate of few samples has the mean that all masks have, and errors as large as it says."""
    model, p = model_of(), 0.4
    samples, shares = [], []
    for bits in itertools.product([0, 1], repeat=H):
        mask = torch.tensor(bits, dtype=torch.float64) / (1 - p)
        samples.append(distributions(model, Masks((LayerMasks(),), output=mask.view(1, 1, H))))
        shares.append((1 - p) ** sum(bits) * p ** (H - sum(bits)))
    expected = math.exp(naive_nll(samples, power, shares))
    rules = {"output": {"kind": "locked", "p": p}}
    found = [measure(rules, settings(150, power=power), seed) for seed in range(30)]
    errors = [(each.value - expected) / each.standard_error for each in found]
    assert abs(np.mean(errors)) < 4 / math.sqrt(30) and 0.6 < np.std(errors) < 1.5


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("masks", ["pass", "window"])
@pytest.mark.parametrize("rules", [MIXED, WEIGHTS])
def test_how_much_is_computed_at_a_time_does_not_change_the_result(
    monkeypatch: pytest.MonkeyPatch, rules: Any, masks: str, columns: int
) -> None:
    at = settings(4, columns, 3, masks=masks, power=0)
    whole = measure(rules, at)
    monkeypatch.setattr(module, "ENTRIES", 1)  # a token at a time
    assert measure(rules, at) == pytest.approx(whole, rel=1e-9)
    if rules is WEIGHTS:  # with masks that vary over time, other steps draw others
        monkeypatch.setattr(module, "POSITIONS", 1)  # a step at a time: masks are drawn again for each
        assert measure(rules, at) == pytest.approx(whole, rel=1e-9)


def test_masks_that_are_drawn_again_are_the_same_and_the_next_are_others() -> None:
    generator = torch.Generator().manual_seed(0)
    again = module._drawn_again(lambda: torch.rand(3, generator=generator), generator)  # type: ignore[arg-type, return-value]
    other = torch.rand(3, generator=generator)
    first, second = again(), again()
    assert torch.equal(first, second) and not torch.equal(first, other)  # type: ignore[call-overload]
    after = torch.rand(3, generator=generator)
    generator.manual_seed(0)
    assert torch.equal(torch.rand(9, generator=generator)[6:], after)


def test_the_limit_is_the_geometric_mean() -> None:
    geometric = measure(COLUMNS, settings(5, power=0))
    assert measure(COLUMNS, settings(5, power=1e-6)) == pytest.approx(geometric, rel=1e-4)
    assert measure(COLUMNS, settings(5, power=0.2)).value != pytest.approx(geometric.value, rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_means_are_ordered_until_they_are_normalised(seed: int) -> None:
    logits = torch.randn(4, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    log_p = (3 * logits).log_softmax(2)
    means = torch.stack([log_power_mean(log_p, power) for power in (0.0, 0.1, 0.5, 0.9, 1.0)])  # (5, n, S + 1, V)
    assert bool((means.diff(dim=0) > 0).all())
    totals = means.logsumexp(3)
    assert bool((totals[:-1] < 0).all())  # only the arithmetic mean adds up to 1
    torch.testing.assert_close(totals[-1], torch.zeros_like(totals[-1]))


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_samples_that_are_alike_are_their_mean(power: float) -> None:
    log_p = torch.randn(4, 1, 7, dtype=torch.float64).log_softmax(2)
    targets = torch.tensor([0, 6, 3, 3])
    found = power_nll(log_p.expand(-1, 5, -1), targets, power)  # (4, 6)
    torch.testing.assert_close(found, -log_p[torch.arange(4), 0, targets, None].expand(-1, 6))


def test_probabilities_that_underflow_and_one_that_outweighs_the_others() -> None:
    """Left-out means are formed without a difference: here the others are below the last digit of the sum."""
    log_p = torch.tensor([[[-900.0, 0.0], [-2.0, -0.145], [-950.0, 0.0]]], dtype=torch.float64)
    found = log_power_mean(log_p, 0.5)
    assert bool(found.isfinite().all())
    expected = 2 * (np.logaddexp(-450, -475) - math.log(2))  # of all but the second
    assert found[0, 2, 0].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_one_sample_is_what_it_is_and_has_no_standard_error(power: float) -> None:
    one, usual = (measure(COLUMNS, settings(1, power=each)) for each in (power, 1))
    assert one.value == pytest.approx(usual.value, rel=1e-12) and math.isnan(one.standard_error)


def test_the_usual_settings_give_what_they_gave_before_there_were_others() -> None:
    """Measured by the code of then; on one machine they agree to the last bit."""
    model = LanguageModel(ModelSettings("lstm", 2, 1, None, False), V)
    model.initialize(2.0, torch.Generator().manual_seed(1))
    at = settings(7, 2, 3, masks="window")
    for rules, value, error in (
        (MIXED, 5.614674866408594, 0.11460221727221812),
        ({"weight_hh": {"kind": "dropconnect", "p": 0.4}}, 5.573772527485885, 0.025984352628670625),
    ):
        found = monte_carlo(model.double(), plan(rules), TOKENS[:-1], at, torch.Generator().manual_seed(5))
        assert found == pytest.approx((value, error), rel=1e-9)


# The multiplier of the rates.


@pytest.mark.parametrize("power", [1, 0])
def test_a_rate_is_a_plan_with_other_rates(power: float) -> None:
    halved = {place: {**own, "p": own["p"] / 2} for place, own in MIXED.items()}
    found = measure(MIXED, settings(5, rate=0.5, power=power))
    assert found == measure(halved, settings(5, power=power))
    assert found != measure(MIXED, settings(5, power=power))
    assert measure(MIXED, settings(5, rate=1, power=power)) == measure(MIXED, settings(5, power=power))


def test_a_rate_of_one_leaves_the_rules_as_they_are() -> None:
    own = plan({**COLUMNS, "embedding": {"kind": "word", "p": 0.2}})
    assert list(settings(1, embedding="true", rate=1).mc.sampled(own).active) == list(own.active)
    assert not settings(1).mc.sampled(own)["embedding"].active


@pytest.mark.parametrize(("rate", "refused"), [(2.4, False), (2.5, True), (1e30, True)])
def test_a_rate_that_would_come_to_one_is_refused(rate: float, refused: bool) -> None:
    overrides = ["dropout.recurrent.kind=locked", "dropout.recurrent.p=.4", f"evaluation.mc.rate={rate}"]
    assert compose(overrides).evaluation.mc.rate == rate  # nothing is sampled
    asked = [*overrides, "evaluation.mc.samples=2"]
    if not refused:
        assert isinstance(compose(asked).plan, Plan)
        return
    with pytest.raises(RequestError, match=r"dropout\.recurrent\.p=0\.4.* give less than 2\.5\.") as error:
        compose(asked)
    assert "\n" not in str(error.value)


def test_embedding_dropout_that_is_not_sampled_is_not_refused() -> None:
    asked = ["dropout.embedding.kind=word", "dropout.embedding.p=.5", "evaluation.mc.samples=2", "evaluation.mc.rate=2"]
    assert compose(asked)
    with pytest.raises(RequestError, match=r"dropout\.embedding\.p"):
        compose([*asked, "evaluation.mc.embedding=true"])


@pytest.mark.parametrize("override", ["power=-.1", "power=1.1", "power=nan", "rate=0", "rate=inf", "temperature=0"])
def test_settings_out_of_range(override: str) -> None:
    with pytest.raises(RequestError, match=rf"evaluation\.mc\.{override.partition('=')[0]}"):
        compose([f"evaluation.mc.{override}"])


@pytest.mark.parametrize("power", [1e-8, 1e-5, 1e-3, 0.0099, 0.5])
def test_small_powers_keep_their_digits_in_float32(power: float) -> None:
    generator = torch.Generator().manual_seed(0)
    log_p = (3 * torch.randn(50, 5, 200, generator=generator, dtype=torch.float64)).log_softmax(2)
    targets = torch.randint(200, (50,), generator=generator)
    exact = (torch.logsumexp(power * log_p, 1) - math.log(5)) / power if power > 1e-6 else log_p.mean(1)
    expected = exact.logsumexp(1) - exact[torch.arange(50), targets]
    found = power_nll(log_p.float(), targets, power)[:, 0]
    assert found.dtype == torch.float32 and (found - expected).abs().max() < 1e-3
