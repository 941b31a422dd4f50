"""Tokens to ids: lines to tokens, training tokens to a vocabulary, tokens to the ids that index it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnndrop.errors import unknown

EOS = "<eos>"
UNK = "<unk>"

Ids = NDArray[np.integer[Any]]

# How a line becomes tokens. Characters are kept as they are, spaces included.
LEVELS: dict[str, Callable[[str], list[str]]] = {"word": str.split, "char": list}


def tokens_of(lines: Iterable[str], level: str) -> list[str]:
    """The lines' words (split at whitespace) or characters, with one `<eos>` at the end of every line.

    A blank line is one `<eos>`. Raises `RequestError` for a level other than "word" and "char".
    """
    if level not in LEVELS:
        raise unknown("data.level", level, LEVELS)
    cut = LEVELS[level]
    return [token for line in lines for token in (*cut(line), EOS)]


def tokens_in(blocks: Iterable[str], level: str) -> Iterator[str]:
    r"""The tokens of a text that comes in blocks, each line of it ended by `\n`, as `tokens_of` has them of its lines.

    Holds one block's tokens at a time, and for a word that is longer than a block, the word.
    """
    if level == "char":
        return chain.from_iterable(map({"\n": EOS}.get, block, block) for block in blocks)
    return chain.from_iterable(text.replace("\n", f" {EOS} ").split() for text in _between_words(blocks))


def _between_words(blocks: Iterable[str]) -> Iterator[str]:
    """The same text in pieces that do not end within a word."""
    begun = ""
    for block in blocks:
        text = begun + block
        begun = "" if text[-1].isspace() else text.rsplit(maxsplit=1)[-1]
        yield text.removesuffix(begun)
    yield begun


def build(train: Iterable[str], held_out: Iterable[Iterable[str]] = (), min_count: int = 1) -> list[str]:
    """The types of `train`, the most frequent first, equals in alphabetical order.

    Types that occur fewer than `min_count` times become `<unk>`, which is counted like any other type. When
    `train` has no `<unk>` and a `held_out` split has an unseen type, `<unk>` comes last; otherwise there is
    none, so that a closed vocabulary such as PTB's 50 characters keeps its published size.
    """
    counts = Counter(train)
    rare = [token for token, count in counts.items() if count < min_count and token not in (EOS, UNK)]
    for token in rare:
        counts[UNK] += counts.pop(token)
    if UNK not in counts and any(token not in counts for split in held_out for token in split):
        counts[UNK] = 0
    return sorted(counts, key=lambda token: (-counts[token], token))


def encode(tokens: Iterable[str], vocabulary: Sequence[str]) -> Ids:
    """The ids of `tokens`, shape `(tokens,)`; what the vocabulary lacks becomes `<unk>`.

    Of the narrowest signed integers that hold the ids, and -1: a stream may be as long as memory allows.
    Raises `KeyError` for a token that is missing from a vocabulary without `<unk>`.
    """
    index = {token: number for number, token in enumerate(vocabulary)}
    known = map(index.get, tokens, repeat(index[UNK])) if UNK in index else map(index.__getitem__, tokens)
    return np.fromiter(known, dtype=np.min_scalar_type(-len(vocabulary)))
