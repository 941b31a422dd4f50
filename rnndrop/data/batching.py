"""Contiguous batches for truncated back-propagation through time, without losing a token.

A stream of N tokens has N-1 pairs (token, next token). The usual recipe cuts the stream into B equal
columns and drops the remainder, and drops one pair at each cut besides, so that the tokens scored depend on
the batch size. Here the *pairs* are dealt out: B runs of neighbouring pairs whose lengths differ by at most
one. Where a column is the shorter one, its last row is padding, with a target that losses ignore. Every
token after the first is scored exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rnndrop.data.vocabulary import Ids
from rnndrop.errors import RequestError

IGNORED = -1
"""The target of a padded position."""


def columns(tokens: Ids, batch_size: int) -> tuple[Ids, Ids]:
    """Deal a stream of tokens, shape `(N,)`, into `batch_size` columns of neighbouring pairs.

    Returns inputs and targets of shape `(ceil((N-1) / batch_size), batch_size)`, of the stream's integers (which
    must be signed), freshly allocated. Column b continues in the stream where column b-1 ends. Padding, in the last
    row only, has input 0 and target `IGNORED`. Raises `RequestError` when there are fewer pairs than columns.
    """
    check(tokens, batch_size)
    shortest, longer = divmod(len(tokens) - 1, batch_size)
    rows = shortest + (longer > 0)
    inputs, targets = np.zeros((rows, batch_size), tokens.dtype), np.full((rows, batch_size), IGNORED, tokens.dtype)
    middle = longer * rows  # the pairs of the columns without padding
    for array, ends in ((inputs, tokens[:-1]), (targets, tokens[1:])):
        array[:, :longer] = ends[:middle].reshape(longer, rows).T
        array[:shortest, longer:] = ends[middle:].reshape(batch_size - longer, shortest).T
    return inputs, targets


def check(tokens: Ids, batch_size: int) -> None:
    """Raise `RequestError` where a stream of tokens, shape `(N,)`, cannot be dealt into `batch_size` columns."""
    pairs = len(tokens) - 1
    if batch_size < 1:
        raise RequestError(f"The batch size is {batch_size}; it must be at least 1.")
    if pairs < batch_size:
        raise RequestError(
            f"The split is too short: {len(tokens)} tokens cannot fill a batch of {batch_size} columns, "
            f"which needs {batch_size + 1}. Lower the batch size or use more text."
        )


def windows(inputs: Ids, targets: Ids, length: int) -> Iterator[tuple[Ids, Ids]]:
    """Walk down the columns, shape `(L, B)`, in windows of `length` rows; the last one may be shorter.

    Yields `(inputs, targets)` of shape `(T, B)`, int64. Raises `RequestError` for a length below 1.
    """
    if length < 1:
        raise RequestError(f"The window is {length} steps long; it must be at least 1.")
    for start in range(0, len(inputs), length):
        window = slice(start, start + length)
        yield inputs[window].astype(np.int64, copy=False), targets[window].astype(np.int64, copy=False)
