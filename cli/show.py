"""`rnndrop show`."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import Any

from rnndrop.config.compose import compose
from rnndrop.config.identity import ELSEWHERE, former, key_of, of_identity, run_id, untracked
from rnndrop.config.metrics import every
from rnndrop.config.spelling import spelled
from rnndrop.config.tasks import TASKS, derived
from rnndrop.display.digits import finite, number
from rnndrop.errors import RequestError
from rnndrop.store.records import Record
from rnndrop.store.status import Standing, find, standing, task

from .progress import sparkline
from .run import flat

LANGUAGE_MODEL = "language_model"


def show(name: str, output: str, as_json: bool) -> int:
    """Print what one run was and what came of it; return the exit code."""
    run = standing(find(name, output))
    print(json.dumps(_tree(run), indent=1) if as_json else "\n".join(_lines(run)))
    return 0


def command(record: Record) -> str:
    """The command line that gives a run again: as it was typed or, where that means another run by now, in full."""
    typed = untracked(record.overrides)
    if not _gives(typed, record):
        changed = _changed(record.config, of_task=True).items()
        typed = [f"{key}={spelled(value)}" for key, value in changed if key not in ELSEWHERE or key == "output"]
    seeded = any(key_of(override) == "seed" for override in typed)
    return shlex.join(["rnndrop", "run", *typed, *([] if seeded or not record.seed else [f"seed={record.seed}"])])


def _gives(overrides: list[str], record: Record) -> bool:
    """Whether these are the settings of a run: an option of the user's may be gone, or have changed."""
    try:
        return former(record.run_id) or run_id(compose(of_identity(overrides))) == record.run_id
    except RequestError:
        return False


def _tree(run: Standing) -> dict[str, Any]:
    record = run.record
    return {
        "run": run.name,
        "state": run.state,
        "problem": run.problem or None,
        "folder": str(run.folder),
        "command": command(record) if record else None,
        "changed": _changed(record.config) if record else None,
        "heartbeat": finite(run.beat) or None,
        "record": asdict(record) if record else None,
        "history": run.history,
    }


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _changed(config: dict[str, Any], of_task: bool = False) -> dict[str, Any]:
    """The settings that differ from the defaults; `of_task`: from those of the task, which is named then."""
    name = config.get("task", LANGUAGE_MODEL)
    other = [f"task={name}"] if of_task and name in TASKS and name != LANGUAGE_MODEL else []
    defaults = flat(compose(other).model_dump(mode="json"))
    changed = {key: value for key, value in flat(config).items() if defaults.get(key) != value}
    return {**({"task": name} if other else {}), **changed}


def _lines(run: Standing) -> list[str]:
    lines = [f"{run.name}   {run.state}   {run.folder}"]
    if run.problem:
        lines.append(f"its record cannot be used: {run.problem}")
    if run.state == "running":
        beat = run.beat
        lines.append(
            f"on {beat['host']}, process {beat['pid']}, epoch {beat.get('epoch', 0)}/{beat.get('epochs', '?')}"
        )
    record = run.record
    if record:
        changed = [f"  {key}: {value}" for key, value in _changed(record.config).items()]
        scores = {**record.metrics, **derived(record.metrics, record.config, every())}
        metrics = [f"  {key}: {_shown(value)}" for key, value in scores.items()]
        learned = [
            f"  {name}: {', '.join(f'{part} {number(value)}' for part, value in parts.items())}"
            for name, parts in record.model.get("learned", {}).items()
        ]
        environment = [f"  {key}: {value}" for key, value in record.environment.items() if value is not None]
        lines += ["", "changed from the defaults", *changed, "", "metrics", *metrics]
        lines += ["", "learned noise", *learned] if learned else []
        if record.error:
            lines += ["", "error", *(f"  {line}" for line in record.error.splitlines())]
        lines += ["", "environment", *environment]
    if run.valid:
        lines += [
            "",
            f"valid {task(run).title} by epoch   {sparkline(run.valid, 60)}   "
            f"{number(run.valid[0])} → {number(run.valid[-1])}",
        ]
        lines += [f"  {epoch:>3}  {number(value)}" for epoch, value in enumerate(run.valid, 1)]
    if record:
        lines += ["", "again", f"  {command(record)}"]
    return lines
