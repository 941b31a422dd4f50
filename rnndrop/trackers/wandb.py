"""Weights & Biases, as its environment sets it up: WANDB_MODE=offline writes to ./wandb or WANDB_DIR."""

from __future__ import annotations

import os
import re
from typing import Any

from rnndrop.extras import need
from rnndrop.trackers.base import TrackedRun

_wandb: Any = need("wandb", "wandb", "tracker=wandb")


class WeightsAndBiases:
    """A run of the project WANDB_PROJECT, else of the one named after the label; the seeds of a run are a group.

    It is told nothing but what this class is told: no code, no machine, no output.
    """

    def __init__(self, run: TrackedRun) -> None:
        self.run = _wandb.init(
            project=os.environ.get("WANDB_PROJECT") or re.sub(r"[/\\#?%:]", "-", run.project),
            id=run.attempt,
            resume="allow",
            name=run.name,
            group=run.run_id,
            tags=[run.run_id, f"seed-{run.seed}"],
            config={**run.settings, "rnndrop": run.tags},
            settings=_wandb.Settings(
                console="off",
                silent=True,
                disable_code=True,
                disable_git=True,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )

    def epochs(self, rows: list[dict[str, float]]) -> None:
        """Log them; the server has those of before, and leaves them as they are."""
        for row in rows:
            self.run.log(row, step=int(row["epoch"]), commit=True)

    def ended(self, status: str, metrics: dict[str, float]) -> None:
        """Write the metrics to the summary, and close."""
        self.run.summary.update({**{f"final/{name}": value for name, value in metrics.items()}, "status": status})
        self.run.finish(exit_code=0 if status == "finished" else 1)
