"""The modes of evaluation that learn from the text as they read it, for a record: cache and dynamic evaluation."""

from __future__ import annotations

import math
from typing import Any

from rnndrop.config.schema import Config
from rnndrop.data.corpus import Corpus
from rnndrop.evaluation.dynamic import dynamic_perplexity, gradient_rms
from rnndrop.evaluation.neural_cache import cache_nll
from rnndrop.evaluation.perplexity import perplexity
from rnndrop.models.language_model import LanguageModel


def measure_cache(model: LanguageModel, config: Config, corpus: Corpus) -> dict[str, Any]:
    """Perplexities of the valid and test splits with the continuous cache, and its settings, as metrics."""
    settings = config.evaluation.cache
    metrics: dict[str, Any] = {"cache": settings.model_dump()}
    for split in ("valid", "test"):
        nll = cache_nll(model, config.plan, corpus.split(split), settings)
        value = perplexity(nll)
        metrics[f"{split}_perplexity_cache"] = value if math.isfinite(value) else None
    return metrics


def measure_dynamic(model: LanguageModel, config: Config, corpus: Corpus) -> dict[str, Any]:
    """Perplexities of the valid and test splits under dynamic evaluation, and its settings, as metrics.

    Each split begins with the trained weights. A perplexity that is not finite is None.
    """
    settings = config.evaluation.dynamic
    metrics: dict[str, Any] = {"dynamic": settings.model_dump()}
    rms = gradient_rms(model, config.plan, corpus.train, settings) if settings.rule == "rms" else None
    for split in ("valid", "test"):
        value = dynamic_perplexity(model, config.plan, corpus.split(split), settings, rms)
        metrics[f"{split}_perplexity_dynamic"] = value if math.isfinite(value) else None
    return metrics
