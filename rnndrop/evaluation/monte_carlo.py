"""Monte-Carlo evaluation: the probabilities of a token averaged over many masks (Gal & Ghahramani 2016, section 5.1).

Each sample has masks of its own: the samples run side by side as extra columns of the batch. Masks on weights cannot
differ between columns, so a plan that has them takes one pass a sample instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from rnndrop.config.schema import EvaluationSettings, MonteCarloSettings
from rnndrop.data import batching
from rnndrop.dropout.masks import Masks, draw_masks, map_masks, merge_masks
from rnndrop.dropout.plan import Plan
from rnndrop.dropout.rule import LOCATIONS, Rule
from rnndrop.evaluation.perplexity import perplexity
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import token_nll
from rnndrop.stats import Estimate, jackknife

POSITIONS = 4000  # tokens × samples at a time: bounds the memory
BLOCK = 1 << 20  # probabilities that are averaged at a time


def monte_carlo(
    model: LanguageModel, plan: Plan, tokens: np.ndarray, settings: EvaluationSettings, generator: torch.Generator
) -> Estimate:
    """Perplexity of a stream (N,) with `settings.mc.samples` masks, which `generator` draws; less its bias of 1/S.

    One sample has its bias, and no standard error (NaN).
    """
    plan = _sampled(plan, settings.mc)
    samples = settings.mc.samples
    if any(LOCATIONS[rule.location].is_weight for rule in plan.active):
        passes = [_pass(model, plan, tokens, settings, generator, 1) for _ in range(samples)]
        return summarise(np.concatenate(passes))
    return summarise(_pass(model, plan, tokens, settings, generator, samples))


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


def _sampled(plan: Plan, settings: MonteCarloSettings) -> Plan:
    """The plan under which columns are samples: every mask varies over the batch; no embedding mask unless asked.

    The text is read as it is, from beginning to end, and what acts on gradients alone has nothing to act on.
    """

    def of(rule: Rule) -> Rule:
        if rule.gradient:
            return Rule(rule.location)
        return rule if "batch" not in LOCATIONS[rule.location].axes else replace(rule, varies=rule.varies | {"batch"})

    return plan.without("token", "carry", *(() if settings.embedding else ("embedding",))).map(of)


@torch.no_grad()
def _pass(
    model: LanguageModel,
    plan: Plan,
    tokens: np.ndarray,
    settings: EvaluationSettings,
    generator: torch.Generator,
    samples: int,
) -> np.ndarray:
    """-ln p (S, N) of each token after the first; the columns of the stream share the masks of their sample."""
    inputs, targets = batching.columns(tokens, min(settings.batch_size, len(tokens) - 1))
    columns = inputs.shape[1]
    steps = max(1, POSITIONS // (columns * samples))
    fixed = _drawer(model, _part(plan, False), generator, samples, columns)
    fresh = _drawer(model, _part(plan, True), generator, samples, columns)
    once: Masks | None = None
    state = model.initial_state(samples * columns)
    parts = []
    for window in batching.windows(inputs, targets, settings.window):
        if once is None or settings.mc.masks == "window":
            once = fixed(1)
        for x, y in batching.windows(*window, steps):
            masks = merge_masks(once, fresh(len(x)))
            words, next_words = (torch.from_numpy(part).to(generator.device).tile(1, samples) for part in (x, y))
            features, state = model.features(words, state, masks)  # (T, S·C, H)
            nll = token_nll(features, *model.decoder_weights(masks), next_words)
            parts.append(nll.view(len(x), samples, columns).cpu().numpy())
    stream = np.concatenate(parts).transpose(1, 2, 0)  # (S, C, L)
    scored: np.ndarray = stream[:, targets.T != batching.IGNORED]  # (S, N)
    return scored


def _part(plan: Plan, over_time: bool) -> Plan:
    """The rules that vary over time, or those that do not."""
    return plan.map(lambda rule: rule if ("time" in rule.varies) == over_time else Rule(rule.location))


def _drawer(
    model: LanguageModel, plan: Plan, generator: torch.Generator, samples: int, columns: int
) -> Callable[[int], Masks]:
    """A function that draws the masks of a window of some steps, for samples × columns sequences."""

    def draw(steps: int) -> Masks:
        masks = draw_masks(plan, model.sizes, steps, samples, generator, model.embedding.dtype, model.held)
        if samples == 1:  # broadcasts over the columns; the only case with masks on weights
            return masks
        across = partial(torch.repeat_interleave, repeats=columns)
        embedding = None if masks.embedding is None else across(masks.embedding, dim=0)
        return replace(map_masks(lambda mask: across(mask, dim=1), masks), embedding=embedding)

    return draw
