"""The page of results, `results/README.md`: a reproduction with its committed runs, its tables and its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from rnndrop.report import series
from rnndrop.report.comparable import revision
from rnndrop.report.compare import compare
from rnndrop.report.reproduced import HEADER, Outcome, cells, outcomes, settle
from rnndrop.report.results import read
from rnndrop.reproduction import Plan, Reproduction, load, plans
from rnndrop.sweep import Job

PLAIN = ("row", "factor of the rates", "n", "valid", "test", "train", "valid ÷ train")


@dataclass
class Measured:
    """A reproduction at a scale, with what `results/NAME.csv` and `results/history/NAME.csv` have of it."""

    reproduction: Reproduction
    scale: str
    plans: list[Plan]
    runs: pd.DataFrame
    history: pd.DataFrame

    @classmethod
    def read(cls, results: Path, name: str, scale: str) -> Measured:
        """The plans of a reproduction, their jobs settled by the committed runs alone."""
        reproduction, path = load(name), results / f"{name}.csv"
        runs = read(path) if path.exists() else pd.DataFrame({"identity": [], "seed": []})
        default = {job.config.seed for job in next(iter(plans(reproduction, scale)[0].jobs.values()))}
        seeds = sorted(default | {int(seed) for seed in runs["seed"]})
        table_ = plans(reproduction, scale, [f"seed={','.join(map(str, seeds))}"])
        settle(table_, runs)
        history = results / "history" / f"{name}.csv"
        epochs = pd.read_csv(history, dtype={"run_id": str}) if history.exists() else pd.DataFrame({"run_id": []})
        return cls(reproduction, scale, table_, runs, epochs)

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
        measured = {row: [job.record.metrics for job in jobs if job.record] for row, jobs in self.rows.items()}
        return outcomes(self.reproduction, self.scale, measured)

    def section(self) -> Iterator[str]:
        """Its part of the page."""
        small = self.scale == "small"
        yield f"## {self.name}{', small scale' if small else ''}\n\n{self.reproduction.about}\n"
        command = f"rnndrop reproduce {self.name}{' --scale small' if small else ''}"
        if small:
            yield f"A reduction, not comparable with the published numbers: `{' '.join(self.reproduction.small)}`\n"
        if not self.any:
            yield f"**Not yet measured.** `{command}`\n"
        if self.outcomes and self.reproduction.published:
            yield table(HEADER, [cells(outcome) for outcome in self.outcomes]) + "\n"
        if not self.any:
            return
        yield table(*self._ours()) + "\n"
        if self.reproduction.baseline in self.rows:
            yield (
                f"Against {self.reproduction.baseline}: change of test perplexity paired by seed, [95 % t interval of "
                "the mean log-ratio]. Means ± std over n seeds.\n"
            )
        if self.lacking:
            yield f"Not yet measured: {', '.join(self.lacking)}.\n"
        yield from (f"![{_ALT[figure.stem.rpartition('-')[2]]}]({figure})\n" for figure in self.figures())
        yield from self._search()
        yield from self._provenance(command)

    def _ours(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Header and rows of our own numbers, the lowest test perplexity first."""
        compared = self._compared()
        factors = {plan.row: plan.factor for plan in self.plans if plan.search}
        against = "change" in compared
        body: list[tuple[object, ...]] = []
        for row in compared.to_dict("records"):
            name = row["row"]
            metrics = [_mean(row[f"{split}_perplexity"], row[f"{split}_perplexity_std"]) for split in _SPLITS]
            gap = row["valid_perplexity"] / row["train_perplexity"]
            factor = f"{factors[name]:g}" if factors.get(name) is not None else "–"
            body.append((f"`{name}`", factor, row["n"], *metrics, f"{gap:.2f}", *([_change(row)] if against else [])))
        header = (*PLAIN, f"against {self.reproduction.baseline}") if against else PLAIN
        if not factors:
            return (PLAIN[0], *header[2:]), [(line[0], *line[2:]) for line in body]
        return header, body

    def _compared(self) -> pd.DataFrame:
        """The comparison of the chosen runs, with the name of each `row`."""
        row_of = {job.folder.parent.name: row for row, jobs in self.rows.items() for job in jobs}
        ids = {(job.folder.parent.name, job.config.seed) for jobs in self.rows.values() for job in jobs}
        keys = zip(self.runs["identity"], self.runs["seed"], strict=True)
        runs = self.runs[[key in ids for key in keys]]
        names = {run: row_of[identity] for run, identity in zip(runs["run_id"], runs["identity"], strict=True)}
        baseline = next((run for run, row in names.items() if row == self.reproduction.baseline), None)
        found = compare(runs, baseline=baseline if len(names) > 1 else None)
        return found.assign(row=[names[run] for run in found["run_id"]])

    def _search(self) -> Iterator[str]:
        """How the rates were chosen."""
        searched = [plan for plan in self.plans if plan.search and plan.row in self.rows]
        if not searched:
            return
        yield "The search: valid perplexity of the first seed by the factor of all rates; bold is what was kept.\n"
        factors = list(searched[0].jobs)
        body = []
        for plan in searched:
            shown = [_valid(plan.jobs[factor][0]) for factor in factors]
            marked = [
                f"**{value}**" if factor == plan.factor else value for factor, value in zip(factors, shown, strict=True)
            ]
            body.append((f"`{plan.row}`", *marked))
        yield table(("row", *(f"× {factor:g}" for factor in factors)), body) + "\n"

    def _provenance(self, command: str) -> Iterator[str]:
        """Where the runs were computed."""
        ids = {jobs[0].folder.parent.name for plan in self.plans for jobs in plan.jobs.values()}
        runs = self.runs[self.runs["identity"].isin(ids)]
        keys = ["hardware", "device", "threads", "torch", "git_revision", "git_dirty"]
        body = [
            (*key[:4], revision(*key[4:]), len(part), f"{part['train_seconds'].sum() / 3600:.1f}")
            for key, part in runs.groupby(keys, dropna=False)
        ]
        yield table(("hardware", "device", "threads", "torch", "revision", "runs", "hours"), body)
        yield f"\n`{command}` · runs: [{self.name}.csv]({self.name}.csv)\n"

    def figures(self) -> list[Path]:
        """The figures of its section, relative to the results."""
        if not self.any:
            return []
        stem = self.name if self.scale == "full" else f"{self.name}-small"
        kinds = ["curves"] if self.history["run_id"].isin(self._compared()["run_id"]).any() else []
        kinds += ["forest"] if self.reproduction.baseline in self.rows and len(self.rows) > 1 else []
        return [Path("figures") / f"{stem}-{kind}.svg" for kind in kinds]

    def draw(self, results: Path) -> None:
        """Write its figures."""
        from rnndrop.report import figures

        for path in self.figures():
            (results / path).parent.mkdir(exist_ok=True)
            compared = self._compared()
            if path.stem.endswith("-curves"):
                figure = figures.draw_curves(self._curves(compared))
            else:
                figure = figures.forest(compared.assign(dropout=compared["row"]), self.runs, "test_perplexity")
            figures.save(figure, results / path)

    def _curves(self, compared: pd.DataFrame) -> list[series.Curve]:
        made = []
        for run, row in zip(compared["run_id"], compared["row"], strict=True):
            epochs = self.history[self.history["run_id"] == run]
            if len(epochs):
                made.append(series.curve(row, [part.to_dict("records") for _, part in epochs.groupby("seed")]))
        return made


