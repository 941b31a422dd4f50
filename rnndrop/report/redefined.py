"""Committed runs whose settings mean something else by now: their numbers are not measurements of what is called so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnndrop.config.identity import former, length_counted_twice
from rnndrop.config.identity import redefined as rule_redefined
from rnndrop.dropout.rule import KINDS


def redefined(run: Mapping[Any, Any]) -> str | None:
    """What a run of `results.read` was measured under that holds no more; None for what means the same as ever."""
    settings = run["settings"]
    for place in ("cell", "state"):
        fill = settings.get(f"dropout.{place}.fill") or KINDS[settings[f"dropout.{place}.kind"]].fill
        if former(run["run_id"]) and settings[f"dropout.{place}.p"] and rule_redefined(place, fill):
            return "the scale of a mask on an LSTM's memory stood inside the tanh, and no scale crossed windows"
    if length_counted_twice(settings) and (former(run["run_id"]) or run.get("of_before")):
        return "the length of a window counted twice"
    if run.get("of_before"):
        return "all sequences of a window had one rate"
    return None
