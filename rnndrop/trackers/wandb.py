"""Weights & Biases, as its environment sets it up: WANDB_MODE=offline writes to ./wandb or WANDB_DIR."""

from __future__ import annotations

import os
import re
from typing import Any

from rnndrop.extras import need
from rnndrop.trackers.base import TrackedRun

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # what is told goes to the user's server alone
_wandb: Any = need("wandb", "wandb", "tracker=wandb")


class WeightsAndBiases:
    """A run of the project WANDB_PROJECT, else of the one named after the label; the seeds of a run are a group.

    It is told what this class is told: no code, no machine, no output. W&B adds its version, Python's and the platform.
    """

    def __init__(self, run: TrackedRun) -> None:
        self.run = _wandb.init(
            project=os.environ.get("WANDB_PROJECT") or re.sub(r"[/\\#?%:]", "-", run.project),
            id=run.attempt,
            resume="allow",
            name=run.name,
            group=run.run_id,
            tags=[run.run_id, f"seed-{run.seed}"],
            config={**_nested(run.settings), "rnndrop": run.tags},
            settings=_wandb.Settings(
                host="rnndrop",  # not this machine's name
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


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """The tree of settings by dotted names: of a name with a dot W&B can neither filter nor sort."""
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *parents, last = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = value
    return tree
