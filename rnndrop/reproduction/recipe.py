"""A reproduction: the rows of a published table, or of an ablation, as runs. `conf/reproduce/*.yaml` lists them.

No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rnndrop.config.compose import choices, compose, expand
from rnndrop.config.folders import file_of
from rnndrop.config.tasks import TASKS, TaskSpec
from rnndrop.errors import RequestError, unknown
from rnndrop.sweeps.factor import rates, scaled
from rnndrop.sweeps.scheduler import Job, jobs_of
from rnndrop.sweeps.tuning import winner
from rnndrop.values import Scale


class Row(BaseModel):
    """One row: the overrides that make it, and the `label` of the published rows that it stands beside.

    `source` says where those are, for a row that is not to be held to the reproduction's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: list[str]
    published: str | None = None
    source: str | None = None


class Published(BaseModel):
    """Which rows of `results/reference/*.csv` the rows' labels are looked up in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    data: str
    model: str


class Reproduction(BaseModel):
    """What `conf/reproduce/NAME.yaml` holds; `name` and `about` come from the file's name and opening comment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    rows: dict[str, Row]
    common: list[str] = []  # overrides of every row
    seeds: str = "range(3)"  # in Hydra's grammar
    small: list[str]  # what `--scale small` changes
    published: Published | None = None
    baseline: str | None = None  # the row that the others are compared with
    factors: list[float] = [1.0]  # of a row's rates: all are tried with `search_seed`, the best by valid is kept
    search_seed: int = 0  # chooses the rates, so it is none of the seeds that are reported
    notes: list[str] = []  # what the page of results says beside the numbers


@dataclass(frozen=True)
class Plan:
    """The jobs of one row for each of the factors that its rates can take.

    `jobs`: a list, one job a seed; `trials`: the one that tries the factor, with a seed of its own, so that no run
    that chose the rates is among those that are reported. Where nothing is searched there is none.
    """

    row: str
    jobs: dict[float, list[Job]]
    trials: dict[float, Job]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the row."""
        return [job.config.seed for job in next(iter(self.jobs.values()))]

    @property
    def task(self) -> TaskSpec:
        """What the row's runs are scored by."""
        return TASKS[next(iter(self.jobs.values()))[0].config.task]

    @property
    def search(self) -> list[Job]:
        """The jobs that decide on the rates."""
        return list(self.trials.values())

    @property
    def factor(self) -> float | None:
        """The factor with the lowest valid score; None while it is not known."""
        return winner(self.trials) if self.trials else next(iter(self.jobs))

    @property
    def chosen(self) -> list[Job]:
        """The jobs of the row, one a seed; empty while its rates are not known."""
        return [] if self.factor is None else self.jobs[self.factor]

    @property
    def every(self) -> list[Job]:
        """All jobs that there can be."""
        return [*self.search, *(job for jobs in self.jobs.values() for job in jobs)]


def load(name: str) -> Reproduction:
    """Read a reproduction. Raises RequestError, with a suggestion, where there is none of that name."""
    import yaml

    about = choices("reproduce")
    if name not in about:
        raise unknown("reproduction", name, about)
    file = file_of("reproduce", name)
    try:
        return Reproduction.model_validate({"name": name, "about": about[name], **yaml.safe_load(file.read_bytes())})
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise RequestError(f"{file}: {error}") from None


def label(name: str, scale: str) -> str:
    """What marks the runs of a reproduction: its name, and the scale where that is not the published one."""
    return name if scale == "full" else f"{name}-{scale}"


def plans(reproduction: Reproduction, scale: Scale, overrides: Sequence[str] = ()) -> list[Plan]:
    """The checked jobs of every row at a scale, with further overrides. Raises RequestError, also if rows coincide."""
    made = [_plan(reproduction, name, request) for name, request in requests(reproduction, scale, overrides).items()]
    owner: dict[Path, str] = {}
    for plan in made:
        for jobs in plan.jobs.values():
            if (other := owner.setdefault(jobs[0].folder, plan.row)) != plan.row:
                raise RequestError(f"{' '.join(overrides)}: with it the rows {other} and {plan.row} are the same run.")
    return made


def _plan(reproduction: Reproduction, row: str, request: list[str]) -> Plan:
    """The jobs of a row; `request` ends with its seeds."""
    *settings, seeds = request
    candidates = _candidates(reproduction.factors, settings)
    jobs = {factor: _jobs(row, factor, [*each, seeds]) for factor, each in candidates.items()}
    own = f"seed={reproduction.search_seed}"
    if len(reproduction.factors) > 1 and any(f"seed={job.config.seed}" == own for job in next(iter(jobs.values()))):
        raise RequestError(
            f"{own} chooses the rates of {reproduction.name}, so it is not one of the seeds that are reported.\n"
            f"Give others, such as 'seed={reproduction.seeds}'."
        )
    if len(candidates) == 1:
        return Plan(row, jobs, {})
    return Plan(row, jobs, {factor: _jobs(row, factor, [*each, own])[0] for factor, each in candidates.items()})


def requests(reproduction: Reproduction, scale: str, overrides: Sequence[str] = ()) -> dict[str, list[str]]:
    """The overrides of each row by its name, not yet expanded to one list a seed."""
    small = reproduction.small if scale == "small" else []
    made = {}
    for name, row in reproduction.rows.items():
        given = [*reproduction.common, *row.run, *small, *overrides]
        asked = [each for each in given if each.lstrip("+").startswith("seed=")]
        seed = asked[-1] if asked else f"seed={reproduction.seeds}"
        others = [each for each in given if each not in asked]
        made[name] = [f"label={label(reproduction.name, scale)}", *others, seed]
    return made


def _candidates(factors: Sequence[float], overrides: list[str]) -> dict[float, list[str]]:
    """The overrides with every rate of their plan times each factor; only once where the plan drops nothing."""
    config = compose(expand(overrides)[0])
    if not rates(config) or list(factors) == [1.0]:
        return {1.0: overrides}
    return {factor: [*overrides, *scaled(config, factor)] for factor in factors}


def _jobs(row: str, factor: float, overrides: list[str]) -> list[Job]:
    jobs = jobs_of(expand(overrides))
    if len({job.folder.parent for job in jobs}) > 1:
        raise RequestError(f"{row}: only the seed may take several values here; for a grid use `rnndrop sweep`.")
    for job in jobs:
        scaled = "" if factor == 1 else f" × {factor:g}"
        job.name = f"{row}{scaled}, seed={job.config.seed}"
    return jobs
