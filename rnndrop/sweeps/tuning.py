"""A search for good settings of several plans, the same for each: as many trials, of the same ranges, at one seed.

The trials are drawn at random, and which ones follows from the request alone: so they can be run in any order and by
any number of processes, more of them can be added, and the mean of the best of n is that of n independent trials (of
lists alone: of n different points). Every plan gets the same draws. Each trial is an ordinary run with the label
`trial`; its record is all that is known of it.

The best trial of a plan, by valid, is trained with other seeds: the score that chose it is too good. No torch here.
"""

from __future__ import annotations

import json
import math
import random
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from rnndrop.config.compose import Span, compose, sweeps
from rnndrop.config.identity import canonical, digest, is_one_run, key_of, run_id
from rnndrop.config.schema import Config
from rnndrop.config.tasks import TaskSpec, score, task_spec
from rnndrop.errors import RequestError
from rnndrop.store.ownership import folder_of
from rnndrop.store.records import TRIAL, is_trial, label_of
from rnndrop.sweeps.factor import rates, scaled
from rnndrop.sweeps.scheduler import Job, check_one_corpus, jobs_of, survey

SETTLED = ("finished", "failed", "diverged", "pruned")
FACTOR = "rate_factor"  # no setting: it multiplies every rate of a plan
LOW, HIGH = 0.25, 2.0  # of the factor, unless a range is given …
HIGHEST = 0.95  # … or a rate would be more
REPEATED = 1000  # draws in a row that bring nothing new, and a plan has no more trials
NOT_SEARCHED = {
    "seed": "the best of several seeds is only the luckiest. Give one; --seeds N measures the choice with others",
    "task": "their scores have no common ranking",
    "data": "scores on different data have no common ranking",
}

Ranges = dict[str, Span | list[str]]
Key = TypeVar("Key")


@dataclass
class Trial:
    """One draw and its run."""

    number: int
    params: dict[str, Any]
    job: Job


@dataclass
class Study:
    """The search of one plan. `ranges`: those that change something in it. `fresh`: the jobs that measure its best."""

    name: str
    overrides: list[str]
    ranges: Ranges
    trials: list[Trial] = field(default_factory=list)
    fresh: list[Job] = field(default_factory=list)

    @property
    def best(self) -> Trial | None:
        """The trial with the lowest valid score; None while one is open, or where none has finished."""
        number = winner({trial.number: trial.job for trial in self.trials})
        return None if number is None else self.trials[number]

    @property
    def over(self) -> int:
        """How many trials have come to their end."""
        return sum(trial.job.state in SETTLED for trial in self.trials)


@dataclass
class Search:
    """What is asked: `budget` trials of each plan with `seed`, and the `seeds` that measure the best one."""

    ranges: Ranges
    budget: int
    seed: int
    seeds: list[int]
    studies: list[Study]
    prune: bool = True

    @property
    def trials(self) -> list[Trial]:
        """The trials of all plans, in turn: whenever it stops, all have had as many."""
        every = [trial for study in self.studies for trial in study.trials]
        return sorted(every, key=lambda trial: trial.number)

    @property
    def config(self) -> Config:
        """A configuration of the search, for what all have in common."""
        return self.studies[0].trials[0].job.config

    @property
    def output(self) -> Path:
        """The folder of the runs."""
        return Path(self.config.output)

    @property
    def task(self) -> TaskSpec:
        """What the runs are scored by."""
        return task_spec(self.config.task)

    @property
    def id(self) -> str:
        """Sixteen hex digits of what is asked; the numbers of trials and of seeds are no part of it."""
        plans = [run_id(study.trials[0].job.config) for study in self.studies]
        asked = [self.task.metric, {key: spelled(values) for key, values in self.ranges.items()}, self.seed, plans]
        return digest(asked)

    def measure(self) -> list[Job]:
        """The jobs of the plans' best trials with the other seeds; of a plan that has none yet there are none.

        Raises RequestError where the trials saw different data.
        """
        check_one_corpus(trial.job for trial in self.trials)
        for study in self.studies:
            best = study.best
            study.fresh = _fresh(study.name, best.job.overrides, self.seeds) if best and self.seeds else []
        return [job for study in self.studies for job in study.fresh]


def spelled(values: Span | list[str]) -> dict[str, Any]:
    """A range as JSON has it."""
    if isinstance(values, list):
        return {"values": values}
    return {"low": values.low, "high": values.high, "log": values.log}


def at_the_end(values: Span | list[str], chosen: Any) -> bool:
    """Whether what a search chose is an end of its range, or within a twentieth of it: there may be better beyond."""
    if isinstance(values, Span):
        low, high, own = (math.log(each) if values.log else each for each in (values.low, values.high, float(chosen)))
        return not 0.05 <= (own - low) / (high - low) <= 0.95
    try:
        numbers = sorted(map(float, values))
    except ValueError:
        return False
    return len(numbers) > 2 and float(chosen) in (numbers[0], numbers[-1])


