"""Corpora and reviews by name: from the settings under `data` to token ids. Imports numpy, not torch nor Hydra."""

from __future__ import annotations

from typing import Any

from rnndrop.config.corpora import CORPORA
from rnndrop.data.vocabulary import LEVELS
from rnndrop.errors import RequestError, unknown


def load(settings: Any) -> Any:
    """Load what `settings` describes: a `Corpus` or `Reviews`, or what else its source has.

    `settings` is any object with the attributes `name` (a key of `CORPORA`), `level` ("word" or "char"),
    `root`, `train_tokens` (None, or how many of the first training tokens to keep), `train`, `valid`, `test`, `file`,
    `split` and `min_count`; for reviews also `split_by`, `chunk_tokens` and `types`. Raises `RequestError` for anything
    that the user can mend.
    """
    if settings.name not in CORPORA:
        raise unknown("corpus", settings.name, CORPORA)
    source = CORPORA[settings.name]
    if settings.level not in LEVELS:
        raise unknown("data.level", settings.level, LEVELS)
    if settings.min_count < 1:
        raise RequestError(f"data.min_count={settings.min_count}: it must be at least 1.")
    if settings.min_count > 1 and source.fixed_vocabulary:
        raise RequestError(
            f"data.min_count={settings.min_count}: the vocabulary of {settings.name} is fixed; leave it at 1."
        )
    found = source.load(settings)
    return found if settings.train_tokens is None else found.first(settings.train_tokens)
