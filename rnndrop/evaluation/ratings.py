"""How far a model's ratings are from the true ones: the root mean squared error over chunks, in units of the ratings.

Monte-Carlo evaluation averages the ratings of many passes, each with masks of its own (Gal & Ghahramani 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from rnndrop.config.schema import EvaluationSettings
from rnndrop.data.reviews import Chunks, Floats, Reviews
from rnndrop.dropout.masks import Masks, draw_masks, evaluation_masks
from rnndrop.dropout.plan import Plan
from rnndrop.evaluation import reading
from rnndrop.models.regressor import Regressor
from rnndrop.stats import Estimate, jackknife


def rmse(predicted: Floats, ratings: Floats) -> float:
    """Root of the mean squared difference of two arrays (N,)."""
    return float(np.sqrt(np.mean((predicted - ratings) ** 2)))


def deterministic(model: Regressor, plan: Plan, reviews: Reviews, split: str, settings: EvaluationSettings) -> Floats:
    """The model's ratings (N,) of a split's chunks, in units of the ratings, without dropout."""
    masks = evaluation_masks(plan, model.sizes, torch.Generator(model.device), model.dtype, model.held)
    return _pass(model, lambda steps, batch: masks, reviews, split, settings.batch_size)


def monte_carlo(
    model: Regressor,
    plan: Plan,
    reviews: Reviews,
    split: str,
    settings: EvaluationSettings,
    generator: torch.Generator,
) -> Floats:
    """The ratings (S, N) of `settings.mc.samples` passes; `generator` draws a sequence's masks anew for each pass.

    Embedding dropout takes part if `settings.mc.embedding` says so; `settings.mc.masks` has no meaning here.
    """
    plan = settings.mc.sampled(plan)

    def drawn(steps: int, batch: int) -> Masks:
        return draw_masks(plan, model.sizes, steps, batch, generator, model.dtype, model.held)

    passes = reading.told(range(settings.mc.samples), settings.mc.samples)
    return np.stack([_pass(model, drawn, reviews, split, settings.batch_size) for _ in passes])


def of_mean(passes: Floats, ratings: Floats) -> Estimate:
    """RMSE of the mean rating of many passes, from some (S, N), for ratings (N,).

    The mean of S ratings varies by 1/S of what one does, which adds to its squared error: the jackknife over the passes
    takes that out, and all of it, since the error is a square.
    """
    samples, total = len(passes), passes.sum(axis=0)
    others = (total - passes) / max(1, samples - 1)  # (S, N): the means of all passes but each
    left_out = np.mean((others - ratings) ** 2, axis=1)
    square, error = jackknife(rmse(total / samples, ratings) ** 2, left_out)
    root = math.sqrt(max(square, 0.0))
    return Estimate(root, error / (2 * root) if root else math.nan)


@torch.no_grad()
def _pass(
    model: Regressor, masks: Callable[[int, int], Masks], reviews: Reviews, split: str, batch_size: int
) -> Floats:
    """Ratings (N,) with the masks that `masks(steps, batch)` returns for a batch."""
    chunks = reviews.split(split)
    found = np.empty(len(chunks))
    device = model.device
    for rows in _batches(chunks, batch_size):
        lengths = chunks.lengths[rows]
        tokens = torch.from_numpy(chunks.tokens[rows, : lengths.max()]).t().to(device)  # (T, B)
        standardised = model.predict(tokens, torch.from_numpy(lengths).to(device), masks(*tokens.shape))
        found[rows] = standardised.cpu().double().numpy()
    return found * reviews.std + reviews.mean


def _batches(chunks: Chunks, size: int) -> Iterator[np.ndarray]:
    """The rows of chunks of about the same length, so that little is computed on padding."""
    order = np.argsort(chunks.lengths, kind="stable")
    return (order[start : start + size] for start in range(0, len(order), size))