def winner(jobs: Mapping[Key, Job]) -> Key | None:
    """Which of some jobs has the lowest valid score; None while one is open, or where none has finished.

    Raises RequestError where they saw different data.
    """
    if not all(job.state in SETTLED for job in jobs.values()):
        return None
    check_one_corpus(jobs.values())
    done = {key: job.record for key, job in jobs.items() if job.state == "finished" and job.record}
    valid = {key: score(record.metrics, "valid") for key, record in done.items()}
    return min(valid, key=lambda key: valid[key], default=None)


def search(overrides: Sequence[str], budget: int, seeds: int, prune: bool = True) -> Search:
    """Draw the trials of every plan that `dropout=a,b` names, and check every run. Raises RequestError."""
    fixed, ranges = sweeps(overrides, [FACTOR])
    for key in ranges:
        if why := NOT_SEARCHED.get("seed" if key.startswith("seeds.") else key):
            raise RequestError(f"{key} cannot be searched: {why}.")
    if given := [each for each in fixed if each.startswith(f"{FACTOR}=")]:
        raise RequestError(f"{given[0]}: give a range, as {FACTOR}='interval({LOW:g},{HIGH:g})' or {FACTOR}=0.5,1,1.5.")
    plans = ranges.pop("dropout", None)
    if isinstance(plans, Span):
        raise RequestError("dropout is no number: name the plans, as dropout=naive,variational.")
    own = [[f"dropout={name}", *fixed] for name in plans] if plans else [fixed]
    first = [f"{key}={values[0]}" for key, values in ranges.items() if isinstance(values, list) and not _rule(key)]
    first = [each for each in first if not each.startswith(FACTOR)]
    configs = [compose([*each, *first]) for each in own]
    names = list(plans or [configs[0].dropout.name])
    _check_plans(names, configs)
    ranges = ranges or _default(names, configs)
    _check_factor(ranges, names, configs)
    studies = [
        Study(name, each, _live(ranges, name, config)) for name, each, config in zip(names, own, configs, strict=True)
    ]
    seed = configs[0].seed
    fixed_seeds = any(value is not None for config in configs for _, value in config.seeds)
    for study in studies:
        study.trials = list(_trials(study, seed, budget))
        folders = [trial.job.folder for trial in study.trials]
        _check_data(study)
        if seeds and fixed_seeds and any(_is_one_run(trial) for trial in study.trials):
            raise RequestError(
                f"{study.name}: one of its trials is the same run with every seed, so new seeds would only repeat it."
                " Leave out its seeds.* settings, or give --seeds 0."
            )
        for trial in study.trials:
            if prune and trial.job.config.label == TRIAL:  # else it is a run of the user's own, which nobody prunes
                trial.job.rivals = tuple(folder for folder in folders if folder != trial.job.folder)
    return Search(ranges, budget, seed, list(range(seed + 1, seed + 1 + seeds)), studies, prune)


def _is_one_run(trial: Trial) -> bool:
    return is_one_run(canonical(trial.job.config.model_dump(mode="json")))


def _check_data(study: Study) -> None:
    """Raise RequestError where a range changes what is read: the scores will have no common ranking."""
    first, *others = (
        {"task": trial.job.config.task, **trial.job.config.data.model_dump(exclude={"root"})} for trial in study.trials
    )
    if unlike := [key for key in first if any(each[key] != first[key] for each in others)]:
        raise RequestError(f"{', '.join(unlike)} cannot be searched: {NOT_SEARCHED['data']}.")


def _rule(key: str) -> str | None:
    """The location of a key that needs a rule there."""
    found = re.fullmatch(r"dropout\.(\w+)\.(?!kind$|varies$|also$)\w+", key)
    return found[1] if found else None


def _check_plans(names: Sequence[str], configs: Sequence[Config]) -> None:
    known: dict[str, str] = {}
    for name, config in zip(names, configs, strict=True):
        if (run := run_id(config)) in known:
            raise RequestError(f"dropout={known[run]} and dropout={name} are one plan here. Name it once.")
        known[run] = name


def _default(names: Sequence[str], configs: Sequence[Config]) -> Ranges:
    """The range of the factor where none is given: one for all plans, within what the highest rate of any bears."""
    highest = max((p for config in configs for p in rates(config)), default=None)
    if highest is None:
        raise RequestError(
            f"Nothing to search: dropout={','.join(names)} has no rates. Give a range, as"
            " trainer.learning_rate='interval(0.001,0.01)' or dropout.recurrent.p='interval(0,0.7)' with a kind."
        )
    return {FACTOR: Span(LOW, _top(highest))}


