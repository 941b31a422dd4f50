"""`rnndrop eval`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnndrop.config.tasks import score, task_of
from rnndrop.display.digits import plus_minus
from rnndrop.errors import RequestError
from rnndrop.runs.ensemble import SPLITS
from rnndrop.runs.ensemble import ensemble as measure_together
from rnndrop.runs.reevaluate import evaluate as evaluate_finished
from rnndrop.store.records import Record
from rnndrop.store.status import Standing, find
from rnndrop.sweeps.late import check_for_many, to_measure
from rnndrop.values import Masks

from .progress import Measuring, console, progress_bar, scored
from .runs import chosen, placed
from .sweep import Options, run_all

SAMPLES = 100  # Monte-Carlo samples where nothing else is asked for
MODES = {
    "mc": "MC ({samples} samples{more})",
    "cache": "cache",
    "dynamic": "dynamic",
    "temperature": "temperature ({value:g})",
}


def evaluate(
    arguments: Sequence[str],
    conditions: list[str],
    output: str,
    samples: int | None,
    masks: Masks,
    embedding: bool,
    options: Options,
) -> int:
    """Print what was measured beside deterministic perplexity, or the new records as JSON; return the exit code.

    `arguments` are runs and settings. One run is measured here; many, or those that meet `conditions`, as in a sweep.
    """
    runs, overrides = _parted(arguments)
    if not runs and not conditions:
        raise RequestError("No runs given. Name them by id or folder, or choose them with --where CONDITION.")
    asked = list(overrides)
    if samples is None and not overrides:
        samples = SAMPLES
    if samples is None and (masks != "pass" or embedding):
        raise RequestError("--masks and --embedding belong to Monte-Carlo evaluation: add --mc N.")
    if samples is not None:
        mc = {"samples": samples, "masks": masks, "embedding": str(embedding).lower()}
        asked = [*(f"evaluation.mc.{name}={value}" for name, value in mc.items()), *asked]
    names, output = placed(runs, output)
    alone = len(names) == 1 and (Path(names[0]).name.startswith("seed-") or not Path(names[0]).is_dir())
    if not alone or conditions:
        return _evaluate_all(chosen(names, conditions, output), asked, options)
    folder = find(names[0], output)
    with progress_bar() as bar:
        task = bar.add_task(f"evaluating {folder}", total=1, numbers="")
        record = evaluate_finished(folder, asked, Measuring(bar, task))
    print(record.to_json() if options.as_json else "\n".join(_line(record, split) for split in SPLITS))
    if not options.as_json and record.metrics.get("mc", {}).get("samples", 1) > 1:
        console.print("± standard error over the samples of this run; a report's ± is over seeds", soft_wrap=True)
    return 0


def _evaluate_all(runs: Sequence[Standing], overrides: Sequence[str], options: Options) -> int:
    """Measure every run that can be, and name the others."""
    check_for_many(overrides)
    jobs, left_out = [], []
    for run in runs:
        try:
            jobs.append(to_measure(run.folder, overrides))
        except RequestError as error:
            left_out.append(str(error))
    if not jobs:
        raise RequestError("\n".join([*left_out, "No run is left to evaluate."]))
    for line in left_out:
        console.print(f"left out: {line}", soft_wrap=True, markup=False)
    return max(run_all(jobs, options, told=lambda job: _told(job.record)), int(bool(left_out)))


def _told(record: Record | None) -> str:
    """What was measured of a run that took part, on a line."""
    return "   ".join(_line(record, split) for split in SPLITS) if record and record.status == "finished" else ""


def _parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Which of them are runs, or output=FOLDER, and which are settings."""
    overrides = [each for each in arguments if "=" in each and not Path(each).is_dir() and each[:7] != "output="]
    return [each for each in arguments if each not in overrides], overrides


def _line(record: Record, split: str) -> str:
    """A split's scores, those of earlier evaluations too."""
    metrics, task = record.metrics, task_of(record.config)
    parts = [f"{split:<6} {scored(score(metrics, split), record.config)}"]
    for mode, title in MODES.items():
        if mode in metrics:
            value, error = (metrics.get(f"{split}_{task.metric}_{mode}{part}") for part in ("", "_stderr"))
            shown = "diverged" if value is None else plus_minus(value, error) if error else scored(value, record.config)
            parts.append(f"{title.format(**metrics[mode], more=_more(metrics[mode]))} {shown}")
    return "   ".join(parts)


def _more(settings: Mapping[str, Any]) -> str:
    """What a record names of Monte-Carlo settings only where they are not the usual ones."""
    return "".join(f", {name} {settings[name]:g}" for name in ("power", "rate", "temperature") if name in settings)


def evaluate_together(arguments: Sequence[str], conditions: list[str], output: str, as_json: bool) -> None:
    """Print the perplexities of runs and of the mean of their probabilities; `arguments` are runs and settings."""
    runs, overrides = _parted(arguments)
    names, output = placed(runs, output)
    if conditions:
        folders = [run.folder for run in chosen(names, conditions, output)]
    else:
        folders = [find(each, output) for each in names]
    if not folders:
        raise RequestError("No runs given. Name those of the ensemble, or choose them with --where CONDITION.")
    with console.status("") as status:
        found = measure_together(folders, overrides, lambda folder: status.update(f"evaluating {folder}"))
    names = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    config = found.config.model_dump(mode="json")
    if as_json:
        members = [
            {"run": name, "folder": str(folder), **_named(scores, config)}
            for name, folder, scores in zip(names, folders, found.members, strict=True)
        ]
        print(json.dumps({"members": members, **_named(found.mean, config), "forward_passes": len(folders)}, indent=1))
        return
    title = f"mean of {len(folders)}"
    width = max(map(len, [*names, title]))
    for name, scores in zip([*names, title], [*found.members, found.mean], strict=True):
        print(f"{name:<{width}}   " + "   ".join(f"{split} {scored(scores[split], config)}" for split in SPLITS))
    print(f"forward passes over each split: {len(folders)}, as many as --mc {len(folders)} takes")


def _named(scores: Mapping[str, float], config: Mapping[str, Any]) -> dict[str, float | None]:
    """The scores as metrics of a record: `test_perplexity`; None where one is not finite."""
    metric = task_of(config).metric
    return {f"{split}_{metric}": value if math.isfinite(value) else None for split, value in scores.items()}
