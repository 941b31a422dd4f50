"""A sweep: every run of a grid, checked before the first starts, finished ones skipped, failures kept apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnndrop.compose import compose, expand
from rnndrop.config import Config, run_id
from rnndrop.progress import Watcher
from rnndrop.records import Record, run_folder


@dataclass
class Job:
    """One run of a sweep; `record` is None until it has run."""

    overrides: list[str]
    config: Config
    folder: Path
    record: Record | None = None


def plan_jobs(overrides: Sequence[str]) -> list[Job]:
    """Compose and check every run of a grid; runs that are the same appear once. Raises RequestError."""
    jobs: dict[Path, Job] = {}
    for each in expand(overrides):
        config = compose(each)
        folder = run_folder(config.output, run_id(config), config.seed)
        jobs.setdefault(folder, Job(each, config, folder))
    return list(jobs.values())


def run_jobs(jobs: Sequence[Job], watch: Watcher, force: bool = False) -> Iterator[Job]:
    """Run the jobs one after the other; yield each when its record is there."""
    from rnndrop.experiment import run_one

    for job in jobs:
        job.record = run_one(job.config, job.overrides, watch, force)
        yield job
