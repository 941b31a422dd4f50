"""A reproduction with the runs of it that are committed in `results/`, and their figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import pandas as pd

from rnndrop.config.compose import choices
from rnndrop.report import series
from rnndrop.report.committed import EVALUATION, HISTORY, read
from rnndrop.report.compare import compare
from rnndrop.report.redefined import redefined
from rnndrop.reproduction.outcomes import Outcome, metrics, outcomes, settle
from rnndrop.reproduction.recipe import Plan, Reproduction, in_grid, label, load, plans
from rnndrop.sweeps.scheduler import Job
from rnndrop.values import Scale


@dataclass
class Measured:
    """A reproduction at a scale, with what `results/NAME.csv` and `results/history/NAME.csv` have of it.

    `evaluated`: the ways in which the weights of its runs were evaluated, of `results/evaluations/NAME.csv`.
    `outdated`: the committed runs that no row counts, since what they were run with means something else by now.
    """

    reproduction: Reproduction
    scale: Scale
    plans: list[Plan]
    runs: pd.DataFrame
    history: pd.DataFrame
    outdated: pd.DataFrame
    evaluated: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=EVALUATION))

    @classmethod
    def read(cls, results: Path, name: str, scale: Scale) -> Measured:
        """The plans of a reproduction, their jobs settled by the committed runs alone."""
        reproduction, path = load(name), results / f"{name}.csv"
        runs = read(path) if path.exists() else pd.DataFrame({"identity": [], "float32_id": [], "seed": []})
        old = pd.Series([redefined(run) is not None for run in runs.to_dict("records")], index=runs.index, dtype=bool)
        runs, outdated = runs[~old], runs[old]
        default = set(plans(reproduction, scale)[0].seeds)
        searched = {reproduction.search_seed} if reproduction.searches else set()
        seeds = sorted((default | {int(seed) for seed in runs["seed"]}) - searched)
        settled = partial(settle, runs=runs)
        table_ = plans(reproduction, scale, [f"seed={','.join(map(str, seeds))}"], settled)
        settled(job for plan in table_ for job in plan.every)
        history = results / "history" / f"{name}.csv"
        epochs = pd.read_csv(history, dtype={"run_id": str}) if history.exists() else pd.DataFrame(columns=HISTORY)
        ways = results / "evaluations" / f"{name}.csv"
        others = {"evaluated": pd.read_csv(ways, dtype={"run_id": str})} if ways.exists() else {}
        return cls(reproduction, scale, table_, runs, epochs, outdated, **others)

    @property
    def name(self) -> str:
        """Of the reproduction."""
        return self.reproduction.name

    @cached_property
    def rows(self) -> dict[str, list[Job]]:
        """The finished jobs of each row that has any, one a seed."""
        done = {plan.row: [job for job in plan.chosen if job.state == "finished"] for plan in self.plans}
        return {row: jobs for row, jobs in done.items() if jobs}

    @property
    def any(self) -> bool:
        """Whether anything is measured."""
        return bool(self.rows)

    @property
    def lacking(self) -> list[str]:
        """The rows that nothing is measured of."""
        return [plan.row for plan in self.plans if plan.row not in self.rows]

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Ours beside the published."""
        return outcomes(self.reproduction, self.scale, metrics(self.plans), task=self.plans[0].task)

    @cached_property
    def compared(self) -> pd.DataFrame:
        """The comparison of the rows' runs, the lowest test perplexity first, with the name of each `row`.

        Runs of one row are one group, whichever precision they have and whichever version of the program named them.
        In a grid each cell is compared by itself: its rows with its own baseline, and corrected for these alone.
        """
        runs = self._counted.assign(run_id=self._counted["float32_id"]).drop_duplicates(["run_id", "seed"], keep="last")
        if (grid := self.reproduction.grid) is None:
            return self._compared(runs, self.reproduction.baseline)
        row_of = {in_grid(cell, plan): cell for cell in grid.cells for plan in grid.plans}
        parts = [
            self._compared(part, self.reproduction.baseline and in_grid(cell, self.reproduction.baseline))
            for cell, part in runs.groupby(runs["row"].map(row_of), sort=False)
        ]
        return pd.concat(parts, ignore_index=True)

    def _compared(self, runs: pd.DataFrame, baseline: str | None) -> pd.DataFrame:
        rows = set(runs["row"])
        return compare(runs, baseline=baseline if baseline in rows and len(rows) > 1 else None)

    def named(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Those of `runs` that a row counts, with its name as `row`: no run of a search is among them."""
        counted = [(row, job.record) for row, jobs in self.rows.items() for job in jobs if job.record]
        row_of = {(record.run_id, record.seed): row for row, record in counted}
        rows = [row_of.get(key) for key in zip(runs["run_id"], runs["seed"], strict=True)]
        return runs.assign(row=pd.Series(rows, index=runs.index, dtype="string")).dropna(subset=["row"])

    def figures(self) -> list[Path]:
        """The figures of its section, relative to the results."""
        if not self.any or self.reproduction.grid:
            return []
        kinds = ["curves"] if self._curves() else []
        kinds += ["forest"] if self.reproduction.baseline in self.rows and len(self.rows) > 1 else []
        return [Path("figures") / f"{label(self.name, self.scale)}-{kind}.svg" for kind in kinds]

    def draw(self, results: Path) -> None:
        """Write its figures."""
        from rnndrop.report import figures

        for path in self.figures():
            (results / path).parent.mkdir(exist_ok=True)
            if path.stem.endswith("-curves"):
                figure = figures.draw_curves(self._curves())
            else:
                figure = figures.forest(self.compared, self.runs, "test_perplexity")
            figures.save(figure, results / path)

    @cached_property
    def _counted(self) -> pd.DataFrame:
        """The runs of the rows by their run ids of today; the `recorded` one is as it was."""
        return self.named(self.runs.assign(run_id=self.runs["identity"], recorded=self.runs["run_id"]))

    def rise(self, identity: str) -> float | None:
        """How far valid perplexity rose after the best epoch, last ÷ best - 1, the mean over a row's seeds."""
        seeds = self._epochs(identity).groupby("seed")["valid_perplexity"]
        return float((seeds.last() / seeds.min() - 1).mean()) if len(seeds) else None

    def _epochs(self, identity: str) -> pd.DataFrame:
        """The epochs of every seed of a row, by its run id in float32."""
        runs = self._counted[self._counted["float32_id"] == identity]
        return self.history.merge(runs[["recorded", "seed"]], left_on=["run_id", "seed"], right_on=["recorded", "seed"])

    def _curves(self) -> list[series.Curve]:
        made = []
        for identity, row in zip(self.compared["run_id"], self.compared["row"], strict=True):
            if len(epochs := self._epochs(identity)):
                seeds = [part.to_dict("records") for _, part in epochs.groupby("seed")]
                made.append(
                    series.curve(row, [[{str(k): v for k, v in each.items()} for each in one] for one in seeds])
                )
        return made


def named(runs: pd.DataFrame, file: Path) -> pd.DataFrame:
    """`runs`, those of the CSV `file` named and chosen as the reproduction does that the file is called after."""
    measured = Measured.read(file.parent, file.stem, "full") if file.stem in choices("reproduce") else None
    if measured is None or not measured.any:
        return runs
    own = runs["folder"].str.startswith(f"{file}/")
    return pd.concat([runs[~own], measured.named(runs[own])]).sort_index()