_ALT = {
    "curves": "Train and valid perplexity by epoch; the gap is shaded",
    "forest": "Differences from the baseline with their intervals",
}
_SPLITS = ("valid", "test", "train")


def other(path: Path) -> Iterator[str]:
    """The part of a CSV that is no reproduction: mean ± std of its metrics over whatever tells its groups apart."""
    rows = pd.read_csv(path)
    metrics = [
        name for name in rows.columns.astype(str) if name.endswith(("rmse", "rmse_mc", "perplexity", "perplexity_mc"))
    ]
    keys = [name for name in ("task", "split", "model", "cell", "dropout", "plan") if name in rows]
    yield f"## {path.stem}\n"
    body = [
        (*key, len(part), *(_mean(part[name].mean(), part[name].std(), 4) for name in metrics))
        for key, part in rows.groupby(keys, dropna=False)
    ]
    yield table((*keys, "n", *metrics), body) + f"\n\nRuns: [{path.name}]({path.name})\n"


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _mean(mean: float, std: float, digits: int = 1) -> str:
    if pd.isna(mean):
        return ""
    return f"{mean:.{digits}f}" if pd.isna(std) else f"{mean:.{digits}f} ± {std:.{digits}f}"


def _valid(job: Job) -> str:
    return f"{job.record.metrics['valid_perplexity']:.1f}" if job.record and job.state == "finished" else job.state


def _change(row: Mapping[Any, Any]) -> str:
    change, low, high = (row[name] for name in ("change", "change_low", "change_high"))
    if pd.isna(change):
        return "–"
    bounds = "" if pd.isna(low) else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{100 * change:+.1f} %{bounds}"
