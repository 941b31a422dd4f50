"""Where a training stands, for whoever watches. No torch here: displays and the sweep's client are light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Where a training stands, after a window or (`fraction` 1) after an epoch and its valid score.

    `metric` is the task's (`rnndrop.config.task`): what `train` is, and `train_<metric>` in `history`.
    """

    epoch: int
    epochs: int
    fraction: float  # of the epoch
    train: float
    tokens_per_second: float
    history: list[dict[str, Any]]
    step: int = 0
    metric: str = "perplexity"

    def brief(self) -> dict[str, Any]:
        """The numbers of now and the valid scores so far, for other processes."""
        now = {name: getattr(self, name) for name in _NOW}
        return {**now, "valid": [row[f"valid_{self.metric}"] for row in self.history]}


_NOW = ("epoch", "epochs", "fraction", "train", "metric", "tokens_per_second", "step")

Watcher = Callable[[Progress], None]
