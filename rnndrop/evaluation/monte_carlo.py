"""Monte-Carlo evaluation: the probabilities of a token averaged over many masks (Gal & Ghahramani 2016, section 5.1).

Each sample has masks of its own: the samples run side by side as extra columns of the batch. Masks on weights cannot
differ between columns, so a plan that has them takes one pass a sample instead.

The arithmetic mean needs the probability of the token that came, and no other. Other means (Melis et al. 2018,
arXiv:1805.09208) do not add up to 1 over the vocabulary, so they need the whole distribution of all samples at once:
passes then go on in step, a stretch of the stream at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnndrop.config.schema import EvaluationSettings
from rnndrop.data import batching
from rnndrop.dropout.masks import Masks, Tails, draw_masks, map_masks, merge_masks
from rnndrop.dropout.noises import NO_DOUBLES
from rnndrop.dropout.plan import Plan
from rnndrop.dropout.rule import LOCATIONS, Rule
from rnndrop.evaluation import reading
from rnndrop.evaluation.perplexity import perplexity, tempered
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import log_probabilities, token_nll
from rnndrop.stats import Estimate, jackknife

POSITIONS = 4000  # tokens × samples at a time: bounds the memory
WIDE = 0.01  # powers below it are taken in float64
BLOCK = 1 << 20  # probabilities that are averaged at a time
ENTRIES = 1 << 22  # tokens × samples × types of whole distributions at a time, or one token: some arrays of 16 MB


def monte_carlo(
    model: LanguageModel, plan: Plan, tokens: np.ndarray, settings: EvaluationSettings, generator: torch.Generator
) -> Estimate:
    """Perplexity of a stream (N,) with `settings.mc.samples` masks, which `generator` draws; less its bias of 1/S.

    One sample has its bias, and no standard error (NaN).
    """
    plan = _side_by_side(settings.mc.sampled(plan))
    apart = model.draws or any(LOCATIONS[rule.location].is_weight for rule in plan.active)
    passes, samples = (settings.mc.samples, 1) if apart else (1, settings.mc.samples)
    in_step = settings.mc.power != 1  # else one after the other
    found = [
        _pass(model, plan, tokens, settings, generator, samples, tell=number == 0 and (in_step or passes == 1))
        for number in range(passes)
    ]
    if in_step:
        return _of_power_mean(found, settings.mc.samples, settings.mc.power)
    whole = reading.told(found, passes) if passes > 1 else found
    return summarise(np.concatenate([_token_nll(stretches, samples) for stretches in whole]))


def summarise(nll: np.ndarray) -> Estimate:
    """From -ln p of each sample and token (S, N) to the perplexity of the mean probabilities of many samples.

    The mean of S probabilities is itself a sample, and -ln of it too high by about var(p) / (2·S·p²). So the mean NLL
    is that of the jackknife over samples, S·θ - (S-1)·mean(θ₋ₛ), θ₋ₛ that of all samples but s (Quenouille 1956): what
    is left of the bias falls as 1/S². The standard error is the jackknife's, by the delta method through exp; it takes
    in that the tokens of a sample share masks.
    """
    samples, tokens = nll.shape
    whole, left_out = 0.0, np.zeros(samples)
    for start in range(0, tokens, step := max(1, BLOCK // samples)):
        of_all, of_others = _mean_log_p(-nll[:, start : start + step].astype(np.float64))
        whole -= of_all.sum() / tokens
        left_out -= of_others.sum(axis=1) / tokens
    return _estimate(whole, left_out)


def _estimate(whole: float, left_out: np.ndarray) -> Estimate:
    """The perplexity from the mean NLL of all samples, and of all but each (S,), by the jackknife."""
    mean, error = jackknife(whole, left_out)
    if not 0 <= mean < math.inf:  # tokens of which single samples decide: nothing can be said of many
        return Estimate(math.inf, math.nan)
    average = perplexity(np.array(mean))
    return Estimate(average, average * error)


def _mean_log_p(log_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From ln p (S, N) to ln of the mean p (N,), and of the mean p of all samples but each (S, N)."""
    samples = len(log_p)
    nothing = np.full_like(log_p[:1], -np.inf)
    before = np.logaddexp.accumulate(np.concatenate([nothing, log_p]))  # (S + 1, N): of the samples before
    after = np.logaddexp.accumulate(np.concatenate([nothing, log_p[::-1]]))[::-1]
    others = np.logaddexp(before[:-1], after[1:])
    return before[-1] - math.log(samples), others - math.log(max(1, samples - 1))


