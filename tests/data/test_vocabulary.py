from __future__ import annotations

import numpy as np
import pytest

from rnndrop.data.vocabulary import build, encode, tokens_of
from rnndrop.errors import RequestError


def test_words_and_characters_with_line_ends() -> None:
    assert tokens_of(["the  cat", ""], "word") == ["the", "cat", "<eos>", "<eos>"]
    assert tokens_of(["a b"], "char") == ["a", " ", "b", "<eos>"]


def test_unknown_level() -> None:
    with pytest.raises(RequestError, match="Did you mean 'word'"):
        tokens_of([], "words")


def test_order_is_by_frequency_then_alphabet() -> None:
    assert build(list("cbbacd")) == ["b", "c", "a", "d"]


def test_rare_types_become_unk_and_unk_is_counted() -> None:
    assert build(list("abcxx"), min_count=2) == ["<unk>", "x"]


def test_line_ends_are_never_rare() -> None:
    assert build(["a", "a", "<eos>"], min_count=2) == ["a", "<eos>"]


def test_unk_only_where_needed() -> None:
    assert build(["a", "b"], [["b"], ["a"]]) == ["a", "b"]
    assert build(["a", "b"], [["b"], ["z"]]) == ["a", "b", "<unk>"]


def test_encode() -> None:
    ids = encode(["b", "z", "a"], ["a", "<unk>", "b"])
    assert np.issubdtype(ids.dtype, np.signedinteger)
    assert ids.tolist() == [2, 1, 0]


def test_encode_without_unk_refuses_the_unknown() -> None:
    with pytest.raises(KeyError):
        encode(["z"], ["a"])