def _top(highest: float) -> float:
    """The highest factor of a rate, at most `HIGH`, in two decimals."""
    return min(HIGH, max(1.0, math.floor(100 * HIGHEST / highest) / 100))


def _check_factor(ranges: Ranges, names: Sequence[str], configs: Sequence[Config]) -> None:
    """Raise RequestError where the factor meets other ranges of rates, or makes no rates."""
    if FACTOR not in ranges:
        return
    if given := [key for key in ranges if _rule(key) and key.endswith(".p")]:
        raise RequestError(f"{FACTOR} multiplies every rate, and {given[0]} has a range of its own: give one of them.")
    of = ranges[FACTOR]
    try:
        low, high = (of.low, of.high) if isinstance(of, Span) else (min(map(float, of)), max(map(float, of)))
    except ValueError:
        raise RequestError(f"{FACTOR}={','.join(of)}: factors are numbers.") from None  # type: ignore[arg-type]
    if not (low > 0 and math.isfinite(high)):
        raise RequestError(f"{FACTOR}: a factor is a number above 0.")
    found = {name: max(rates(config), default=0.0) for name, config in zip(names, configs, strict=True)}
    name = max(found, key=lambda each: found[each])
    if found[name] * high >= 1:
        top = math.floor(100 * HIGHEST / found[name]) / 100
        raise RequestError(
            f"{FACTOR} up to {high:g}: dropout={name} has a rate of {found[name]:g}, which would be"
            f" {found[name] * high:g}. Give at most {top:g}, as {FACTOR}='interval({LOW:g},{top:g})'"
        )


def _live(ranges: Ranges, name: str, config: Config) -> Ranges:
    """The ranges that change something in a plan. Raises RequestError where it drops only where none of them acts."""
    rules = {place for place, rule in config.dropout if place != "name" and (rule.kind != "none" or rule.varies)}
    live: Ranges = {}
    for key, values in ranges.items():
        place = _rule(key)
        if place and rules and place not in rules:
            raise RequestError(
                f"dropout={name} has no rule at {place}: {key} would change nothing there, while the others are tuned."
                f" Search all rates of every plan by leaving the range out, or by {FACTOR}='interval({LOW:g},1.5)'; or"
                f" give dropout.{place}.kind=…"
            )
        if (place is None or rules) and not (key == FACTOR and not rates(config)):
            live[key] = values
    return live


def _trials(study: Study, seed: int, budget: int) -> Iterator[Trial]:
    """The first draws that are different runs, as many as the budget allows and the ranges have."""
    known: set[Path] = set()
    points: set[str] = set()
    lists = [values for values in study.ranges.values() if isinstance(values, list)]
    size = math.prod(map(len, lists)) if len(lists) == len(study.ranges) else math.inf
    repeated = 0
    for number in count():
        if len(known) == budget or len(points) == size or repeated == REPEATED:
            return
        params = {key: _draw(values, f"{seed} {key} {number}") for key, values in study.ranges.items()}
        repeated += 1
        if (point := json.dumps(params)) in points:
            continue
        points.add(point)
        job = _job(study, params)
        if job.folder not in known:
            repeated = 0
            job.name = f"{study.name} trial {len(known)}"
            yield Trial(len(known), params, job)
            known.add(job.folder)


def _draw(values: Span | list[str], about: str) -> Any:
    part = random.Random(about).random()
    return values[int(part * len(values))] if isinstance(values, list) else values.at(part)


def _job(study: Study, params: Mapping[str, Any]) -> Job:
    """The job of a trial."""
    overrides = [*study.overrides, *(f"{key}={value}" for key, value in params.items() if key != FACTOR)]
    if FACTOR in params:
        overrides += scaled(compose(overrides), float(params[FACTOR]))
    try:
        config = compose(overrides)
    except RequestError as error:
        raise RequestError(f"dropout={study.name}: {error}") from None
    folder = folder_of(config)
    label = label_of(folder)
    if label is None or is_trial(label):  # else somebody has begun it who did not search
        config = config.model_copy(update={"label": label or TRIAL})
    job = Job(overrides, config, folder)
    survey(job)
    return job


def fresh(overrides: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """The overrides that measure what a search chose, as a sweep takes them."""
    others = [each for each in overrides if key_of(each) != "seed"]
    return [*others, f"seed={','.join(map(str, seeds))}"]


def command(overrides: Sequence[str], seeds: Sequence[int]) -> str:
    """The same, to be typed."""
    return shlex.join(["rnndrop", "sweep", *fresh(overrides, seeds)])


def _fresh(name: str, overrides: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    *settings, _ = fresh(overrides, seeds)
    jobs = jobs_of([*settings, f"seed={seed}"] for seed in seeds)
    for job in jobs:
        job.name = f"{name} seed={job.config.seed}"
    return jobs
