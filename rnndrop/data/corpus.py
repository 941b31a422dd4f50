"""What every corpus is once it is loaded: a vocabulary and three streams of token ids."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rnndrop.data.vocabulary import UNK, Ids
from rnndrop.errors import RequestError

SPLITS = ("train", "valid", "test")
BLOCK = 1 << 17  # tokens that are hashed at a time


@dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus ready for batching.

    `train`, `valid` and `test` are arrays of integers of shape `(tokens,)` that index `vocabulary`; they are made
    read-only, because one corpus may serve many runs of a process. `level` is "word" or "char". `floor` is
    the perplexity that the true source has on a split, known for synthetic corpora only. `oov_rate` is
    worked out: the share of each split's tokens that are `<unk>`.
    """

    name: str
    level: str
    vocabulary: list[str]
    train: Ids
    valid: Ids
    test: Ids
    floor: dict[str, float] | None = None
    oov_rate: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        for split in SPLITS:
            self.split(split).setflags(write=False)
        unk = self.vocabulary.index(UNK) if UNK in self.vocabulary else -1
        rates = {split: float(np.mean(ids == unk)) if len(ids := self.split(split)) else 0.0 for split in SPLITS}
        object.__setattr__(self, "oov_rate", rates)

    def split(self, name: str) -> Ids:
        """Return the stream of one of `SPLITS`, shape `(tokens,)`."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def first(self, train_tokens: int) -> Corpus:
        """The same corpus with only the first `train_tokens` training tokens; the vocabulary stays.

        Raises `RequestError` for fewer than two tokens (nothing to predict) or more than there are: a
        learning curve whose last point is silently shorter than its label would mislead.
        """
        if not 2 <= train_tokens <= len(self.train):
            raise RequestError(
                f"data.train_tokens={train_tokens}: the training split of {self.name} has "
                f"{len(self.train):,} tokens, so give 2 to {len(self.train)} or null for all of them."
            )
        return replace(self, train=self.train[:train_tokens])

    def fingerprint(self) -> dict[str, Any]:
        """What the record says of the corpus: enough to tell whether two runs saw the same data.

        `sha256` is over the vocabulary (ASCII JSON) and the three streams (little-endian int64), each
        preceded by its length in bytes, so it is the same on every platform.
        """
        vocabulary = json.dumps(self.vocabulary).encode("ascii")
        digest = hashlib.sha256(len(vocabulary).to_bytes(8, "little") + vocabulary)
        for split in SPLITS:
            tokens = self.split(split)
            digest.update((8 * len(tokens)).to_bytes(8, "little"))
            for start in range(0, len(tokens), BLOCK):
                digest.update(tokens[start : start + BLOCK].astype("<i8").tobytes())
        floor = self.floor or {}
        return {
            "name": self.name,
            "level": self.level,
            "sha256": digest.hexdigest(),
            **{f"{split}_tokens": len(self.split(split)) for split in SPLITS},
            "vocab_size": len(self.vocabulary),
            "oov_rate": self.oov_rate,
            "floor_perplexity": floor.get("test"),
            "floor_perplexity_valid": floor.get("valid"),
        }
