"""The decisions of a folder beside its comparison: lines for people, a column for programs, and how each came about."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rnndrop.config.metrics import metric_of
from rnndrop.decisions.document import Decision, paths, read
from rnndrop.decisions.race import CLAIMS, Pair
from rnndrop.decisions.words import margin, sentences
from rnndrop.errors import RequestError
from rnndrop.store.files import DamagedRecordError, UnreadableError

COLUMN = "decisions"
OPEN, EQUAL = "open", "equal"
LN_MOST = math.log(1e6)  # evidence is drawn up to here: what decides lies far below

Outcomes = dict[tuple[str, int], list[float | str]]
"""By run id and seed the score, or the status of a run that has not finished; one for each corpus that has the run."""

log = logging.getLogger("rnndrop")


@dataclass(frozen=True)
class Course:
    """How one contestant stood against another at the looks; lists of one length, NaN where they were not compared.

    `plan` is the number of the contestant and `against` that of the other, `seeds` how many there were, `differ` the
    evidence E for a difference, `equal` the weaker of the two that make them equal, `change` the difference of the
    scores in per cent, with the bounds `low` and `high` of its interval (infinite while it has none). `end` is how they
    were told apart, or equal, after the last of `seeds`; else empty.
    """

    plan: int
    against: int
    label: str
    seeds: list[int]
    differ: list[float]
    equal: list[float]
    change: list[float]
    low: list[float]
    high: list[float]
    end: str

    @property
    def deciding(self) -> float:
        """The evidence at the last look, of what was said then."""
        return (self.equal if self.end == EQUAL else self.differ)[-1]


@dataclass(frozen=True)
class Story:
    """What a decision came from: a course for each pair that was compared, in the order of the contestants.

    `said` is the verdict in words, `names` are the contestants by what tells them apart, `bound` the evidence that
    decides, `margin` in words, and from `below` to `above`, in per cent, is equal. `metric` is what was compared.
    """

    said: str
    names: list[str]
    metric: str
    looks: int
    bound: float
    margin: str
    below: float
    above: float
    courses: list[Course]

    @property
    def compared(self) -> dict[int, str]:
        """A name for each contestant that was compared: with another one, or with whoever led."""
        others: dict[int, set[int]] = {}
        for course in self.courses:
            others.setdefault(course.plan, set()).add(course.against)
        return {
            plan: f"{self.names[plan]} against {self.names[against.pop()] if len(against) == 1 else 'who led'}"
            for plan, against in others.items()
        }

    @property
    def evidence_limits(self) -> tuple[float, float]:
        """From where to where to draw evidence: what speaks against a claim may fall without end, and out of sight."""
        every = [value for course in self.courses for value in (*course.differ, *course.equal) if value == value]
        return max(0.5 * min(every), 0.02), 3 * max(self.bound, *every)

    @property
    def change_limits(self) -> tuple[float, float]:
        """From where to where to draw differences: the first intervals may be wider."""
        lasts = [end for course in self.courses for end in (course.low[-1], course.high[-1]) if math.isfinite(end)]
        every = [value for course in self.courses for value in course.change if value == value]
        low, high = min(*every, *lasts, 2 * self.below), max(*every, *lasts, 2 * self.above)
        return low - 0.08 * (high - low), high + 0.08 * (high - low)


def stories(found: Sequence[Decision]) -> list[Story]:
    """How each decision came about that has a look. Raises RequestError where none has."""
    shown = [story(decision) for decision in found if decision.looks]
    if not shown:
        raise RequestError("No decision about these runs. To make one: rnndrop decide dropout=variational,naive")
    return shown


def story(decision: Decision) -> Story:
    """How a decision came about, as numbers to draw."""
    names = short_names(decision)
    pairs = sorted({(pair.plan, pair.against) for look in decision.looks for pair in look.pairs})
    within = decision.rule.margin
    return Story(
        sentences(decision)[0], names, f"test {metric_of(decision.metric).title}", len(decision.looks),
        math.exp(decision.rule.ln_bound(len(names))), margin(decision.rule), _percent(-within), _percent(within),
        [_course(decision, names, *pair) for pair in pairs],
    )  # fmt: skip


def short_names(decision: Decision) -> list[str]:
    """What tells the contestants apart: the values alone where all differ in one setting."""
    every = [entry.overrides for entry in decision.contestants]
    common = set(every[0]).intersection(*every)
    own = [[each.partition("=") for each in overrides if each not in common] for overrides in every]
    one = {key for parts in own for key, _, _ in parts}
    if len(one) == 1 and all(len(parts) == 1 for parts in own):
        return [parts[0][2] for parts in own]
    return [entry.name for entry in decision.contestants]


def _course(decision: Decision, names: list[str], plan: int, against: int) -> Course:
    every = [next((p for p in look.pairs if (p.plan, p.against) == (plan, against)), None) for look in decision.looks]
    there = [number for number, pair in enumerate(every, 1) if pair]
    own = every[there[0] - 1 : there[-1]]
    standing = own[-1].standing if own[-1] else OPEN
    final = there[-1] == len(every) or standing in CLAIMS

    def of(value: Callable[[Pair], float]) -> list[float]:
        return [math.nan if pair is None else value(pair) for pair in own]

    return Course(
        plan,
        against,
        f"{names[plan]} against {names[against]}",
        list(range(there[0], there[-1] + 1)),
        of(lambda pair: _evidence(pair.ln_e)),
        of(lambda pair: _evidence(min(pair.ln_e_above, pair.ln_e_below))),
        of(lambda pair: _percent(pair.mean)),
        of(lambda pair: -math.inf if pair.low is None else _percent(pair.low)),
        of(lambda pair: math.inf if pair.high is None else _percent(pair.high)),
        standing if final and standing != OPEN else "",
    )


def _evidence(ln_e: float) -> float:
    return math.exp(min(max(ln_e, -LN_MOST), LN_MOST))


def _percent(ln: float) -> float:
    return 100 * math.expm1(min(ln, LN_MOST))


def decisions(folders: Iterable[str | Path], runs: pd.DataFrame) -> list[Decision]:
    """The decisions in folders, all of whose contestants are among these runs.

    One that cannot be read, or whose runs have other scores by now, is named in a warning and left out. One that
    several folders have counts once, after the most looks.
    """
    files = [file for folder in folders for file in paths(folder)]
    there = set(runs["run_id"]) if files else set()
    now: dict[str, Outcomes] = {}
    found: dict[str, Decision] = {}
    for file in files:
        try:
            decision = read(file)
        except (DamagedRecordError, UnreadableError) as problem:
            log.warning("left out %s: %s", file, str(problem).partition("\n")[0])
            continue
        if decision and all(entry.run_id in there for entry in decision.contestants):
            if decision.metric not in now:
                now[decision.metric] = _outcomes(runs, decision.metric)
            if other := _another_score(decision, now[decision.metric]):
                log.warning("left out %s: %s (rnndrop doctor)", file, other)
                continue
            earlier = found.get(decision.id)
            if earlier is None or len(earlier.looks) < len(decision.looks):
                found[decision.id] = decision
    return list(found.values())


def _outcomes(runs: pd.DataFrame, metric: str) -> Outcomes:
    found: Outcomes = {}
    columns = (runs[name] for name in ("run_id", "seed", "status", metric))
    for run, seed, status, score in zip(*columns, strict=True):
        found.setdefault((run, seed), []).append(score if status == "finished" else status)
    return found


def _another_score(decision: Decision, now: Outcomes) -> str:
    """The first run of a decision that has another score in these runs, or none, in words; empty where none has."""
    for entry in decision.contestants:
        used: list[tuple[int, float | str]] = [*zip(decision.seeds, entry.scores, strict=False)]
        used += [] if entry.diverged_at is None else [(entry.diverged_at, "diverged")]
        for seed, was in used:
            found = now.get((entry.run_id, seed), [was])
            if not any(_same(was, each) for each in found):
                return f"{entry.run_id}/seed-{seed} had {_said(was)}, and its record says {_said(found[0])}"
    return ""


def _same(was: float | str, found: float | str) -> bool:
    """Whether a run is still what it was: a score, which may be unknown, or diverged."""
    if isinstance(was, str) or isinstance(found, str):
        return str(was) == str(found)
    return bool(pd.isna(found)) or math.isclose(found, was, rel_tol=1e-9)


def _said(what: float | str) -> str:
    return what if isinstance(what, str) else f"{what:.6g}"


def lines(found: list[Decision]) -> list[str]:
    """What each decision says, below a table."""
    return [f"decided: {line}" for decision in found for line in sentences(decision)]


def with_decisions(table: pd.DataFrame, found: list[Decision]) -> pd.DataFrame:
    """The comparison with a column of what was decided of each row; the same where nothing was."""
    if not found:
        return table
    words: dict[str, list[str]] = {}
    for decision in found:
        for entry in decision.contestants:
            words.setdefault(entry.run_id, []).append(sentences(decision)[0])
    return table.assign(**{COLUMN: ["; ".join(words.get(run, [])) for run in table["run_id"]]})
