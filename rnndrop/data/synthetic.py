"""The embedded default corpus: a hidden Markov source whose true perplexity is known.

A chain walks over 60 hidden states; each state emits one of 2,000 types. The chain's transitions are sparse
and heavy-tailed: weights U^18 of uniform U, close to a Dirichlet with parameter 1/18 (for small a, a Gamma(a)
variate behaves like U^(1/a)), plus a trace so that every state can be reached. A state's emissions follow
Zipf's law with exponent 1.5 over its own permutation of the types. Each split is a fresh walk whose first
state is uniform over the 60.

The source is made and sampled with integers only, from SHAKE-256, so the tokens are the same bit for bit on
every platform and with every version of numpy. A model has to remember the past to find the state, which is
what recurrence is for; 100,000 tokens are few enough that a 2 x 200 LSTM without dropout starts to overfit
after about four epochs.

The floor is the perplexity of the source itself. It is the best that can be expected of any model, not a
bound on every sample: on the training split a model can go below it, and then it memorises.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnndrop.data.corpus import Corpus
from rnndrop.data.vocabulary import Ids
from rnndrop.errors import RequestError

STATES, TYPES = 60, 2_000
TOKENS = {"train": 100_000, "valid": 10_000, "test": 10_000}
ONE = 2**32
"""Probability 1: every row of a source sums to it, so that a 32-bit draw samples without bias."""


@dataclass(frozen=True, eq=False)
class Source:
    """A hidden Markov source with S states and V types; probabilities are integers over `ONE`.

    `initial` has shape `(S,)`, `transition` `(S, S)` from row to column, and `emission` `(S, V)`, all
    int64; `rows` makes them from any weights. Raises `ValueError` if a row does not sum to `ONE`.
    """

    initial: Ids
    transition: Ids
    emission: Ids

    def __post_init__(self) -> None:
        for name in ("initial", "transition", "emission"):
            if np.any(getattr(self, name).sum(-1) != ONE):
                raise ValueError(f"Each row of {name} must sum to {ONE}.")

    def sample(self, count: int, seed: str) -> Ids:
        """Walk `count` steps from a fresh start; returns token ids of shape `(count,)`. Integers only."""
        draws = _draws(seed, 2 * count, "<u4").reshape(2, count)
        steps = draws[0].tolist()
        next_state = [row.tolist() for row in np.cumsum(self.transition, axis=-1)]
        path = [bisect_right(np.cumsum(self.initial).tolist(), steps[0])] if count else []
        for step in steps[1:]:
            path.append(bisect_right(next_state[path[-1]], step))
        return self._emit(np.array(path, dtype=np.int64), draws[1])

    def _emit(self, path: Ids, draws: Ids) -> Ids:
        """One type per state of `path`, shapes `(N,)`: the rows laid end to end, and one binary search."""
        states, types = self.emission.shape
        ends = np.cumsum(self.emission, axis=-1) + ONE * np.arange(states)[:, None]
        found = np.searchsorted(ends.ravel(), draws + ONE * path, side="right")
        return np.asarray(found - types * path, dtype=np.int64)

    def probabilities(self, tokens: Ids) -> NDArray[np.float64]:
        """p(token | all tokens before it), shape `(N,)`, by the scaled forward algorithm in float64."""
        transition = self.transition / ONE
        likelihood = (self.emission / ONE).T[tokens]  # (N, S): how likely each state makes each token
        belief = self.initial / ONE  # (S,): where the chain is, given the tokens so far
        scores = np.empty(len(tokens))
        for step, row in enumerate(likelihood):
            joint = belief * row
            scores[step] = joint.sum()
            belief = (joint / scores[step]) @ transition
        return scores

    def perplexity(self, tokens: Ids) -> float:
        """The source's perplexity on the tokens after the first: a language model's targets."""
        return float(np.exp(-np.mean(np.log(self.probabilities(tokens)[1:]))))


def rows(weights: ArrayLike) -> Ids:
    """Scale non-negative integer weights (below 2^31) so that the last axis sums to `ONE`, exactly.

    Rounds down; what is left over goes to the largest weight of each row.
    """
    integers = np.asarray(weights, dtype=np.int64)
    scaled: Ids = integers * ONE // integers.sum(-1, keepdims=True)
    largest = scaled.argmax(-1)[..., None]
    rest = ONE - scaled.sum(-1, keepdims=True)
    np.put_along_axis(scaled, largest, np.take_along_axis(scaled, largest, -1) + rest, -1)
    return scaled


@cache
def default_source() -> Source:
    """The source of the default corpus."""
    # 16-bit U, its 18th power cut to 24 bits; the trace is 1,000 of at most 2^24.
    uniform = _draws("rnndrop transition", STATES * STATES, "<u2").reshape(STATES, STATES)
    heavy = [[(number**18 >> 18 * 16 - 24) + 1_000 for number in row] for row in uniform.tolist()]
    # Rank r has weight r^-1.5; r^3 and the integer square root keep it exact.
    zipf = np.array([math.isqrt(10**18 // rank**3) for rank in range(1, TYPES + 1)])
    rank_of = np.argsort(_draws("rnndrop emission", STATES * TYPES, "<u4").reshape(STATES, TYPES), kind="stable")
    return Source(rows(np.ones(STATES, dtype=np.int64)), rows(heavy), rows(zipf[rank_of]))


@cache
def default_corpus() -> Corpus:
    """100,000 / 10,000 / 10,000 tokens of the default source, with the floor of valid and test."""
    source = default_source()
    streams = {split: source.sample(count, f"rnndrop {split}") for split, count in TOKENS.items()}
    floor = {split: source.perplexity(streams[split]) for split in ("valid", "test")}
    return Corpus("synthetic", "word", [f"w{number:04}" for number in range(TYPES)], **streams, floor=floor)


def load(settings: Any) -> Corpus:
    """The default corpus. Raises `RequestError` at any level but "word": its types have no spelling."""
    if settings.level != "word":
        raise RequestError(
            f"data=synthetic has no level {settings.level!r}: its types are numbers, not spelled words. "
            "Use data.level=word, or another corpus (pydoc, ptb, wikitext2, text)."
        )
    return default_corpus()


def _draws(seed: str, count: int, kind: str) -> Ids:
    """`count` uniform unsigned integers from SHAKE-256 of `seed`; `kind` is a little-endian numpy type."""
    width = np.dtype(kind).itemsize
    stream = hashlib.shake_256(seed.encode("utf-8")).digest(width * count)
    return np.frombuffer(stream, dtype=kind).astype(np.int64)
