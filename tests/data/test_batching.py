from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnndrop.data.batching import IGNORED, columns, windows
from rnndrop.errors import RequestError

sizes = st.integers(1, 12).flatmap(lambda batch: st.tuples(st.integers(batch + 1, 120), st.just(batch)))


@given(size=sizes, length=st.integers(1, 15))
def test_every_pair_once_and_in_order(size: tuple[int, int], length: int) -> None:
    count, batch = size
    tokens = np.arange(count) + 100
    inputs, targets = columns(tokens, batch)
    parts = list(windows(inputs, targets, length))
    assert all(len(part) == length for part, _ in parts[:-1])
    assert 1 <= len(parts[-1][0]) <= length
    seen_in = np.concatenate([part for part, _ in parts])
    seen_out = np.concatenate([part for _, part in parts])
    pairs = [
        (before, after)
        for column in range(batch)
        for before, after in zip(seen_in[:, column].tolist(), seen_out[:, column].tolist(), strict=True)
        if after != IGNORED
    ]
    # Column after column, the pairs are the stream's pairs: none lost, none twice, none out of order.
    assert pairs == [(token, token + 1) for token in range(100, 100 + count - 1)]


@given(size=sizes)
def test_padding_is_at_most_one_row(size: tuple[int, int]) -> None:
    count, batch = size
    inputs, targets = columns(np.arange(count) + 100, batch)
    assert inputs.shape == targets.shape == (-(-(count - 1) // batch), batch)
    assert np.all(targets[:-1] != IGNORED)
    assert np.array_equal(inputs == 0, targets == IGNORED)


def test_an_example() -> None:
    inputs, targets = columns(np.arange(10, 16), 2)
    assert inputs.tolist() == [[10, 13], [11, 14], [12, 0]]
    assert targets.tolist() == [[11, 14], [12, 15], [13, -1]]
    assert inputs.dtype == targets.dtype == np.int64


def test_columns_of_a_read_only_stream_can_be_written() -> None:
    tokens = np.arange(6)
    tokens.setflags(write=False)
    assert all(array.flags.writeable for array in columns(tokens, 2))


@pytest.mark.parametrize(("count", "batch"), [(0, 1), (1, 1), (4, 4)])
def test_too_short_for_the_batch(count: int, batch: int) -> None:
    with pytest.raises(RequestError, match=f"too short: {count} tokens .* batch of {batch}"):
        columns(np.arange(count), batch)


def test_impossible_sizes() -> None:
    with pytest.raises(RequestError, match="batch size is 0"):
        columns(np.arange(5), 0)
    with pytest.raises(RequestError, match="window is 0"):
        next(windows(*columns(np.arange(5), 1), 0))
