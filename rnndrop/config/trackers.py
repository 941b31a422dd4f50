"""The trackers by name: where a run's numbers can go besides its folder. What each does is in `rnndrop.trackers`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from rnndrop.errors import unknown
from rnndrop.own import is_own, source_of

GROUP = "rnndrop.trackers"

TRACKERS = {
    "tensorboard": "rnndrop.trackers.tensorboard:TensorBoard",
    "mlflow": "rnndrop.trackers.mlflow:MLflow",
    "wandb": "rnndrop.trackers.wandb:WeightsAndBiases",
}
"""By name, where the class of a tracker is. Other packages name theirs by an entry point of the group `GROUP`."""


def tracker_named(name: str) -> EntryPoint:
    """Where that tracker is, by its name or import path. Raises RequestError, with a guess, where there is none."""
    if is_own(name):
        source_of("tracker", name)
        return EntryPoint(name, name, GROUP)
    if name in TRACKERS:
        return EntryPoint(name, TRACKERS[name], GROUP)
    added = {point.name: point for point in entry_points(group=GROUP)}
    if name not in added:
        raise unknown("tracker", name, [*TRACKERS, *sorted(added.keys() - TRACKERS)])
    return added[name]
