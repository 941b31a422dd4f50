"""What a tracker is given, and what it does with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class TrackedRun:
    """A run, as trackers are told of it.

    `attempt` is a random name that stays the same while a run goes on from its checkpoints, and is another one when it
    starts afresh: what a tracker finds its own run by. `settings` are those that count, by dotted name, and the seed.
    """

    run_id: str
    seed: int
    attempt: str
    folder: str
    label: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def name(self) -> str:
        """A short name for people, as `rnndrop show` takes it."""
        return f"{self.run_id[:8]}/seed-{self.seed}"

    @property
    def project(self) -> str:
        """What the run is one of: its label, or rnndrop."""
        return self.label or "rnndrop"

    @property
    def tags(self) -> dict[str, str]:
        """What the run can be found by."""
        tags = {"run_id": self.run_id, "seed": str(self.seed), "attempt": self.attempt, "version": self.version}
        return tags | ({"label": self.label} if self.label else {})


class Tracker(Protocol):
    """Made with a `TrackedRun`, in a process of its own that ends with the run.

    What raises is tried again at the next epoch, the making too: rows can come twice. Those of before come again too
    where a run goes on.
    """

    def epochs(self, rows: list[dict[str, float]]) -> None:
        """Take rows of the history, the numbers in each by name, in their order; `epoch` counts from 1."""

    def ended(self, status: str, metrics: dict[str, float]) -> None:
        """Close: the run is finished, diverged, failed, interrupted or killed; only a finished one has its metrics."""
