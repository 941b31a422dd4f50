"""Corpora and reviews by name: from the settings under `data` to token ids. Imports numpy, not torch nor Hydra."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rnndrop.config.corpora import SETTING, CorpusSpec, corpus_named
from rnndrop.data.corpus import SPLITS, Corpus
from rnndrop.data.reviews import Reviews
from rnndrop.data.vocabulary import LEVELS
from rnndrop.errors import RequestError, unknown
from rnndrop.own import raised


def load(settings: Any) -> Any:
    """Load what `settings` describes: a `Corpus` or `Reviews`, or what else its source has.

    `settings` is any object with the attributes `name` (a key of `CORPORA`, or an import path), `level` ("word" or
    "char"), `root`, `train_tokens` (None, or how many of the first training tokens to keep), `train`, `valid`, `test`,
    `file`, `split` and `min_count`; for reviews also `split_by`, `chunk_tokens` and `types`. Raises `RequestError` for
    anything that the user can mend.
    """
    source = corpus_named(settings.name)
    if settings.level not in LEVELS:
        raise unknown("data.level", settings.level, LEVELS)
    if settings.min_count < 1:
        raise RequestError(f"data.min_count={settings.min_count}: it must be at least 1.")
    if settings.min_count > 1 and source.fixed_vocabulary:
        raise RequestError(
            f"data.min_count={settings.min_count}: the vocabulary of {settings.name} is fixed; leave it at 1."
        )
    found = _of_users(source, settings) if source.file else source.load(settings)
    return found if settings.train_tokens is None else found.first(settings.train_tokens)


def _of_users(source: CorpusSpec, settings: Any) -> Any:
    """What a corpus of the user's own loads. Raises RequestError where that raises, or is not what a model can read."""
    assert source.file is not None
    try:
        found = source.load(settings)
    except RequestError:
        raise
    except (Exception, SystemExit) as error:
        raise raised(SETTING, source.name, source.file, error) from None
    if wrong := _wrong(found, _TYPES[source.task]) if source.task in _TYPES else "":
        raise RequestError(f"{SETTING}={source.name}: what {source.file} loads is no corpus: {wrong}.")
    return _signed(found) if isinstance(found, Corpus) else found


_TYPES: dict[str, type] = {"language_model": Corpus, "sentiment": Reviews}


def _wrong(found: Any, kind: type) -> str:
    if not isinstance(found, kind):
        return f"it is of type {type(found).__name__}, not {kind.__module__}.{kind.__name__}"
    return _unreadable(found) if isinstance(found, Corpus) else ""


def _signed(found: Corpus) -> Corpus:
    """The corpus with ids that can be negative, as padding is: files of tokens often hold uint16."""
    streams = [found.split(name) for name in SPLITS]
    if all(ids.dtype.kind == "i" for ids in streams):
        return found
    kind = np.min_scalar_type(-len(found.vocabulary))
    train, valid, test = (ids.astype(kind) for ids in streams)
    return replace(found, train=train, valid=valid, test=test)


def _unreadable(found: Corpus) -> str:
    for name in SPLITS:
        ids = found.split(name)
        if len(ids) < 2:
            return f"{name} has {len(ids)} tokens, and there is nothing to predict in fewer than two"
        if not (isinstance(ids, np.ndarray) and ids.ndim == 1 and np.issubdtype(ids.dtype, np.integer)):
            return f"{name} is not an array of whole numbers, one for each token"
        if not 0 <= ids.min() <= ids.max() < len(found.vocabulary):
            return (
                f"{name} has ids from {ids.min()} to {ids.max()}, and the vocabulary has {len(found.vocabulary)} types"
            )
    return ""
