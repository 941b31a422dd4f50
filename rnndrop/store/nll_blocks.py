"""The NLL of the test set by block, kept beside the record: what the bootstrap over the test set redraws.

`test_nll.npy` holds a float32 array of shape (2, blocks): the summed NLL (nats) of `BLOCK` consecutive tokens, and
how many tokens that was (the last block may be shorter). Neighbouring tokens are not independent; blocks nearly are.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np

from rnndrop.store.files import read_file
from rnndrop.store.records import TEST_NLL, read_record

BLOCK = 20  # tokens, about a sentence

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
    return blocks if isinstance(blocks, np.ndarray) and blocks.ndim == 2 and len(blocks) == 2 else None


def read_blocks(folder: str | Path) -> np.ndarray | None:
    """The blocks of a run folder; None where there are none that can be read, or not those of its record."""
    try:
        content, record = read_file(Path(folder) / TEST_NLL) or b"", read_record(Path(folder))
        if record is None:
            return None
        if not record.names(TEST_NLL, content):
            log.warning("%s: its %s is not that of its record, and is left out.", folder, TEST_NLL)
            return None
    except (OSError, ValueError):
        return None
    return of_bytes(content)
