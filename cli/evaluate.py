"""`rnndrop eval`."""

from __future__ import annotations

from collections.abc import Sequence

from rnndrop.config.tasks import score, task_of
from rnndrop.display.digits import plus_minus
from rnndrop.errors import RequestError
from rnndrop.runs.reevaluate import evaluate as evaluate_finished
from rnndrop.store.records import Record
from rnndrop.store.status import find
from rnndrop.values import Masks

from .progress import console, scored

SAMPLES = 100  # Monte-Carlo samples where nothing else is asked for
MODES = {"mc": "MC ({samples} samples)", "cache": "cache", "dynamic": "dynamic"}


def evaluate(
    run: str,
    overrides: Sequence[str],
    output: str,
    samples: int | None,
    masks: Masks,
    embedding: bool,
    as_json: bool,
) -> None:
    """Print what was measured beside deterministic perplexity, or the new record as JSON."""
    asked = list(overrides)
    if samples is None and not overrides:
        samples = SAMPLES
    if samples is None and (masks != "pass" or embedding):
        raise RequestError("--masks and --embedding belong to Monte-Carlo evaluation: add --mc N.")
    if samples is not None:
        mc = {"samples": samples, "masks": masks, "embedding": str(embedding).lower()}
        asked += [f"evaluation.mc.{name}={value}" for name, value in mc.items()]
    folder = find(run, output)
    with console.status(f"evaluating {folder}"):
        record = evaluate_finished(folder, asked)
    print(record.to_json() if as_json else "\n".join(_line(record, split) for split in ("valid", "test")))


def _line(record: Record, split: str) -> str:
    """A split's scores, those of earlier evaluations too."""
    metrics, task = record.metrics, task_of(record.config)
    parts = [f"{split:<6} {scored(score(metrics, split), record.config)}"]
    for mode, title in MODES.items():
        if mode in metrics:
            value, error = (metrics.get(f"{split}_{task.metric}_{mode}{part}") for part in ("", "_stderr"))
            shown = "diverged" if value is None else plus_minus(value, error) if error else scored(value, record.config)
            parts.append(f"{title.format(**metrics[mode])} {shown}")
    return "   ".join(parts)
