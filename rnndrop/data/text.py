"""The user's own text: three files, or one file that is cut into three."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, pairwise
from typing import Any, TypeVar

import numpy as np

from rnndrop.config.corpora import USUAL_SPLIT
from rnndrop.data.assemble import assemble
from rnndrop.data.corpus import SPLITS, Corpus
from rnndrop.data.files import Text
from rnndrop.data.unk import percent
from rnndrop.data.vocabulary import EOS, tokens_in
from rnndrop.errors import RequestError
from rnndrop.paths import path_of, sha256_of

EMPTY = 0.05  # a share of <eos> that follow another from which on it is named: WikiText-2 has .6 %
Item = TypeVar("Item")

log = logging.getLogger("rnndrop")


@dataclass(frozen=True)
class Tokens:
    """Tokens that are read from their file each time that they are iterated over, so that memory need not hold them."""

    read: Callable[[], Iterator[str]]

    def __iter__(self) -> Iterator[str]:
        return self.read()


def load(settings: Any) -> Corpus:
    """The text in `settings.train`, `.valid` and `.test`, or in `settings.file`, cut by `settings.split`.

    Words are what stands between whitespace, characters stay as they are, and `<eos>` ends every line. One file is cut
    between lines; where it has too few for that, between tokens, and without any `<eos>` where training would have
    none. Rarer types than `settings.min_count` become `<unk>`. Raises `RequestError` for whatever is wrong with
    settings or files.
    """
    parts = _parts(settings)
    for split, tokens in zip(SPLITS, parts, strict=True):
        if (count := len(list(islice(tokens, 2)))) < 2:
            raise RequestError(
                f"The {split} part has {count} token(s), and at least 2 are needed. "
                "Use more text or another data.split."
            )
    corpus = assemble("text", settings.level, parts, settings.min_count)
    if settings.level == "word":
        _say_empty_lines(corpus)
    return corpus


def _say_empty_lines(corpus: Corpus) -> None:
    """Warn where much of the text is the end of an empty line, which is easy to predict."""
    if EOS not in corpus.vocabulary:
        return
    end = corpus.vocabulary.index(EOS)
    shares = {split: float(np.mean((t := corpus.split(split) == end)[1:] & t[:-1])) for split in SPLITS}
    if max(shares.values()) >= EMPTY:
        said = ", ".join(f"{percent(share)} of {split}" for split, share in shares.items())
        log.warning(
            "text: %s are an %s after another: empty lines, or a text that has its own. They are easy to predict, and "
            "perplexity is lower for them: take them out.", said, EOS,
        )  # fmt: skip


def cut(lines: list[Item], shares: Sequence[float]) -> list[list[Item]]:
    """Cut lines (or what else) into three neighbouring parts, `shares` (positive, adding up to 1) of the lines each.

    Raises `RequestError` for other shares.
    """
    return [lines[start:end] for start, end in _bounds(len(lines), shares)]


def _bounds(count: int, shares: Sequence[float]) -> list[tuple[int, int]]:
    """Where each of three parts of `count` lines begins and ends. Raises `RequestError` as `cut` does."""
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise RequestError(
            f"data.split={list(shares)}: give three positive shares that add up to 1, such as [0.8,0.1,0.1]."
        )
    return list(pairwise(round(count * sum(shares[:parts])) for parts in range(4)))


def _parts(settings: Any) -> list[Tokens]:
    """The tokens of train, valid and test."""
    named = {split: getattr(settings, split) for split in SPLITS}
    given = [f"data.{split}" for split, path in named.items() if path]
    missing = [f"data.{split}" for split, path in named.items() if not path]
    if settings.file and given:
        raise RequestError(f"data.file and {' '.join(given)} are both given; use one file or three.")
    if settings.file:
        return _cut_file(Text.of(path_of(settings.file)), settings.split or USUAL_SPLIT, settings.level)
    if not given:
        raise RequestError(
            "data=text needs your files: data.train=FILE data.valid=FILE data.test=FILE, "
            "or data.file=FILE, which data.split=[0.8,0.1,0.1] cuts into three."
        )
    if missing:
        raise RequestError(f"data=text has {' '.join(given)} but no {' '.join(missing)}.")
    paths = {split: path_of(path) for split, path in named.items()}
    texts = [Text.of(path) for path in paths.values()]
    for one, other in combinations(paths, 2):
        if sha256_of(paths[one]) == sha256_of(paths[other]):
            log.warning("data.%s and data.%s are the same text: what is measured there is not held out.", one, other)
    return [_tokens(text, settings.level, 0, text.lines) for text in texts]


def _cut_file(text: Text, shares: Sequence[float], level: str) -> list[Tokens]:
    """The tokens of the three parts of one file."""
    bounds = _bounds(text.lines, shares)
    if all(start < end for start, end in bounds):
        return [_tokens(text, level, start, end) for start, end in bounds]
    whole = _tokens(text, level, 0, text.lines)
    parts = _cut_tokens(whole, shares)
    if EOS in parts[0]:
        return parts
    # <eos> would be a word that training never has.
    return _cut_tokens(Tokens(lambda: (token for token in whole if token != EOS)), shares)


def _cut_tokens(whole: Tokens, shares: Sequence[float]) -> list[Tokens]:
    return [_between(whole, start, end) for start, end in _bounds(sum(1 for _ in whole), shares)]


def _tokens(text: Text, level: str, first: int, end: int) -> Tokens:
    """The tokens of the lines from `first` to before `end`."""
    return Tokens(lambda: tokens_in(text.part(first, end), level))


def _between(tokens: Iterable[str], start: int, end: int) -> Tokens:
    return Tokens(lambda: islice(tokens, start, end))
