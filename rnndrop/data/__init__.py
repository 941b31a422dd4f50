"""Corpora and reviews by name: from the settings under `data` to token ids. Imports numpy, not torch nor Hydra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnndrop.data import english, movie_reviews, published, synthetic, text
from rnndrop.data.corpus import Corpus
from rnndrop.data.reviews import Reviews
from rnndrop.data.vocabulary import LEVELS
from rnndrop.errors import RequestError, unknown

__all__ = ["CORPORA", "REVIEWS", "Corpus", "Reviews", "load", "load_reviews"]

CORPORA: dict[str, Callable[[Any], Corpus]] = {
    "synthetic": synthetic.load,
    "pydoc": english.load,
    "ptb": published.load,
    "wikitext2": published.load,
    "text": text.load,
}

FIXED_VOCABULARY = ("synthetic", "ptb", "wikitext2")


def load(settings: Any) -> Corpus:
    """Load the corpus that `settings` describes.

    `settings` is any object with the attributes `name` (a key of `CORPORA`), `level` ("word" or "char"),
    `root`, `train_tokens` (None, or how many of the first training tokens to keep), `train`, `valid`,
    `test`, `file`, `split` and `min_count`. Raises `RequestError` for anything that the user can mend.
    """
    if settings.name not in CORPORA:
        raise unknown("corpus", settings.name, CORPORA)
    if settings.level not in LEVELS:
        raise unknown("data.level", settings.level, LEVELS)
    if settings.min_count < 1:
        raise RequestError(f"data.min_count={settings.min_count}: it must be at least 1.")
    if settings.min_count > 1 and settings.name in FIXED_VOCABULARY:
        raise RequestError(
            f"data.min_count={settings.min_count}: the vocabulary of {settings.name} is fixed; leave it at 1."
        )
    corpus = CORPORA[settings.name](settings)
    return corpus if settings.train_tokens is None else corpus.first(settings.train_tokens)


REVIEWS: dict[str, Callable[[Any], Reviews]] = {"movie_reviews": movie_reviews.load, "reviews": movie_reviews.load}


def load_reviews(settings: Any) -> Reviews:
    """Load the rated reviews that `settings` describes: as for `load`, and `split_by`, `chunk_tokens` and `types`.

    Raises `RequestError` for anything that the user can mend.
    """
    if settings.name not in REVIEWS:
        raise unknown("set of reviews", settings.name, REVIEWS)
    return REVIEWS[settings.name](settings)
