"""MLflow: a run where MLFLOW_TRACKING_URI says. Through its client alone, which has no state of the process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from rnndrop.extras import need
from rnndrop.trackers.base import TrackedRun

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # what is told goes to the user's server alone
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # not for minutes: it is tried again with each epoch

_ASKED = ("mlflow", "tracker=mlflow")
_tracking: Any = need("mlflow.tracking", *_ASKED)
_entities: Any = need("mlflow.entities", *_ASKED)
_exceptions: Any = need("mlflow.exceptions", *_ASKED)

PARAMS, METRICS, LENGTH = 100, 1000, 500
"""How many of each a call takes, and how long a parameter may be in the strictest of its stores."""


class MLflow:
    """A run of the experiment that is named after the label; the one of the same attempt, where there is one."""

    def __init__(self, run: TrackedRun) -> None:
        self.client = _tracking.MlflowClient()
        experiment = self._experiment(run.project)
        same = f"tags.`rnndrop.attempt` = '{run.attempt}'"
        found = next(iter(self.client.search_runs([experiment], same, max_results=1)), None)
        if found:
            self.client.update_run(found.info.run_id, status="RUNNING")
        else:
            tags = {f"rnndrop.{name}": value for name, value in run.tags.items()}
            found = self.client.create_run(experiment, tags=tags, run_name=run.name)
        self.id = found.info.run_id
        self.there = {each.step for each in self.client.get_metric_history(self.id, "epoch")}
        self.last = max(self.there, default=0)
        params = [
            _entities.Param(name, (value if isinstance(value, str) else json.dumps(value))[:LENGTH])
            for name, value in run.settings.items()
            if name not in found.data.params
        ]
        for some in _parts(params, PARAMS):
            self.client.log_batch(self.id, params=some)

    def epochs(self, rows: list[dict[str, float]]) -> None:
        """Log those that are not there."""
        new = [row for row in rows if row["epoch"] not in self.there]
        self._log([(name, value, int(row["epoch"])) for row in new for name, value in row.items()])
        self.there |= {int(row["epoch"]) for row in new}
        self.last = max(self.there, default=0)

    def ended(self, status: str, metrics: dict[str, float]) -> None:
        """Log the metrics with the last epoch, and close."""
        self._log([(f"final/{name}", value, self.last) for name, value in metrics.items()])
        self.client.set_tag(self.id, "rnndrop.status", status)
        states = {"finished": "FINISHED", "interrupted": "KILLED", "killed": "KILLED"}
        self.client.set_terminated(self.id, states.get(status, "FAILED"))

    def _log(self, numbers: Iterable[tuple[str, float, int]]) -> None:
        now = int(time.time() * 1000)
        metrics = (_entities.Metric(name, float(value), now, step) for name, value, step in numbers)
        for some in _parts(metrics, METRICS):
            self.client.log_batch(self.id, metrics=some)

    def _experiment(self, name: str) -> str:
        """The id of the experiment, which others may be making at this moment."""
        if found := self.client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(name))
        except _exceptions.MlflowException:
            if (found := self.client.get_experiment_by_name(name)) is None:
                raise
            return str(found.experiment_id)


def _parts(several: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(several)
    while some := list(islice(rest, size)):
        yield some
