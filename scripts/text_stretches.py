"""How long the stretches of a test text must be for its intervals to hold: python -m scripts.text_stretches FOLDER...

The standard error of a score, and of a difference of two, by stretches of n tokens, as a ratio to that by single
blocks: it grows with n while neighbours resemble one another. Of the finished runs in the folders that have read one
text, one a plan, with the smallest seed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np

from rnndrop.store import records
from rnndrop.store.nll_blocks import BLOCK, of_bytes

TOKENS = (100, 200, 500, 1000, 2000)


def main(folders: list[str]) -> int:
    """Print the medians, and of differences the range from the tenth to the ninetieth percentile."""
    texts = one_a_plan(Path(folder) for folder in folders)
    alone = np.array([_growth(*blocks) for blocks in texts])
    pairs = np.array([_growth(a - b, counts) for (a, counts), (b, _) in combinations(texts, 2)])
    for name, found in ((f"{len(alone)} scores", alone), (f"{len(pairs)} differences", pairs)):
        low, middle, high = np.quantile(found, [0.1, 0.5, 0.9], axis=0)
        cells = [f"{n}: {m:.2f} ({a:.2f} to {z:.2f})" for n, a, m, z in zip(TOKENS, low, middle, high, strict=True)]
        print(f"{name:15}", *cells, sep="  ")
    return 0


def one_a_plan(folders: Iterable[Path]) -> list[np.ndarray]:
    """The blocks (2, blocks) of a run of each run id, all of the text that most have read."""
    found: dict[str, dict[str, tuple[int, np.ndarray]]] = {}
    for path in (path for folder in folders for path in sorted(folder.glob(f"*/*/{records.TEST_NLL}"))):
        record, blocks = records.read_record(path.parent), of_bytes(path.read_bytes())
        if record and record.status == "finished" and blocks is not None:
            runs = found.setdefault(record.data["sha256"], {})
            if record.run_id not in runs or record.seed < runs[record.run_id][0]:
                runs[record.run_id] = record.seed, blocks.astype("float64")
    return [blocks for _, blocks in max(found.values(), key=len).values()]


def _growth(sums: np.ndarray, counts: np.ndarray) -> list[float]:
    """The standard error of the mean by stretches of `TOKENS`, each over that by blocks."""
    return [_error(sums, counts, tokens // BLOCK) / _error(sums, counts, 1) for tokens in TOKENS]


def _error(sums: np.ndarray, counts: np.ndarray, size: int) -> float:
    starts = np.arange(0, len(counts), size)
    residuals = np.add.reduceat(sums - counts * (sums.sum() / counts.sum()), starts)  # of a ratio of two sums
    return float(np.sqrt(residuals @ residuals * len(starts) / (len(starts) - 1)) / counts.sum())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
