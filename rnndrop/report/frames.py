"""Runs as pandas frames: one row a run, and one row a group of seeds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from rnndrop.errors import RequestError
from rnndrop.records import DamagedRecordError, Record, find_runs, read_record

COLUMNS = {
    "run_id": "string",
    "seed": "Int64",
    "status": "string",
    "data": "string",
    "model": "string",
    "dropout": "string",
    "plan": "string",
    "valid_perplexity": "Float64",
    "test_perplexity": "Float64",
    "train_perplexity": "Float64",
    "best_epoch": "Int64",
    "floor_perplexity": "Float64",
    "floor_perplexity_valid": "Float64",
    "parameters": "Int64",
    "train_seconds": "Float64",
    "tokens_per_second": "Float64",
    "data_sha256": "string",
    "folder": "string",
}


def load_runs(path: str | Path = "results/runs") -> pd.DataFrame:
    """One row for each record below `path`, with the columns and types of `COLUMNS`.

    A damaged record is named in a warning and left out. Raises RequestError where there is no record at all.
    """
    rows = []
    for folder in find_runs(path):
        try:
            record = read_record(folder)
        except DamagedRecordError as error:
            warnings.warn(f"{folder}: {error}", stacklevel=2)
            continue
        if record is not None:
            rows.append(_row(record, folder))
    if not rows:
        raise RequestError(f"No runs in {path}. Make some: rnndrop sweep dropout=none,naive,variational")
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS)).astype(COLUMNS)


def _row(record: Record, folder: Path) -> dict[str, Any]:
    model, dropout = record.config["model"], record.config["dropout"]
    return {
        "run_id": record.run_id,
        "seed": record.seed,
        "status": record.status,
        "data": record.data.get("name"),
        "model": f"{model['cell']} {model['layers']}×{model['hidden']}",
        "dropout": dropout["name"],
        "parameters": record.model.get("parameters"),
        "floor_perplexity": record.data.get("floor_perplexity"),
        "floor_perplexity_valid": record.data.get("floor_perplexity_valid"),
        "data_sha256": record.data.get("sha256"),
        "folder": str(folder),
        **{key: record.metrics.get(key) for key in COLUMNS if key in record.metrics},
        **{key: record.timing.get(key) for key in COLUMNS if key in record.timing},
    }


def compare(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each run id: mean and std over its finished seeds, best valid perplexity first."""
    done = runs[runs["status"] == "finished"]
    by = ["data", "model", "dropout", "run_id"]
    table = done.groupby(by, dropna=False).agg(
        n=("seed", "size"),
        valid=("valid_perplexity", "mean"),
        valid_std=("valid_perplexity", "std"),
        test=("test_perplexity", "mean"),
        test_std=("test_perplexity", "std"),
        train=("train_perplexity", "mean"),
        epoch=("best_epoch", "mean"),
        floor=("floor_perplexity", "first"),
        parameters=("parameters", "first"),
        train_seconds=("train_seconds", "mean"),
        tokens_per_second=("tokens_per_second", "mean"),
    )
    return table.reset_index().sort_values(["data", "valid"], ignore_index=True)
