"""Where a training stands, for whoever watches. No torch here: displays and the sweep's client are light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Where a training stands, after a window or (`fraction` 1) after an epoch and its valid perplexity."""

    epoch: int
    epochs: int
    fraction: float  # of the epoch
    train_perplexity: float
    tokens_per_second: float
    history: list[dict[str, Any]]
    step: int = 0


Watcher = Callable[[Progress], None]
