"""Committed runs whose settings mean something else by now: their numbers are not measurements of what is called so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnndrop.identity import former


def redefined(run: Mapping[Any, Any]) -> str | None:
    """What a run of `results.read` was measured under that holds no more; None for what means the same as ever.

    A mask that zeroes an LSTM's memory (`dropout=rnndrop`) was scaled inside the tanh, h = o · tanh(c / (1-p)), so that
    training and evaluation were two functions; now the scale follows the tanh. GRU and Elman networks were right.
    """
    settings = run["settings"]
    fill = settings.get("dropout.cell.fill") or ("previous" if settings["dropout.cell.kind"] == "zoneout" else "zero")
    if former(run["run_id"]) and settings["model.cell"] == "lstm" and settings["dropout.cell.p"] and fill == "zero":
        return "the scale of a mask on an LSTM's memory stood inside the tanh"
    return None
