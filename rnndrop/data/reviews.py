"""Rated reviews ready for batching: cut into chunks that carry the rating, split, encoded, padded.

The protocol is that of Gal & Ghahramani 2016: chunks of 200 tokens, the last one of a review shorter, and the most
frequent 20,000 word types. They shuffle the reviews, cut them and split the list of chunks (`split_by="chunk"`), so
a review may straddle where one part ends. With `split_by="review"` reviews are split before they are cut; identical
texts (46 of the published ones occur twice) count as one review.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnndrop.data.corpus import SPLITS
from rnndrop.data.text import cut
from rnndrop.data.vocabulary import LEVELS, UNK, Ids, build, encode
from rnndrop.errors import RequestError

Rated = tuple[float, str]
"""A review: its rating and its text."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Chunks:
    """One split, a row a chunk: `tokens` (N, L) are padded after the last one, of `lengths` (N,), with 0.

    `ratings` (N,) are in the units of the reviews; `review` (N,) says which review a chunk comes from, counted from 0
    in the order of the files. All are read-only.
    """

    tokens: Ids
    lengths: Ids
    ratings: Floats
    review: Ids

    def __post_init__(self) -> None:
        for part in (self.tokens, self.lengths, self.ratings, self.review):
            part.setflags(write=False)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def stream(self) -> Ids:
        """The tokens of all chunks without padding, one after the other."""
        tokens: Ids = self.tokens[np.arange(self.tokens.shape[1]) < self.lengths[:, None]]
        return tokens


@dataclass(frozen=True, eq=False)
class Reviews:
    """Reviews in three splits; `mean` and `std` are those of the training chunks' ratings, as the model sees them."""

    name: str
    level: str
    split_by: str
    vocabulary: list[str]
    train: Chunks
    valid: Chunks
    test: Chunks
    mean: float = field(init=False)
    std: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", float(self.train.ratings.mean()))
        object.__setattr__(self, "std", float(self.train.ratings.std()))

    def thinned(self, count: int) -> Reviews:
        """The same with about `count` training chunks, taken evenly: enough to time a step."""
        rows = slice(None, None, max(1, len(self.train) // count))
        every = self.train
        few = Chunks(every.tokens[rows], every.lengths[rows], every.ratings[rows], every.review[rows])
        return replace(self, train=few)

    def split(self, name: str) -> Chunks:
        """Return one of `SPLITS`."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def fingerprint(self) -> dict[str, Any]:
        """What the record says of the data; `sha256` is over vocabulary, tokens, lengths and ratings of all splits."""
        splits = {name: self.split(name) for name in SPLITS}
        digest = hashlib.sha256(json.dumps(self.vocabulary).encode("ascii"))
        for chunks in splits.values():
            for part in (chunks.tokens, chunks.lengths, chunks.ratings):
                digest.update(part.astype(part.dtype.newbyteorder("<")).tobytes())
        unk = self.vocabulary.index(UNK) if UNK in self.vocabulary else -1
        tokens = {name: int(chunks.lengths.sum()) for name, chunks in splits.items()}
        return {
            "name": self.name,
            "level": self.level,
            "split_by": self.split_by,
            "sha256": digest.hexdigest(),
            **{f"{name}_tokens": count for name, count in tokens.items()},
            **{f"{name}_chunks": len(chunks) for name, chunks in splits.items()},
            **{f"{name}_reviews": len(set(chunks.review.tolist())) for name, chunks in splits.items()},
            "vocab_size": len(self.vocabulary),
            "oov_rate": {name: float(np.mean(chunks.stream == unk)) for name, chunks in splits.items()},
            "rating_mean": self.mean,
            "rating_std": self.std,
        }


def assemble(reviews: Sequence[Rated], settings: Any) -> Reviews:
    """Cut, split and encode `reviews` as `settings` (of `data`) say. Raises RequestError where a part is empty."""
    size = settings.chunk_tokens
    words = [LEVELS[settings.level](text) for _, text in reviews]
    pieces = [
        (index, own[start : start + size]) for index, own in enumerate(words) for start in range(0, len(own), size)
    ]
    if settings.split_by == "chunk":
        units = list(range(len(pieces)))
        order = sorted(units, key=lambda at: _shuffled(pieces[at][0]))
    else:
        first = _first_of_text(reviews)
        units = [first[index] for index, _ in pieces]
        order = sorted(set(units), key=_shuffled)
    parts = [[pieces[at] for at in part] for part in _split(units, order, settings.split)]
    tokens = [list(chain.from_iterable(piece for _, piece in part)) for part in parts]
    vocabulary = build(tokens[0], tokens[1:], settings.min_count)
    if settings.types is not None and len(vocabulary) > settings.types:
        vocabulary = [*[word for word in vocabulary if word != UNK][: settings.types], UNK]
    ratings = np.array([rating for rating, _ in reviews], dtype=np.float64)
    made = [_chunks(part, encode(own, vocabulary), ratings, size) for part, own in zip(parts, tokens, strict=True)]
    found = Reviews(settings.name, settings.level, settings.split_by, vocabulary, *made)
    if np.ptp(found.train.ratings) == 0:  # their std is rounding
        raise RequestError(f"data={settings.name}: all training ratings are {found.mean:g}: there is nothing to learn.")
    return found


def _first_of_text(reviews: Sequence[Rated]) -> list[int]:
    """For each review the first one with the same words: mostly itself. What is between them is no difference."""
    first: dict[str, int] = {}
    return [first.setdefault(" ".join(text.split()), index) for index, (_, text) in enumerate(reviews)]


def _shuffled(review: int) -> bytes:
    """What reviews are shuffled by: the sha256 of their number, the same on every platform, for every seed of a run."""
    return hashlib.sha256(f"{review}".encode()).digest()


def _split(units: list[int], order: list[int], shares: Sequence[float]) -> list[list[int]]:
    """Part positions into three so that those of one unit stay together; `shares` are of the units in their order."""
    sides = [set(part) for part in cut(order, shares)]
    if not all(sides):
        raise RequestError(
            f"{len(order)} reviews or chunks cannot be split into three by data.split={list(shares)}: a part would "
            "be empty. Use more reviews or other shares."
        )
    return [[at for at, unit in enumerate(units) if unit in side] for side in sides]


def _chunks(pieces: Sequence[tuple[int, list[str]]], ids: Ids, ratings: Floats, size: int) -> Chunks:
    """The chunks of one split from its pieces (review, words) and the ids of all their words."""
    owner = np.array([index for index, _ in pieces], dtype=np.int64)
    lengths = np.array([len(piece) for _, piece in pieces], dtype=np.int64)
    tokens = np.zeros((len(pieces), min(size, int(lengths.max()))), dtype=np.int64)
    tokens[np.arange(tokens.shape[1]) < lengths[:, None]] = ids
    return Chunks(tokens, lengths, ratings[owner], owner)
