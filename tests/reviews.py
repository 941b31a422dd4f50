"""A small set of reviews that a model can learn, in the file that `data=reviews` reads."""

from __future__ import annotations

import random
from pathlib import Path

GOOD, BAD = ("fine", "bright", "lovely", "warm"), ("dull", "stale", "grey", "weak")
SMALL = [
    "task=sentiment",
    "data=reviews",
    "data.chunk_tokens=10",
    "model.hidden=8",
    "model.embedding=8",
    "trainer.batch_size=16",
    "trainer.epochs=2",
    "trainer.device=cpu",
    "trainer.threads=1",
]
"""A run of about a second, but for `data.file`."""


def write(path: Path, count: int = 60) -> Path:
    """`count` reviews of 5 to 34 words; the share of good words is the rating, from 0 to 10."""
    source = random.Random(0)
    lines = []
    for number in range(count):
        share = source.random()
        words = [source.choice(GOOD if source.random() < share else BAD) for _ in range(5 + number % 30)]
        lines.append(f"{10 * share:.2f}\tfilm{number} {' '.join(words)}\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path
