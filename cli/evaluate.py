"""`rnndrop eval`."""

from __future__ import annotations

from rnndrop.errors import unknown
from rnndrop.finished import evaluate_mc, find
from rnndrop.task import score, task_of

from .progress import console


def evaluate(run: str, output: str, samples: int, masks: str, embedding: bool, as_json: bool) -> None:
    """Print the Monte-Carlo beside the deterministic score, or the new record as JSON."""
    if masks not in ("pass", "window"):
        raise unknown("way to draw masks", masks, ("pass", "window"))
    folder = find(run, output)
    with console.status(f"{samples} samples of {folder}"):
        record = evaluate_mc(folder, samples, masks, embedding)
    if as_json:
        print(record.to_json())
        return
    task = task_of(record.config)
    digits = max(task.digits, 2)
    for split in ("valid", "test"):
        mc, error = (record.metrics.get(f"{split}_{task.metric}_mc{part}") for part in ("", "_stderr"))
        margin = "" if error is None else f" ± {error:.{digits}f}"
        print(f"{split:<6} {score(record.metrics, split):.{digits}f}   MC ({samples} samples) {mc:.{digits}f}{margin}")
