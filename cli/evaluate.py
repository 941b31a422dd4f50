"""`rnndrop eval`."""

from __future__ import annotations

from rnndrop.errors import unknown
from rnndrop.finished import evaluate_mc, find

from .progress import console


def evaluate(run: str, output: str, samples: int, masks: str, embedding: bool, as_json: bool) -> None:
    """Print Monte-Carlo beside deterministic perplexity, or the new record as JSON."""
    if masks not in ("pass", "window"):
        raise unknown("way to draw masks", masks, ("pass", "window"))
    folder = find(run, output)
    with console.status(f"{samples} samples of {folder}"):
        record = evaluate_mc(folder, samples, masks, embedding)
    if as_json:
        print(record.to_json())
        return
    for split in ("valid", "test"):
        mc, error = (record.metrics[f"{split}_perplexity_mc{part}"] for part in ("", "_stderr"))
        margin = "" if error is None else f" ± {error:.2f}"
        print(f"{split:<6} {record.metrics[f'{split}_perplexity']:.2f}   MC ({samples} samples) {mc:.2f}{margin}")
