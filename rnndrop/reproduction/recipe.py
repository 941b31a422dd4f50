"""A reproduction: the rows of a published table, or of an ablation, as runs. `conf/reproduce/*.yaml` lists them.

No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from rnndrop.config.compose import choices, compose, expand, merged
from rnndrop.config.folders import file_of
from rnndrop.config.identity import key_of
from rnndrop.config.tasks import TaskSpec, task_spec
from rnndrop.errors import RequestError, unknown
from rnndrop.store.records import TRIAL
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


class Grid(BaseModel):
    """Rows that are all pairs of a cell and a plan, `CELL PLAN` by name: the overrides of each cell and each plan.

    Each override of `first` is tried with the baseline of every cell before all else: the best by valid, with
    `search_seed`, is what all rows of the cell have.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cells: dict[str, list[str]]
    plans: dict[str, list[str]]
    first: list[str] = []

    @property
    def rows(self) -> dict[str, Row]:
        """The rows, those of one cell after those of another."""
        pairs = product(self.cells.items(), self.plans.items())
        return {in_grid(cell, plan): Row(run=[*of_cell, *of_plan]) for (cell, of_cell), (plan, of_plan) in pairs}


def in_grid(cell: str, plan: str) -> str:
    """The name of a row of a grid."""
    return f"{cell} {plan}"


class Reproduction(BaseModel):
    """What `conf/reproduce/NAME.yaml` holds; `name` and `about` come from the file's name and opening comment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    rows: dict[str, Row] = {}
    grid: Grid | None = None  # in place of rows
    common: list[str] = []  # overrides of every row
    seeds: str = "range(3)"  # in Hydra's grammar
    small: list[str]  # what `--scale small` changes
    published: Published | None = None
    baseline: str | None = None  # the row that the others are compared with; in a grid the plan, with those of its cell
    factors: list[float] = [1.0]  # of a row's rates: all are tried with `search_seed`, the best by valid is kept
    search_seed: int = 0  # chooses the rates, so it is none of the seeds that are reported
    notes: list[str] = []  # what the page of results says beside the numbers

    @property
    def parts(self) -> list[list[str]]:
        """The rows that are searched and trained before others are begun: in a grid those of one cell."""
        if self.grid is None:
            return [list(self.rows)]
        return [[in_grid(cell, plan) for plan in self.grid.plans] for cell in self.grid.cells]

    @property
    def searches(self) -> bool:
        """Whether runs with `search_seed` choose settings of those that are reported."""
        return len(self.factors) > 1 or bool(self.grid and self.grid.first)

    @model_validator(mode="before")
    @classmethod
    def _grid_rows(cls, given: dict[str, Any]) -> dict[str, Any]:
        if ("rows" in given) == ("grid" in given):
            raise ValueError("give rows or a grid")
        if "rows" in given:
            return given
        grid = Grid.model_validate(given["grid"])
        if grid.first and given.get("baseline") not in grid.plans:
            raise ValueError("what is tried first needs a baseline, one of the grid's plans")
        return {**given, "rows": grid.rows}


@dataclass(frozen=True)
class Plan:
    """The jobs of one row for each of the factors that its rates can take.

    `jobs`: a list, one job a seed; `trials`: the one that tries the factor, with a seed of its own, so that no run
    that chose the rates is among those that are reported. Where nothing is searched there is none. `first`: those that
    choose what the rows of a grid's cell have in common, by override; while they do not, nothing of the row is known,
    and its jobs are those of the first override.
    """

    row: str
    jobs: dict[float, list[Job]]
    trials: dict[float, Job]
    first: dict[str, Job] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """The seeds of the row."""
        return [job.config.seed for job in next(iter(self.jobs.values()))]

    @property
    def task(self) -> TaskSpec:
        """What the row's runs are scored by."""
        return task_spec(next(iter(self.jobs.values()))[0].config.task)

    @property
    def begun(self) -> bool:
        """Whether it is known what the rows of its cell have in common."""
        return not self.first or winner(self.first) is not None

    @property
    def search(self) -> list[Job]:
        """The jobs that decide on the rates."""
        return list(self.trials.values()) if self.begun else []

    @property
    def factor(self) -> float | None:
        """The factor with the lowest valid score; None while it is not known."""
        if not self.begun:
            return None
        return winner(self.trials) if self.trials else next(iter(self.jobs))

    @property
    def chosen(self) -> list[Job]:
        """The jobs of the row, one a seed; empty while its rates are not known."""
        return [] if self.factor is None else self.jobs[self.factor]

    @property
    def every(self) -> list[Job]:
        """All jobs that there can be."""
        return [*self.first.values(), *self.trials.values(), *(job for jobs in self.jobs.values() for job in jobs)]


Request = tuple[list[str], list[str]]
"""The overrides of a row, and those that win over it and over what is tried first; the last are its seeds."""


def load(name: str) -> Reproduction:
    """Read a reproduction. Raises RequestError, with a suggestion, where there is none of that name."""
    import yaml

    _check_known(name)
    try:
        about = choices("reproduce")[name]
        return Reproduction.model_validate({"name": name, "about": about, **_content(name)})
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise RequestError(f"{file_of('reproduce', name)}: {error}") from None


