"""The one way from three series of tokens to a `Corpus`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rnndrop.data.corpus import Corpus
from rnndrop.data.vocabulary import build, encode


def assemble(name: str, level: str, splits: Sequence[Iterable[str]], min_count: int = 1) -> Corpus:
    """Build the vocabulary over the training tokens and encode `splits` (train, valid, test) with it.

    Each is iterated over twice.
    """
    train, valid, test = splits
    vocabulary = build(train, (valid, test), min_count)
    return Corpus(
        name,
        level,
        vocabulary,
        encode(train, vocabulary),
        encode(valid, vocabulary),
        encode(test, vocabulary),
    )
