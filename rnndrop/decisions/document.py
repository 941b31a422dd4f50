"""A decision as a file, `OUTPUT/decisions/<id>.json`: what was asked, what was seen after each seed, what came of it.

The file is a function of the request and of the runs' scores: whoever decides, and however often he was stopped, it is
the same to the byte. docs/record.md has its keys. No torch here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rnndrop.config.identity import digest
from rnndrop.config.metrics import columns
from rnndrop.config.tasks import score
from rnndrop.decisions.race import DIVERGED, Look, Race, Rule, Scores
from rnndrop.errors import RequestError
from rnndrop.store import documents
from rnndrop.store.files import DamagedRecordError
from rnndrop.store.records import Record

SCHEMA = 1
FOLDER = "decisions"
SIGNIFICANT = 10  # digits of a number in the file: processors may differ in the last ones


@dataclass(frozen=True)
class Entry:
    """A contestant: `scores` are those that were used, of the seeds in their order.

    `outcome`: best, equal, worse, diverged (at the seed `diverged_at`), or in.
    """

    name: str
    run_id: str
    overrides: list[str]
    scores: list[float]
    outcome: str
    diverged_at: int | None = None


@dataclass(frozen=True)
class Decision:
    """All that a file has. `seeds` are those that may be used, in their order; `best` is the number of a contestant."""

    schema: int
    id: str
    metric: str
    rule: Rule
    seeds: list[int]
    contestants: list[Entry]
    looks: list[Look]
    verdict: str
    best: int | None

    def __str__(self) -> str:
        """What came of it, in words."""
        from rnndrop.decisions.words import sentences

        return "\n".join(sentences(self))

    def to_json(self) -> str:
        """One JSON object, in ASCII."""
        return json.dumps(_short(asdict(self)), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Decision:
        """Read a decision. Raises DamagedRecordError."""
        decision = documents.parsed(text, _adapter(), SCHEMA, "decision")
        decision._check()
        return decision

    def _check(self) -> None:
        """Raise DamagedRecordError where the parts do not fit each other, so that nobody else meets it."""
        try:
            self.rule.check()
        except RequestError as error:
            raise DamagedRecordError(f"not a whole decision: {error}") from None
        named = [index for look in self.looks for pair in look.pairs for index in (pair.plan, pair.against)]
        named += [0, 1, *([] if self.best is None else [self.best])]
        if any(not 0 <= index < len(self.contestants) for index in named):
            raise DamagedRecordError("not a whole decision: it names a contestant that it does not have")
        if not all(0 < value < math.inf for entry in self.contestants for value in entry.scores):
            raise DamagedRecordError("not a whole decision: a score that is no positive number")
        if self.metric not in columns() or not all(look.pairs for look in self.looks):
            raise DamagedRecordError("not a whole decision: of no known metric, or a look without a pair")


@cache
def _adapter() -> TypeAdapter[Decision]:
    return TypeAdapter(Decision)


def _short(tree: Any) -> Any:
    """With the floats that JSON can hold, in `SIGNIFICANT` digits; scores are as they are in the records."""
    if isinstance(tree, dict):
        return {name: value if name == "scores" else _short(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_short(value) for value in tree]
    return float(f"{tree:.{SIGNIFICANT}g}") + 0.0 if isinstance(tree, float) else tree


def decision_id(metric: str, rule: Rule, run_ids: Sequence[str], seeds: Sequence[int] | None) -> str:
    """Sixteen hex digits of what is asked; `seeds` where they were given. How many there may be is no part of it."""
    asked = [metric, _short(asdict(rule)), list(run_ids), None if seeds is None else list(seeds)]
    return digest(asked)


def path_of(output: str | Path, name: str) -> Path:
    """Where a decision's file is."""
    return Path(output) / FOLDER / f"{name}.json"


def paths(output: str | Path) -> list[Path]:
    """The files of decisions in an output folder, in a fixed order; most folders have none."""
    return documents.paths(output, FOLDER)


def read(path: Path) -> Decision | None:
    """The decision in a file, None where there is none. Raises DamagedRecordError and UnreadableError."""
    text = documents.read(path)
    return None if text is None else Decision.from_json(text)


def write(path: Path, decision: Decision) -> None:
    """Write a decision, unless that is what the file holds. Raises RequestError where it cannot be written."""
    documents.write(path, decision.to_json())


def ln_score(record: Record) -> float:
    """The ln of a run's test score; `DIVERGED` where it diverged. Raises RequestError for a score of 0."""
    if record.status == "diverged":
        return DIVERGED
    value = score(record.metrics, "test")
    if not value > 0:
        raise RequestError(f"{record.run_id}/seed-{record.seed}: a test score of {value:g} has no logarithm.")
    return math.log(value)


def entries(
    plans: Sequence[tuple[str, str, list[str]]], found: Sequence[Sequence[float | None]], race: Race
) -> list[Entry]:
    """The contestants of a race: (name, run id, overrides) of each, and its test score at each seed."""
    diverged = dict(race.diverged)
    return [
        Entry(
            *plan, [value for row in found[:count] if (value := row[index]) is not None], outcome, diverged.get(index)
        )
        for index, (plan, count, outcome) in enumerate(zip(plans, race.taken, race.outcomes, strict=True))
    ]


def scores_of(decision: Decision) -> Scores:
    """What the decision itself says that the scores were, as `race` takes them."""
    rows: list[list[float | None]] = []
    for number, seed in enumerate(decision.seeds):
        row: list[float | None] = []
        for entry in decision.contestants:
            known = number < len(entry.scores)
            row.append(math.log(entry.scores[number]) if known else DIVERGED if entry.diverged_at == seed else None)
        rows.append(row)
    return rows
