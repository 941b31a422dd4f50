"""Where the spread between runs of one plan comes from: one source of chance varies, the others stay as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnndrop.config.compose import expand
from rnndrop.config.identity import canonical, key_of
from rnndrop.config.schema import Config
from rnndrop.config.tasks import score
from rnndrop.errors import RequestError
from rnndrop.stats import bootstrap, std_interval
from rnndrop.store.nll_blocks import read_stretches
from rnndrop.sweeps.scheduler import Job, check_one_corpus, jobs_of

SEEDS = "seed=range(5)"
SOURCES = {"init": "initial weights", "data": "order of the data", "masks": "masks"}
ALL, TEXT = "all", "test text"

Finished = Mapping[str, Sequence[tuple[float, Path]]]
"""By source, `ALL` among them: the test score and the folder of each finished run in which it varies."""


@dataclass(frozen=True)
class Source:
    """A source of chance, "all" of them, and the runs in which it varies: one job for each seed."""

    name: str
    jobs: list[Job]


@dataclass(frozen=True)
class Spread:
    """How far runs differ by a source: the std over `n` of ln test score, with its interval of 95 % (Gaussian).

    `share` is its variance over that of all seeds. Of the test text `std` is the bootstrap's, the mean over the runs,
    and there is no share: all runs read one text.
    """

    source: str
    n: int
    test: float | None
    std: float | None
    low: float | None
    high: float | None
    share: float | None


def sources(overrides: Sequence[str]) -> list[Source]:
    """The runs that show each source: those in which all vary first. The fixed ones have the first of the seeds.

    Raises RequestError for fewer than two seeds, where the settings are those of several configurations, and where
    nothing varies with the seed.
    """
    own = [*overrides, *([] if any(key_of(each) == "seed" for each in overrides) else [SEEDS])]
    jobs = jobs_of(expand(own))
    seeds = [job.config.seed for job in jobs]
    if len({job.folder.parent for job in jobs}) > 1 or len(set(seeds)) < 2:
        raise RequestError("This is for one configuration with two seeds or more. Give its settings and seed=range(5).")
    found, config, known = [Source(ALL, jobs)], jobs[0].config, {job.folder: job for job in jobs}
    free = [name for name in SOURCES if getattr(config.seeds, name) is None]
    if not (varying := _varying(config, free)):
        given = " ".join(f"seeds.{name}" for name in SOURCES if name not in free)
        raise RequestError(f"Nothing that is drawn here varies with the seed. Leave out one of these: {given}")
    for name in varying:
        fixed = [f"seeds.{other}={seeds[0]}" for other in free if other != name]
        varied = jobs_of(expand([*own, *fixed]))  # of the only source there is, they are the runs of all
        found.append(Source(name, [known.get(job.folder, job) for job in varied]))
    for source in found:
        for job in source.jobs:
            job.name = f"{SOURCES.get(source.name, source.name)}, seed={job.config.seed}"
    return found


def _varying(config: Config, free: Sequence[str]) -> list[str]:
    """Those of the `free` sources that draw something when all others have a seed of their own."""
    tree = config.model_dump(mode="json")
    alone = {name: {**tree, "seeds": dict.fromkeys(SOURCES, 0) | {name: None}} for name in free}
    return [name for name in free if f"seeds.{name}" in canonical(alone[name])]


def finished(found: Sequence[Source]) -> Finished:
    """The finished runs of each source. Raises RequestError where they saw different data."""
    check_one_corpus(job for source in found for job in source.jobs)
    return {
        source.name: [
            (score(job.record.metrics, "test"), job.folder)
            for job in source.jobs
            if job.record and job.record.status == "finished"
        ]
        for source in found
    }


def spreads(found: Finished) -> list[Spread]:
    """What finished runs show: all seeds, each source, and the test text."""
    whole = _spread(ALL, found[ALL], None)
    variance = None if whole.std is None else whole.std**2
    rows = [_spread(name, runs, variance) for name, runs in found.items() if name != ALL]
    return [whole, *rows, *_of_text(found[ALL])]


def _spread(name: str, runs: Sequence[tuple[float, Path]], variance: float | None) -> Spread:
    tests = [test for test, _ in runs]
    title = SOURCES.get(name, "all seeds")
    test = float(np.mean(tests)) if tests else None
    if any(test <= 0 for test in tests):
        raise RequestError(f"The spread is that of ln of the test score, and {min(tests):g} has none.")
    if len(tests) < 2:
        return Spread(title, len(tests), test, None, None, None, None)
    std = float(np.log(tests).std(ddof=1))
    low, high = std_interval(std, len(tests))
    share = None if not variance else std**2 / variance
    return Spread(title, len(tests), test, std, low, high, 1.0 if name == ALL else share)


def _of_text(runs: Sequence[tuple[float, Path]]) -> list[Spread]:
    """The spread over redrawn test texts, of a language model."""
    blocks = [read_stretches(folder) for _, folder in runs]
    stds = [
        float(bootstrap(sums, counts)[0].std(ddof=1)) for sums, counts in (each for each in blocks if each is not None)
    ]
    if not stds:
        return []
    std = math.sqrt(float(np.mean(np.square(stds))))
    return [Spread(TEXT, len(stds), None, std, None, None, None)]
