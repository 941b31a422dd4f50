"""Dynamic evaluation (Krause et al. 2018, arXiv:1709.07432): the weights follow the text that has just been read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rnndrop.config.schema import Config, DynamicSettings
from rnndrop.data import batching
from rnndrop.data.corpus import Corpus
from rnndrop.dropout.masks import evaluation_masks
from rnndrop.dropout.plan import Plan
from rnndrop.evaluation.perplexity import Measured, perplexity
from rnndrop.evaluation.reading import named, of_splits, windows
from rnndrop.models.encoder import weights_of
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import nll_sum


def dynamic_perplexity(
    model: LanguageModel, plan: Plan, tokens: np.ndarray, settings: DynamicSettings, rms: list[Tensor] | None = None
) -> float:
    """Perplexity of a stream (N,) in one pass, each segment of `window` tokens scored before the weights learn of it.

    After a segment with the gradient g of its mean NLL, for each weight w that began as w0:

        sgd:  w += decay · (w0 - w) - learning_rate · g
        rms:  w += decay · min(r / mean r, 1 / decay) · (w0 - w) - learning_rate · g / (r + epsilon)

    with r of `gradient_rms`, as in the released code (benkrause/dynamic-evaluation). The model is given back as it was.
    """
    weights = weights_of(model)
    start = [weight.detach().clone() for weight in weights]
    pulls, rates = _strengths(settings, start, rms)
    total, count = 0.0, 0
    try:
        for loss, number in _segments(model, plan, tokens, 1, settings.window):
            total, count = total + loss.item(), count + number
            gradients = _gradients(loss / number, weights)
            with torch.no_grad():
                for weight, first, gradient, pull, rate in zip(weights, start, gradients, pulls, rates, strict=True):
                    weight.lerp_(first, pull).addcmul_(gradient, rate, value=-1)
    finally:
        with torch.no_grad():
            for weight, first in zip(weights, start, strict=True):
                weight.copy_(first)
    return perplexity(np.array(total / count))


def gradient_rms(model: LanguageModel, plan: Plan, tokens: np.ndarray, settings: DynamicSettings) -> list[Tensor]:
    """For each weight √(mean of g²) over the segments of the training stream in `batch_size` columns."""
    weights = weights_of(model)
    squares, segments = [torch.zeros_like(weight) for weight in weights], 0
    for loss, number in _segments(model, plan, tokens, settings.batch_size, settings.window):
        segments += 1
        for square, gradient in zip(squares, _gradients(loss / number, weights), strict=True):
            square.addcmul_(gradient, gradient)
    return [square.div_(segments).sqrt_() for square in squares]


def _gradients(loss: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Of every weight; that of the embedding may come with the rows alone that were read."""
    found = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    return [gradient.to_dense() for gradient in found]


def _strengths(
    settings: DynamicSettings, weights: list[Tensor], rms: list[Tensor] | None
) -> tuple[list[Tensor], list[Tensor]]:
    """For each weight how strongly it is pulled back, and its learning rate; of its shape, or scalars."""
    if settings.rule == "sgd":
        pull, rate = (weights[0].new_tensor(value) for value in (settings.decay, settings.learning_rate))
        return [pull] * len(weights), [rate] * len(weights)
    assert rms is not None
    means = [float(r.mean()) for r in rms if r.numel()]  # of linear cells some weights are empty
    mean = sum(means) / len(means)  # over the tensors, as in the released code
    pulls = [(settings.decay / mean * r).clamp_(max=1.0) for r in rms]
    return pulls, [settings.learning_rate / (r + settings.epsilon) for r in rms]


def _segments(
    model: LanguageModel, plan: Plan, tokens: np.ndarray, batch_size: int, window: int
) -> Iterator[tuple[Tensor, int]]:
    """The summed NLL of each segment, to be differentiated, and its number of tokens; the state is carried."""
    device = model.device
    masks = evaluation_masks(plan, model.sizes, torch.Generator(device), model.dtype, model.held)
    columns = batching.columns(tokens, min(batch_size, len(tokens) - 1))
    state = model.initial_state(columns[0].shape[1])
    for part in windows(*columns, window):
        inputs, targets = (torch.from_numpy(each).to(device) for each in part)  # (T, B)
        state = tuple(tuple(memory.detach() for memory in layer) for layer in state)
        features, state = model.features(inputs, state, masks)
        loss = nll_sum(features, *model.decoder_weights(masks), targets)
        yield loss, int((targets != batching.IGNORED).sum())


def measure_dynamic(model: LanguageModel, config: Config, corpus: Corpus) -> Measured:
    """The settings of dynamic evaluation, and the perplexities of the valid and test splits under it.

    Each split begins with the trained weights.
    """
    settings = config.evaluation.dynamic
    with named("train"):
        rms = gradient_rms(model, config.plan, corpus.train, settings) if settings.rule == "rms" else None
    return settings.model_dump(), of_splits(
        lambda split: dynamic_perplexity(model, config.plan, corpus.split(split), settings, rms)
    )
