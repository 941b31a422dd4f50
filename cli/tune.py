"""`rnndrop tune`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from rnndrop.config.tasks import score
from rnndrop.display import digits
from rnndrop.store.progress import RunObserver
from rnndrop.store.records import Record
from rnndrop.sweeps.tuning import fresh, space, tune

from .progress import console, resumable


def search(overrides: Sequence[str], trials: int, as_json: bool) -> int:
    """Search, a line a trial on stderr; print the best settings and how to measure them, or everything as JSON."""
    request = space(overrides)

    def display(number: int, record: Record | None, params: dict[str, Any]) -> None:
        values = " ".join(f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}"
                          for key, value in params.items())  # fmt: skip
        state, valid = "pruned" if record is None else record.status, ""
        if record and state == "finished":
            valid = f"  valid {digits.number(score(record.metrics, 'valid'))}"
        console.print(f"trial {number:>3}  {state}{valid}  {values}")

    with resumable():
        study = tune(request, trials, display, RunObserver())
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    best = study.best_trial.user_attrs["overrides"] if done else None
    measure = best and shlex.join(["rnndrop", "sweep", *fresh(best)])
    if as_json:
        valid = f"valid_{request.task.metric}"
        rows = [{"number": t.number, "state": t.state.name.lower(), valid: t.value, "params": t.params,
                 "run": t.user_attrs.get("run")} for t in study.trials]  # fmt: skip
        print(json.dumps({"study": study.study_name, "trials": rows, "measure": measure}, indent=1))
    elif best:
        print(f"✓ valid {digits.number(study.best_value)}   {shlex.join(['rnndrop', 'run', *best])}")
        print(f"This score is too good: its seed also chose the settings. Measure them with others: {measure}")
    else:
        console.print(
            f"No trial finished: all {len(study.trials)} diverged, failed or were pruned. Search other ranges."
        )
    return 0 if done else 1
