from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rnndrop.data.corpus import Corpus
from rnndrop.errors import RequestError


def small() -> Corpus:
    return Corpus("small", "word", ["a", "<unk>", "é"], np.array([0, 1, 2, 0]), np.array([0, 0]), np.array([1, 1, 0]))


def test_oov_rate_counts_unk() -> None:
    assert small().oov_rate == {"train": 0.25, "valid": 0.0, "test": pytest.approx(2 / 3)}


def test_fingerprint_is_json_and_pinned() -> None:
    record = small().fingerprint()
    assert json.loads(json.dumps(record)) == record
    assert (record["train_tokens"], record["valid_tokens"], record["test_tokens"]) == (4, 2, 3)
    assert (record["vocab_size"], record["floor_perplexity"], record["floor_perplexity_valid"]) == (3, None, None)
    assert record["sha256"] == "4bf4061f439c4479ae7175aff8b02a5b991cef89964c4b7344728b9641c5e82f"


def test_fingerprint_does_not_depend_on_byte_order() -> None:
    swapped = replace(small(), train=small().train.astype(">i8"))
    assert swapped.fingerprint() == small().fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"vocabulary": ["a", "<unk>", "b"]},
        {"train": np.array([0, 1, 2, 1])},
        {"train": np.array([0, 1, 2]), "valid": np.array([0, 0, 0])},
    ],
)
def test_fingerprint_tells_corpora_apart(change: dict[str, object]) -> None:
    assert replace(small(), **change).fingerprint()["sha256"] != small().fingerprint()["sha256"]


def test_first_tokens() -> None:
    corpus = small().first(2)
    assert corpus.train.tolist() == [0, 1]
    assert corpus.vocabulary == small().vocabulary
    assert corpus.oov_rate["train"] == 0.5


@pytest.mark.parametrize("count", [-1, 0, 1, 5])
def test_first_tokens_out_of_range(count: int) -> None:
    with pytest.raises(RequestError, match=rf"data.train_tokens={count}.*4 tokens"):
        small().first(count)


def test_streams_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        small().train[0] = 1