def _content(name: str, within: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a file says, over what those say that its `defaults` name."""
    import yaml

    _check_known(name)
    if name in within:
        raise ValueError(f"its defaults lead back to {name}")
    own = yaml.safe_load(file_of("reproduce", name).read_bytes())
    others = own.pop("defaults", []) if isinstance(own, dict) else None
    if not isinstance(others, list):
        raise ValueError("a reproduction has keys, such as rows, and its defaults are a list, as [low_data, _self_]")
    before = [_content(each, (*within, name)) for each in others if each != "_self_"]
    return reduce(merged, [*before, own])


def _check_known(name: str) -> None:
    if name not in (known := choices("reproduce")):
        raise unknown("reproduction", name, known)


def label(name: str, scale: str) -> str:
    """What marks the runs of a reproduction: its name, and the scale where that is not the published one."""
    return name if scale == "full" else f"{name}-{scale}"


def plans(
    reproduction: Reproduction,
    scale: Scale,
    overrides: Sequence[str] = (),
    settle: Callable[[Sequence[Job]], None] = lambda jobs: None,
) -> list[Plan]:
    """The checked jobs of every row at a scale, with further overrides. Raises RequestError, also if rows coincide.

    `settle` gives the jobs that are tried first states from elsewhere than their folders.
    """
    asked = requests(reproduction, scale, overrides)
    made, tried = [], _first(reproduction, asked)
    settle([job for first in tried.values() for job in first.values()])
    for name, (before, after) in asked.items():
        first = tried.get(name, {})
        kept = [winner(first) or next(iter(first))] if first else []
        made.append(_plan(reproduction, name, [*before, *kept, *after], first))
    owner: dict[Path, str] = {}
    for plan in made:
        for jobs in plan.jobs.values():
            if (other := owner.setdefault(jobs[0].folder, plan.row)) != plan.row:
                given = f"{' '.join(overrides)}: with it " if overrides else f"{reproduction.name}: "
                raise RequestError(f"{given}the rows {other} and {plan.row} are the same run.")
    return made


def _first(reproduction: Reproduction, asked: Mapping[str, Request]) -> dict[str, dict[str, Job]]:
    """By row the jobs that choose what the rows of its cell have in common, by override; a cell's rows share them."""
    grid, baseline, seed = reproduction.grid, reproduction.baseline, f"seed={reproduction.search_seed}"
    found: dict[str, dict[str, Job]] = {}
    if grid is None or baseline is None or not grid.first:
        return found
    for cell in grid.cells:
        row = in_grid(cell, baseline)
        before, (*after, _) = asked[row]
        first = {each: _trial(row, 1.0, [*before, each, *after], seed) for each in grid.first}
        for each, job in first.items():
            job.name = f"{row}, {each}, {seed}"
        found |= {in_grid(cell, plan): first for plan in grid.plans}
    return found


def _plan(reproduction: Reproduction, row: str, request: list[str], first: dict[str, Job]) -> Plan:
    """The jobs of a row; `request` ends with its seeds."""
    *settings, seeds = request
    candidates = _candidates(reproduction.factors, settings)
    jobs = {factor: _jobs(row, factor, [*each, seeds]) for factor, each in candidates.items()}
    own = f"seed={reproduction.search_seed}"
    if reproduction.searches and any(f"seed={job.config.seed}" == own for job in next(iter(jobs.values()))):
        raise RequestError(
            f"{own} chooses the rates of {reproduction.name}, so it is not one of the seeds that are reported.\n"
            f"Give others, such as 'seed={reproduction.seeds}'."
        )
    if len(candidates) == 1:
        return Plan(row, jobs, {}, first)
    return Plan(row, jobs, {factor: _trial(row, factor, each, own) for factor, each in candidates.items()}, first)


def requests(reproduction: Reproduction, scale: str, overrides: Sequence[str] = ()) -> dict[str, Request]:
    """The overrides of each row by its name, not yet expanded to one list a seed."""
    small = reproduction.small if scale == "small" else []
    made = {}
    for name, row in reproduction.rows.items():
        own, further = [*reproduction.common, *row.run], [*small, *overrides]
        asked = [each for each in [*own, *further] if key_of(each) == "seed"]
        seed = asked[-1] if asked else f"seed={reproduction.seeds}"
        before, after = ([each for each in part if each not in asked] for part in (own, further))
        made[name] = [f"label={label(reproduction.name, scale)}", *before], [*after, seed]
    return made


def _candidates(factors: Sequence[float], overrides: list[str]) -> dict[float, list[str]]:
    """The overrides with every rate of their plan times each factor; only once where the plan drops nothing."""
    config = compose(expand(overrides)[0])
    if not rates(config) or list(factors) == [1.0]:
        return {1.0: overrides}
    return {factor: [*overrides, *scaled(config, factor)] for factor in factors}


def _trial(row: str, factor: float, settings: list[str], seed: str) -> Job:
    """The job that tries settings with the seed that chooses: a trial, which no report counts."""
    own = [f"label={TRIAL}-{each.removeprefix('label=')}" if each.startswith("label=") else each for each in settings]
    (job,) = _jobs(row, factor, [*own, seed])
    return job


def _jobs(row: str, factor: float, overrides: list[str]) -> list[Job]:
    jobs = jobs_of(expand(overrides))
    if len({job.folder.parent for job in jobs}) > 1:
        raise RequestError(f"{row}: only the seed may take several values here; for a grid use `rnndrop sweep`.")
    for job in jobs:
        scaled = "" if factor == 1 else f" × {factor:g}"
        job.name = f"{row}{scaled}, seed={job.config.seed}"
    return jobs
