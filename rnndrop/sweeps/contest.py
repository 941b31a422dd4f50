"""Contestants of a decision: a grid without its seeds, a job for each of them and each seed, and rounds of jobs."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev

from rnndrop.config.compose import compose, expand
from rnndrop.config.identity import canonical, is_one_run, key_of, of_identity, run_id
from rnndrop.config.tasks import score, task_spec
from rnndrop.decisions.document import SCHEMA, Decision, decision_id, entries, ln_score
from rnndrop.decisions.race import Race, Rule, race
from rnndrop.errors import RequestError, shorten
from rnndrop.store.records import Record
from rnndrop.sweeps import search_file
from rnndrop.sweeps.scheduler import Event, Executor, Job, check_one_corpus, jobs_of

PATH = ("root",)  # of `data`: where it lies does not change it


@dataclass(frozen=True)
class Contest:
    """What is to be decided: `jobs` has for each seed a job of every contestant, in the order of `names`."""

    rule: Rule
    names: list[str]
    seeds: list[int]
    given: list[int] | None  # the seeds that the request names, however many of them there may be
    overrides: list[list[str]]
    jobs: list[list[Job]]

    @property
    def output(self) -> Path:
        """The folder of the runs."""
        return Path(self.jobs[0][0].config.output)

    @cached_property
    def run_ids(self) -> list[str]:
        """The contestants' run ids."""
        return [run_id(job.config) for job in self.jobs[0]]

    @property
    def metric(self) -> str:
        """What is compared."""
        return f"test_{task_spec(self.jobs[0][0].config.task).metric}"

    @property
    def id(self) -> str:
        """Names what is asked."""
        return decision_id(self.metric, self.rule, self.run_ids, self.given)

    def race(self) -> Race:
        """The race, as far as the jobs have come. Raises RequestError where they saw different data."""
        check_one_corpus(job for row in self.jobs for job in row)
        rows = [[ln_score(job.record) if over(job) and job.record else None for job in row] for row in self.jobs]
        return race(self.rule, self.seeds, rows, len(self.names))

    def decision(self, so_far: Race) -> Decision:
        """What is recorded of a race."""
        found = [
            [score(job.record.metrics, "test") if job.record and job.state == "finished" else None for job in row]
            for row in self.jobs
        ]
        plans = list(zip(self.names, self.run_ids, map(of_identity, self.overrides), strict=True))
        own = entries(plans, found, so_far)
        return Decision(
            SCHEMA, self.id, self.metric, self.rule, self.seeds, own, so_far.looks, so_far.verdict, so_far.best
        )

    def next_jobs(self, so_far: Race, at_once: int, settled: Collection[str]) -> list[Job]:
        """The jobs that come next: those of the next round, and of as many more as keep `at_once` processes at work.

        No look before the rule's earliest decides anything, so the rounds up to there are always among them.
        """
        there = so_far.remaining
        last = max(self.rule.earliest(len(self.names)), len(so_far.looks) + -(-at_once // max(1, len(there))))
        rows = self.jobs[len(so_far.looks) : last]
        return [row[index] for row in rows for index in there if row[index].state not in settled]

    def spread(self) -> tuple[float, str] | None:
        """The std of the differences of ln score, the largest of all pairs, and where it is from; None if unknown.

        Paired by seed where two contestants have two seeds in common, else from the std of each over its own.
        Raises RequestError where they saw different data.
        """
        check_one_corpus(job for row in self.jobs for job in row)
        found = [each for pair in combinations(range(len(self.names)), 2) if (each := self._spread(*pair))]
        return max(found, default=None)

    def _spread(self, one: int, other: int) -> tuple[float, str] | None:
        ln = [{record.seed: ln_score(record) for record in self._finished(index)} for index in (one, other)]
        common = ln[0].keys() & ln[1].keys()
        names = f"{self.names[one]} and {self.names[other]}"
        if len(common) > 1:
            return stdev(ln[0][seed] - ln[1][seed] for seed in common), f"{len(common)} seeds of {names}"
        if min(map(len, ln)) > 1:
            return math.hypot(*(stdev(each.values()) for each in ln)), f"{names}, unpaired"
        return None

    def seconds(self) -> float | None:
        """The mean time that a seed of every contestant takes to train; None where one has no finished run."""
        times = [
            [record.timing["train_seconds"] for record in self._finished(index) if "train_seconds" in record.timing]
            for index in range(len(self.names))
        ]
        return sum(map(fmean, times)) if all(times) else None

    def _finished(self, index: int) -> list[Record]:
        """The records of a contestant's finished runs, in the order of the seeds."""
        jobs = [row[index] for row in self.jobs]
        return [job.record for job in jobs if job.record and job.record.status == "finished"]

    def failed(self, so_far: Race) -> list[Job]:
        """The jobs without a score that the next round waits for, and that have come to an end."""
        row = self.jobs[len(so_far.looks)] if so_far.going_on else []
        return [row[index] for index in so_far.remaining if row[index].state in ("failed", "unreadable")]


def over(job: Job) -> bool:
    """Whether a job has a score, or none because it diverged."""
    return job.state in ("finished", "diverged")


def contest(overrides: Sequence[str], rule: Rule, most: int) -> Contest:
    """Compose and check every run that may be needed, up to `most` seeds of each contestant. Raises RequestError."""
    rule.check()
    given = [each for each in overrides if key_of(each) == "seed"]
    own = [each for each in overrides if each not in given]
    named = _named(given[-1]) if given else None
    seeds = list(range(most)) if named is None else named[:most]
    grid = expand(own)
    names = _names(grid)
    _check(grid, names)
    if len(seeds) < (least := rule.earliest(len(grid))):
        raise RequestError(
            f"{len(seeds)} seeds are too few: {len(grid)} contestants at --alpha {rule.alpha:g} need at least {least} "
            "for a decision. Give more with --max-seeds or seed=range(…)."
        )
    jobs = jobs_of([*each, f"seed={seed}"] for seed in seeds for each in grid)
    size = len(grid)
    rounds = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    for job, (name, seed) in zip(jobs, ((name, seed) for seed in seeds for name in names), strict=True):
        job.name = f"{name} seed={seed}"
    return Contest(rule, names, seeds, named, grid, rounds)


def check_unsearched(made: Contest) -> None:
    """Raise RequestError for a seed by whose score a search chose a contestant: as the luckiest it decides nothing."""
    names, searches = dict(zip(made.run_ids, made.names, strict=True)), list(search_file.sound(made.output))
    fresh = 1 + max((seed for each in searches for seed in (each.search_seed, *each.fresh_seeds)), default=0)
    for plan, seed, name in ((plan, each.search_seed, each.id) for each in searches for plan in each.plans):
        best = search_file.best_of(plan)
        if best and best.run_id in names and seed in made.seeds:
            raise RequestError(
                f"{names[best.run_id]}: a search chose these settings as the best of {len(plan.trials)} trials with"
                f" seed {seed} ({search_file.FOLDER}/{name}.json), so its score is optimistic. Decide with seeds"
                f" that no search has used, such as 'seed=range({fresh},{fresh + len(made.seeds)})'."
            )


def _named(override: str) -> list[int]:
    """The seeds that an override names. Raises RequestError."""
    values = [each for (each,) in expand([override])]
    plain = [each.partition("=")[2] for each in values]
    seeds = [
        int(text) if re.fullmatch(r"\d{1,9}", text) else compose([each]).seed
        for each, text in zip(values, plain, strict=True)
    ]
    if len(set(seeds)) < len(seeds):
        raise RequestError(f"{override} names a seed twice: each counts once. Give others, or leave seed= out.")
    return seeds


def _names(grid: Sequence[list[str]]) -> list[str]:
    """What each contestant has that not all have."""
    common = set(grid[0]).intersection(*grid)
    return [" ".join(each for each in own if each not in common) or "defaults" for own in grid]


def _check(grid: Sequence[list[str]], names: Sequence[str]) -> None:
    """Raise RequestError where there are no two contestants, two that are one, or two that cannot be compared."""
    if len(grid) < 2:
        raise RequestError(
            "A decision needs two contestants: give a key several values, as rnndrop decide dropout=variational,naive"
        )
    configs = [compose(each) for each in grid]
    known: dict[str, str] = {}
    for config, name in zip(configs, names, strict=True):
        if is_one_run(canonical(config.model_dump(mode="json"))):
            raise RequestError(f"{name} is the same run with every seed. Leave out its seeds.* settings.")
        if (run := run_id(config)) in known:
            both = (
                f"{known[run]} and {name} are" if name != known[run] else f"{shorten(' '.join(grid[0]), 80)} twice is"
            )
            raise RequestError(f"{both} one run ({run[:8]}): there is nothing to decide. Give contestants that differ.")
        known[run] = name
    for config, name in zip(configs[1:], names[1:], strict=True):
        one, other = (each.data.model_dump(exclude=set(PATH)) for each in (configs[0], config))
        key = "task" if configs[0].task != config.task else next((key for key in one if one[key] != other[key]), None)
        if key:
            where = "task" if key == "task" else f"data.{key}"
            raise RequestError(
                f"{names[0]} and {name} differ in {where}: scores on different data have no common ranking. Decide "
                "each on its own."
            )


class Lasting:
    """An executor that goes from one `run_jobs` to the next: its idle processes stay alive until `close`.

    A `stop` while jobs are running stops them, as that of the executor itself does.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._running: set[Job] = set()

    @property
    def free(self) -> int:
        """How many more jobs it takes now."""
        return self._executor.free

    def submit(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
        """Start jobs."""
        self._running.update(jobs)
        self._executor.submit(jobs, settled)

    def poll(self, seconds: float) -> Iterable[Event]:
        """What has happened."""
        events = list(self._executor.poll(seconds))
        self._running.difference_update(event.job for event in events if event.kind != "progress")
        return events

    def stop(self) -> None:
        """Stop what is running, if anything is."""
        if self._running:
            self.close()

    def close(self) -> None:
        """Have the processes leave."""
        self._running.clear()
        self._executor.stop()
