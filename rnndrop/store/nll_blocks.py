"""The NLL of the test set by block, kept beside the record: what the intervals of the test text are made of.

`test_nll.npy` holds a float32 array of shape (2, blocks): the summed NLL (nats) of `BLOCK` consecutive tokens, and
how many tokens that was (the last block may be shorter). Neighbouring blocks are not independent, for one article is
harder than another: intervals take `stretches` of them.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np

from rnndrop.store.files import read_file
from rnndrop.store.records import TEST_NLL, read_record

BLOCK = 20  # tokens, about a sentence
STRETCH = {"word": 1000, "char": 5000}  # tokens, about an article: docs/guide/claims.md has what shorter ones miss
LEAST = 20  # stretches, where the text has as many blocks

log = logging.getLogger("rnndrop")


def block_sums(nll: np.ndarray) -> np.ndarray:
    """Sum the NLL of each token (tokens,) by block: float32 (2, blocks)."""
    starts = np.arange(0, len(nll), BLOCK)
    counts = np.diff(np.append(starts, len(nll)))
    return np.stack([np.add.reduceat(nll.astype("float64"), starts), counts]).astype("float32")


def to_bytes(blocks: np.ndarray) -> bytes:
    """The file's content."""
    buffer = io.BytesIO()
    np.save(buffer, blocks, allow_pickle=False)
    return buffer.getvalue()


def of_bytes(content: bytes) -> np.ndarray | None:
    """The blocks of a file's content; None where it holds none, or claims more than it holds."""
    try:
        blocks = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError):
        return None
    whole = isinstance(blocks, np.ndarray) and blocks.dtype.kind == "f" and blocks.ndim == 2 and len(blocks) == 2
    return blocks if whole else None


def stretches(blocks: np.ndarray, level: str) -> np.ndarray:
    """The sums (2, stretches) of neighbouring blocks (2, blocks), long enough to be nearly independent."""
    size = max(1, min(STRETCH[level] // BLOCK, blocks.shape[1] // LEAST))
    return np.add.reduceat(blocks.astype("float64"), np.arange(0, blocks.shape[1], size), axis=1)


def read_stretches(folder: str | Path) -> np.ndarray | None:
    """The test text of a run folder in `stretches`; None where there are no blocks, or not those of its record."""
    try:
        content, record = read_file(Path(folder) / TEST_NLL) or b"", read_record(Path(folder))
        if record is None:
            return None
        if not record.names(TEST_NLL, content):
            log.warning("%s: its %s is not that of its record, and is left out.", folder, TEST_NLL)
            return None
    except (OSError, ValueError):
        return None
    blocks = of_bytes(content)
    return (
        None
        if blocks is None or not blocks.size
        else stretches(blocks, record.config.get("data", {}).get("level", "word"))
    )
