"""Do the decisions of a folder follow from its records? Each look is taken once more. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rnndrop.config.tasks import score
from rnndrop.decisions.document import Decision, paths, read, scores_of
from rnndrop.decisions.race import race
from rnndrop.store.audit import Verdict, verdict
from rnndrop.store.ownership import record_of


def audit_decisions(output: str | Path) -> Iterator[Verdict]:
    """A verdict for each decision in an output folder: sound, damaged or unreadable, and why."""

    def problem(path: Path) -> str:
        decision = read(path)
        return "" if decision is None else disagreement(decision, output)

    return (verdict(path, problem) for path in paths(output))


def disagreement(decision: Decision, output: str | Path) -> str:
    """Where a decision does not follow from the records below `output`, in words; empty where it does.

    Raises DamagedRecordError and UnreadableError for a record.
    """
    return _other_scores(decision, Path(output)) or other_looks(decision)


def _other_scores(decision: Decision, output: Path) -> str:
    """The first run whose record does not say what the decision has of it."""
    data = set()
    for entry in decision.contestants:
        used = list(zip(decision.seeds, entry.scores, strict=False))
        for seed, value in [*used, *([(entry.diverged_at, None)] if entry.diverged_at is not None else [])]:
            name = f"{entry.run_id}/seed-{seed}"
            record = record_of(output, entry.run_id, seed)
            if record is None:
                return f"the record of {name} is gone"
            status = "diverged" if value is None else "finished"
            if record.status != status:
                return f"{name} was {status}, and its record says {record.status}"
            if value is not None and score(record.metrics, "test") != value:
                return f"{name} had {value}, and its record says {score(record.metrics, 'test')}"
            data.add(record.data.get("sha256"))
    return "its runs saw different data" if len(data) > 1 else ""


def other_looks(decision: Decision) -> str:
    """The first look that the scores do not give."""
    again = race(decision.rule, decision.seeds, scores_of(decision), len(decision.contestants))
    for ours, theirs in zip(again.looks, decision.looks, strict=False):
        if not _alike(asdict(ours), asdict(theirs)):
            return f"the look at seed {theirs.seed} does not follow from the scores"
    if len(again.looks) != len(decision.looks):
        return f"it has {len(decision.looks)} looks, and the scores give {len(again.looks)}"
    outcomes = [entry.outcome for entry in decision.contestants]
    if (again.verdict, again.best, again.outcomes) != (decision.verdict, decision.best, outcomes):
        return f"its verdict is {decision.verdict}, and the looks give {again.verdict}"
    return ""


def _alike(one: Any, other: Any) -> bool:
    """Whether two trees are the same, but for the last digits of their numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return bool(one == other)
