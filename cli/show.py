"""`rnndrop show`."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import Any

from rnndrop.config.compose import compose
from rnndrop.config.identity import untracked
from rnndrop.config.tasks import derived
from rnndrop.display.digits import number
from rnndrop.store.status import Standing, find, standing, task

from .progress import sparkline
from .run import flat


def show(name: str, output: str, as_json: bool) -> int:
    """Print what one run was and what came of it; return the exit code."""
    run = standing(find(name, output))
    print(json.dumps(_tree(run), indent=1) if as_json else "\n".join(_lines(run)))
    return 0


def command(overrides: list[str], seed: int) -> str:
    """The command line that gives a run again."""
    seeded = any(override.startswith("seed=") for override in overrides)
    return shlex.join(["rnndrop", "run", *untracked(overrides), *([] if seeded or not seed else [f"seed={seed}"])])


def _tree(run: Standing) -> dict[str, Any]:
    record = run.record
    return {
        "run": run.name,
        "state": run.state,
        "problem": run.problem or None,
        "folder": str(run.folder),
        "command": command(record.overrides, record.seed) if record else None,
        "changed": _changed(record.config) if record else None,
        "heartbeat": run.beat or None,
        "record": asdict(record) if record else None,
        "history": run.history,
    }


def _changed(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that differ from the defaults."""
    defaults = flat(compose([]).model_dump(mode="json"))
    return {key: value for key, value in flat(config).items() if defaults.get(key) != value}


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
        scores = {**record.metrics, **derived(record.metrics, record.config)}
        metrics = [f"  {key}: {value}" for key, value in scores.items()]
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
        lines += ["", "again", f"  {command(record.overrides, record.seed)}"]
    return lines
