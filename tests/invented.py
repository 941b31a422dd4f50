"""Invented records for the tests of reports: any configuration, with the scores that a test needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnndrop.store.records import HISTORY, RECORD, SCHEMA, Record
from rnndrop.sweeps.scheduler import jobs_of

UNREAD: dict[str, Any] = {"data": {}, "model": {}, "environment": {}}
"""Of a run that failed before it could begin."""


def write_run(output: Path, overrides: Sequence[str], seed: int, test: float = 0, /, **content: Any) -> Path:
    """Write a finished run with that test perplexity, valid 4 % above it, unless `content` says otherwise."""
    (job,) = jobs_of([[*overrides, f"seed={seed}", f"output={output}"]])
    config, folder = job.config, job.folder
    word = config.data.level == "word"
    metrics = {"valid_perplexity": 1.04 * test, "test_perplexity": test, "train_perplexity": 0.8 * test,
               "best_epoch": 2, "epochs": 2}  # fmt: skip
    record = Record(
        SCHEMA, folder.parent.name, seed, "finished", list(overrides), config.model_dump(mode="json"),
        {"name": config.data.name, "level": config.data.level, "sha256": "ab"[word] * 64},
        {"parameters": 1000}, metrics, {"train_seconds": 1.0, "tokens_per_second": 10.0},
        {"device": "cpu", "torch": "2", "host": "invented", "git_revision": "0" * 40, "git_dirty": False},
    )  # fmt: skip
    record.metrics |= content.pop("metrics", {})
    for name, value in content.items():
        setattr(record, name, value)
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(record.to_json(), encoding="utf-8")
    rows = [{"epoch": epoch, "train_perplexity": 2 * test / epoch, "valid_perplexity": 3 * test / epoch,
             "seconds": 1.0, "tokens_per_second": 10.0} for epoch in (1, 2)]  # fmt: skip
    (folder / HISTORY).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder
