"""Do the searches of a folder follow from its records? No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from rnndrop.config.tasks import score
from rnndrop.stats import expected_best
from rnndrop.store.audit import Verdict, verdict
from rnndrop.store.ownership import record_of
from rnndrop.sweeps.search_file import PlanEntry, SearchFile, paths, read
from rnndrop.sweeps.tuning import SETTLED


def audit_searches(output: str | Path) -> Iterator[Verdict]:
    """A verdict for each search in an output folder: sound, damaged or unreadable, and why."""

    def problem(path: Path) -> str:
        search = read(path)
        return "" if search is None else disagreement(search, Path(output))

    return (verdict(path, problem) for path in paths(output))


def disagreement(search: SearchFile, output: Path) -> str:
    """Where a search does not follow from the records below `output`, in words; empty where it does.

    A trial that was pruned or failed may be gone: `rnndrop gc` deletes such. Raises DamagedRecordError and
    UnreadableError for a record.
    """
    found = (_other_scores(plan, search, output) or _other_choice(plan, search.trials) for plan in search.plans)
    return next(filter(None, found), "")


def _other_scores(plan: PlanEntry, search: SearchFile, output: Path) -> str:
    """The first run of a plan whose record does not say what the search has of it."""
    chosen = next((trial for trial in plan.trials if trial.number == plan.chosen), None)
    runs = [(trial.run_id, search.search_seed, trial.state, {"valid": trial.valid}) for trial in plan.trials]
    if chosen:
        runs += [(chosen.run_id, own.seed, own.state, {"valid": own.valid, "test": own.test}) for own in plan.fresh]
    for run_id, seed, state, scores in runs:
        if state not in ("finished", "diverged"):  # what was not over may have gone on
            continue
        name, record = f"{run_id}/seed-{seed}", record_of(output, run_id, seed)
        if record is None:
            return f"the record of {name} is gone"
        if record.status != state:
            return f"{name} was {state}, and its record says {record.status}"
        for split, value in scores.items():
            if value is not None and (own := score(record.metrics, split)) != value:
                return f"{name} had {split} {value}, and its record says {own}"
    return ""


def _other_choice(plan: PlanEntry, budget: int) -> str:
    """What a plan says of its trials that does not follow from them."""
    over = [trial for trial in plan.trials if trial.state in SETTLED]
    done = {trial.number: trial.valid for trial in over if trial.state == "finished" and trial.valid is not None}
    best = min(done, key=lambda number: done[number], default=None) if len(over) == len(plan.trials) else None
    if plan.chosen != best:
        return f"{plan.name}: trial {plan.chosen} was chosen, and the scores give {best}"
    curve = expected_best([math.inf if trial.valid is None else trial.valid for trial in over])
    if curve and len(over) == len(plan.trials):
        curve += [curve[-1]] * (budget - len(curve))
    theirs = [math.inf if value is None else value for value in plan.expected_best]
    if len(curve) != len(theirs) or any(
        not math.isclose(one, other, rel_tol=1e-6) for one, other in zip(curve, theirs, strict=True)
    ):
        return f"{plan.name}: its expected best does not follow from its trials"
    return ""
