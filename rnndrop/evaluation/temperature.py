"""The softmax temperature: the logits divided by one number, tuned on valid (Melis et al. 2018, arXiv:1805.09208)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnndrop.config.schema import Config
from rnndrop.data.corpus import Corpus
from rnndrop.evaluation.perplexity import Measured, perplexity, stream_nll
from rnndrop.evaluation.reading import named, of_splits
from rnndrop.models.language_model import LanguageModel

LOW, HIGH = 0.5, 1.5  # between which the temperature is looked for …
DECIMALS = 2  # … to so many


def tuned(score: Callable[[float], float]) -> float:
    """The temperature from LOW to HIGH with the lowest score, a mean NLL, in about ten evaluations; 1 if none is lower.

    The NLL is convex in 1 / temperature, so it has one valley.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(score, bounds=(LOW, HIGH), method="bounded", options={"xatol": 10**-DECIMALS / 2})
    return min(1.0, round(float(found.x), DECIMALS), key=score)


def measure_temperature(model: LanguageModel, config: Config, corpus: Corpus) -> Measured:
    """The temperature that valid is best at, and the perplexities of the valid and test splits at it; deterministic."""

    def nll(split: str, temperature: float) -> np.ndarray:
        return stream_nll(model, config.plan, corpus.split(split), config.evaluation, temperature)

    with named("tuned on valid"):
        best = tuned(lambda temperature: float(nll("valid", temperature).mean(dtype=np.float64)))
    settings = {**config.evaluation.temperature.model_dump(), "value": best}
    return settings, of_splits(lambda split: perplexity(nll(split, best)))
