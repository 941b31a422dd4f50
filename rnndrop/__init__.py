"""rnndrop: find out what a dropout does to a recurrent sequence model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnndrop.dropout.modules import EmbeddingDropout, LockedDropout, WeightDrop
    from rnndrop.report.compare import compare
    from rnndrop.report.frames import load_runs
    from rnndrop.report.table import table
    from rnndrop.runs.reevaluate import load
    from rnndrop.runs.runner import run
    from rnndrop.store.records import Record
    from rnndrop.sweeps.library import decide, sweep

_HOMES = {
    "EmbeddingDropout": "dropout.modules",
    "LockedDropout": "dropout.modules",
    "Record": "store.records",
    "WeightDrop": "dropout.modules",
    "compare": "report.compare",
    "decide": "sweeps.library",
    "load": "runs.reevaluate",
    "load_runs": "report.frames",
    "run": "runs.runner",
    "sweep": "sweeps.library",
    "table": "report.table",
}

__all__ = [
    "EmbeddingDropout",
    "LockedDropout",
    "Record",
    "WeightDrop",
    "compare",
    "decide",
    "load",
    "load_runs",
    "run",
    "sweep",
    "table",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: torch and pandas are heavy."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
