"""`rnndrop run`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.config.tasks import score, task_of
from rnndrop.data.unk import percent, unk_warning
from rnndrop.store.ownership import folder_of
from rnndrop.store.records import Record


def run(overrides: Sequence[str], as_json: bool, force: bool) -> int:
    """Run and print the result line, or the record as JSON; return the exit code."""
    config = compose(overrides)  # before torch is imported: a wrong request answers at once
    from .progress import RunDisplay, resumable, tell_idle

    tell_idle([config])
    with resumable(force), RunDisplay(config) as display:
        from rnndrop.runs.runner import run_one

        record = run_one(config, overrides, display, force)
    print(record.to_json() if as_json else result_line(record, folder_of(config)))
    if record.status == "failed":
        print(record.error, file=sys.stderr)
    return 0 if record.status == "finished" else 1


def result_line(record: Record, folder: Path) -> str:
    """One line for people: scores, epoch, distance from the floor, too much `<unk>`, folder."""
    from .progress import scored

    if record.status != "finished":
        reason = (record.error or "").strip().splitlines()
        return f"✗ {record.status}: {reason[-1] if reason else ''}   {folder}"
    metrics = record.metrics
    where = f"epoch {metrics['best_epoch']}"
    if floor := record.data.get("floor_perplexity"):
        where += f", {score(metrics, 'test') / floor:.2f} × floor"
    rates = record.data.get("oov_rate", {})
    if task_of(record.config).predicts_tokens and unk_warning(rates):
        where += f", {percent(rates['test'])} of test is <unk>"
    numbers = "  ".join(f"{split} {scored(score(metrics, split), record.config)}" for split in ("valid", "test"))
    return f"✓ {numbers}  ({where})   {folder}"


def show_config(overrides: Sequence[str]) -> int:
    """Print the composed settings as YAML; what differs from the defaults is marked with the default."""
    config = compose(overrides)
    defaults = flat(compose([]).model_dump(mode="json"))
    import yaml

    print(f"# run id {run_id(config)} · {config.plan}")
    for line in _lines(config.model_dump(mode="json")):
        key, indent, name, value = line
        if value is None:
            print(f"{indent}{name}:")
            continue
        text = yaml.safe_dump(value[0], default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")
        mark = "" if defaults.get(key) == value[0] else f"   # changed; default {defaults.get(key)}"
        print(f"{indent}{name}: {text}{mark}")
    return 0


def _lines(tree: dict[str, Any], prefix: str = "", indent: str = "") -> list[tuple[str, str, str, tuple[Any] | None]]:
    """(dotted key, indent, name, value) in order; the value of a group is None."""
    lines: list[tuple[str, str, str, tuple[Any] | None]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            lines += [(prefix + name, indent, name, None), *_lines(value, f"{prefix}{name}.", indent + "  ")]
        else:
            lines.append((prefix + name, indent, name, (value,)))
    return lines


def flat(tree: dict[str, Any]) -> dict[str, Any]:
    """The leaves of a tree of settings by dotted name."""
    return {key: value[0] for key, _, _, value in _lines(tree) if value is not None}