class _Stretch(NamedTuple):
    """What the decoder makes its logits of in some steps of a pass: T steps, S samples, C columns of the stream."""

    features: Tensor  # (T, S·C, H)
    weight: Tensor  # (V, H)
    bias: Tensor  # (V,)
    targets: Tensor  # (T, C)


@torch.no_grad()
def _of_power_mean(passes: list[Iterator[_Stretch]], samples: int, power: float) -> Estimate:
    """The perplexity of the normalised power mean of the samples of all passes, which go on in step.

    The jackknife takes the samples out before the mean is normalised: of its bias, the part of the normalisation goes
    with the rest.
    """
    sums, count = torch.zeros(samples + 1, dtype=torch.float64), 0
    for stretches in zip(*passes, strict=True):
        targets = stretches[0].targets.flatten()  # (T·C,)
        real = targets != batching.IGNORED
        features = [_by_token(each.features, stretches[0].targets.shape[1])[real] for each in stretches]
        step = max(1, ENTRIES // (samples * max(stretches[0].weight.shape)))
        for start in range(0, len(features[0]), step):
            rows = slice(start, start + step)
            parts = [_log_p(each, part[rows]) for each, part in zip(stretches, features, strict=True)]
            log_p = torch.cat(parts, 1)  # (n, S, V)
            sums += power_nll(log_p, targets[real][rows], power).sum(0).cpu()
        count += int(real.sum())
    whole, *left_out = (sums / count).tolist()
    return _estimate(whole, np.array(left_out))


def _by_token(features: Tensor, columns: int) -> Tensor:
    """From (T, S·C, H) to (T·C, S, H)."""
    steps, _, width = features.shape
    return features.view(steps, -1, columns, width).transpose(1, 2).flatten(0, 1)


def _log_p(stretch: _Stretch, features: Tensor) -> Tensor:
    """ln p (n, S, V) after features (n, S, H)."""
    found = log_probabilities(features.flatten(0, 1), stretch.weight, stretch.bias)
    return found.view(*features.shape[:2], -1)


def power_nll(log_p: Tensor, targets: Tensor, power: float) -> Tensor:
    """From ln p (n, S, V) of samples to -ln of their normalised power mean at the targets (n,), as (n, S + 1).

    First that of all samples, then those of all but each in turn.
    """
    mean = log_power_mean(log_p, power)  # (n, S + 1, V)
    return mean.logsumexp(2) - mean[torch.arange(len(targets), device=targets.device), :, targets]


def log_power_mean(log_p: Tensor, power: float) -> Tensor:
    """From ln p (n, S, V) to ln of (mean of p^power)^(1/power) over the samples, of power 0 the mean of ln p.

    (n, S + 1, V): first of all samples, then of all but each in turn, which for one sample means nothing.
    """
    samples, dtype, device = log_p.shape[1], log_p.dtype, log_p.device
    if 0 < power < WIDE:  # terms near 1, whose rounding is divided by the power
        log_p = (log_p.cpu() if log_p.device.type in NO_DOUBLES else log_p).double()
    most = log_p.amax(1, keepdim=True)  # so that nothing underflows but what adds nothing
    terms = log_p if power == 0 else (power * (log_p - most)).exp_()
    nothing = torch.zeros_like(terms[:, :1])
    before = torch.cat([nothing, _running(terms)], 1)  # (n, S + 1, V): of the samples before each, and of all
    after = torch.cat([_running(terms.flip(1)).flip(1)[:, 1:], nothing], 1)  # never a difference: nothing cancels
    sums = torch.cat([before[:, -1:] / samples, (before[:, :-1] + after) / max(1, samples - 1)], 1)
    return sums if power == 0 else (sums.log_() / power + most).to(device, dtype)


def _running(terms: Tensor) -> Tensor:
    """The sums (n, S, V) of the first terms (n, S, V); CUDA's own has no order that is always the same."""
    if terms.is_cuda and torch.are_deterministic_algorithms_enabled():
        return torch.stack(list(accumulate(terms.unbind(1))), 1)
    return terms.cumsum(1)


def _side_by_side(plan: Plan) -> Plan:
    """The plan under which columns are samples: every mask varies over the batch."""

    def of(rule: Rule) -> Rule:
        return rule if "batch" not in LOCATIONS[rule.location].axes else replace(rule, varies=rule.varies | {"batch"})

    return plan.map(of)


def _token_nll(stretches: Iterable[_Stretch], samples: int) -> np.ndarray:
    """-ln p (S, N) of each token after the first, in the stream's order."""
    nll, targets = [], []
    for each in stretches:
        steps, columns = each.targets.shape
        of_all = token_nll(each.features, each.weight, each.bias, each.targets.tile(1, samples))
        nll.append(of_all.view(steps, samples, columns).cpu().numpy())
        targets.append(each.targets.cpu().numpy())
    stream = np.concatenate(nll).transpose(1, 2, 0)  # (S, C, L)
    scored: np.ndarray = stream[:, np.concatenate(targets).T != batching.IGNORED]  # (S, N)
    return scored


@torch.no_grad()
def _pass(
    model: LanguageModel,
    plan: Plan,
    tokens: np.ndarray,
    settings: EvaluationSettings,
    generator: torch.Generator,
    samples: int,
    tell: bool,
) -> Iterator[_Stretch]:
    """Read the stream with so many samples side by side; its columns share the masks of their sample.

    `tell`: whether those who listen are told.
    """
    inputs, targets = batching.columns(tokens, min(settings.batch_size, len(tokens) - 1))
    columns = inputs.shape[1]
    steps = settings.window if model.draws else max(1, POSITIONS // (columns * samples))
    fixed = partial(_drawer(model, _part(plan, False), generator, samples, columns), 1, None)
    fresh, tails = _drawer(model, _part(plan, True), generator, samples, columns), Tails()
    once: Callable[[], Masks] | None = None
    state = model.initial_state(samples * columns)
    stretches = (reading.windows if tell else batching.windows)(inputs, targets, settings.window)
    for window in stretches:
        if once is None or settings.mc.masks == "window":
            once = _kept(fixed) if settings.mc.power == 1 else _drawn_again(fixed, generator)
            tails = Tails()
        for x, y in batching.windows(*window, steps):
            masks = merge_masks(once(), fresh(len(x), tails))
            words, next_words = (torch.from_numpy(part).to(generator.device) for part in (x, y))  # (T, C)
            with model.drawing(generator):
                features, state = model.features(words.tile(1, samples), state, masks)  # (T, S·C, H)
            decoder = tempered(features, *model.decoder_weights(masks), settings.mc.temperature)
            yield _Stretch(*decoder, next_words)


def _kept(draw: Callable[[], Masks]) -> Callable[[], Masks]:
    """Draw masks now, and return a function that returns them."""
    masks = draw()
    return lambda: masks


def _drawn_again(draw: Callable[[], Masks], generator: torch.Generator) -> Callable[[], Masks]:
    """The same, but they are drawn anew each time: masks on the weights, of passes in step, would fill the memory."""
    start = generator.get_state()
    draw()

    def again() -> Masks:
        now = generator.get_state()
        generator.set_state(start)
        masks = draw()
        generator.set_state(now)
        return masks

    return again


def _part(plan: Plan, over_time: bool) -> Plan:
    """The rules that vary over time, or those that do not."""
    return plan.map(lambda rule: rule if ("time" in rule.varies) == over_time else Rule(rule.location))


def _drawer(
    model: LanguageModel, plan: Plan, generator: torch.Generator, samples: int, columns: int
) -> Callable[[int, Tails | None], Masks]:
    """A function that draws the masks of some steps, for samples × columns sequences."""

    def draw(steps: int, tails: Tails | None) -> Masks:
        masks = draw_masks(plan, model.sizes, steps, samples, generator, model.dtype, model.held, tails)
        if samples == 1:  # broadcasts over the columns; the only case with masks on weights
            return masks
        across = partial(torch.repeat_interleave, repeats=columns)
        embedding = None if masks.embedding is None else across(masks.embedding, dim=0)
        others = replace(masks, embedding=None)  # with a row for each type it is large: not to be repeated in vain
        return replace(map_masks(lambda mask: across(mask, dim=1), others), embedding=embedding)

    return draw
