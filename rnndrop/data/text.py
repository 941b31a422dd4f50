"""The user's own text: three files, or one file that is cut into three."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeVar

from rnndrop.data.assemble import assemble
from rnndrop.data.corpus import SPLITS, Corpus
from rnndrop.data.files import read_lines
from rnndrop.data.vocabulary import tokens_of
from rnndrop.errors import RequestError
from rnndrop.paths import path_of

DEFAULT_SPLIT = (0.8, 0.1, 0.1)
Item = TypeVar("Item")


def load(settings: Any) -> Corpus:
    """The text in `settings.train`, `.valid` and `.test`, or in `settings.file`, cut by `settings.split`.

    Words are what stands between whitespace, characters stay as they are, and `<eos>` ends every line. One file is cut
    between lines; where it has too few for that, between tokens. Rarer types than `settings.min_count` become `<unk>`.
    Raises `RequestError` for whatever is wrong with settings or files.
    """
    parts = _parts(settings)
    for split, tokens in zip(SPLITS, parts, strict=True):
        if len(tokens) < 2:
            raise RequestError(
                f"The {split} part has {len(tokens)} token(s), and 2 are the least that can be predicted. "
                "Use more text or another data.split."
            )
    return assemble("text", settings.level, parts, settings.min_count)


def cut(lines: list[Item], shares: Sequence[float]) -> list[list[Item]]:
    """Cut lines (or what else) into three neighbouring parts, `shares` (positive, adding up to 1) of the lines each.

    Raises `RequestError` for other shares.
    """
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise RequestError(
            f"data.split={list(shares)}: give three positive shares that add up to 1, such as [0.8,0.1,0.1]."
        )
    ends = [round(len(lines) * sum(shares[:count])) for count in range(4)]
    return [lines[start:end] for start, end in pairwise(ends)]


def _parts(settings: Any) -> list[list[str]]:
    """The tokens of train, valid and test."""
    named = {split: getattr(settings, split) for split in SPLITS}
    given = [f"data.{split}" for split, path in named.items() if path]
    missing = [f"data.{split}" for split, path in named.items() if not path]
    if settings.file and given:
        raise RequestError(f"data.file and {' '.join(given)} are both given; use one file or three.")
    if settings.file:
        return _cut_file(read_lines(path_of(settings.file)), settings.split or DEFAULT_SPLIT, settings.level)
    if not given:
        raise RequestError(
            "data=text needs your files: data.train=FILE data.valid=FILE data.test=FILE, "
            "or data.file=FILE, which data.split=[0.8,0.1,0.1] cuts into three."
        )
    if missing:
        raise RequestError(f"data=text has {' '.join(given)} but no {' '.join(missing)}.")
    return [tokens_of(read_lines(path_of(path)), settings.level) for path in named.values()]


def _cut_file(lines: list[str], shares: Sequence[float], level: str) -> list[list[str]]:
    """The tokens of the three parts of one file."""
    parts = cut(lines, shares)
    if all(parts):
        return [tokens_of(part, level) for part in parts]
    return cut(tokens_of(lines, level), shares)
