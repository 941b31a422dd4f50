"""The text of `results/README.md`: the section of a reproduction, and that of any other CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from rnndrop.display.digits import plus_minus
from rnndrop.report.comparable import revision
from rnndrop.report.redefined import redefined
from rnndrop.reproduction import grid
from rnndrop.reproduction.measured import Measured
from rnndrop.reproduction.outcomes import HEADER, cells, notes
from rnndrop.reproduction.recipe import Grid

PLAIN = ("row", "factor of the rates", "n", "valid", "test", "train", "valid ÷ train", "last ÷ best")
CONVENTIONS = "../docs/guide/papers.md#conventions-that-the-numbers-depend-on"
_EVALUATED = "../docs/guide/papers.md#other-means-a-temperature-an-ensemble"
_ALT = {
    "curves": "Train and valid perplexity by epoch; the gap is shaded",
    "forest": "Differences from the baseline with their intervals",
}
_SPLITS = ("valid", "test", "train")


def section(measured: Measured) -> Iterator[str]:
    """The section of a reproduction at one scale, as parts of Markdown."""
    small = measured.scale == "small"
    yield f"## {measured.name}{', small scale' if small else ''}\n\n{measured.reproduction.about}\n"
    command = f"rnndrop reproduce {measured.name}{' --scale small' if small else ''}"
    if small:
        yield f"A reduction, not comparable with the published numbers: `{' '.join(measured.reproduction.small)}`\n"
    if measured.outcomes and measured.reproduction.published:
        yield table(HEADER, [cells(outcome) for outcome in measured.outcomes]) + "\n"
        yield from (f"{line}\n" for line in notes(measured.outcomes, f"[why]({CONVENTIONS})", {}))
    yield from _outdated(measured)
    if not measured.any:
        return
    yield from _in_grid(measured, measured.reproduction.grid) if measured.reproduction.grid else _by_row(measured)
    yield from _evaluations(measured)
    yield from (f"{note}\n" for note in measured.reproduction.notes)
    yield from _provenance(measured, command)


def _by_row(measured: Measured) -> Iterator[str]:
    """A line for each row, figures and the search."""
    yield table(*_ours(measured)) + "\n"
    if _metric(measured.compared) == "bits_per_character":
        yield "In bits per character; ratios and changes are of the perplexity, 2 to the bits.\n"
    yield "Means ± std over n seeds. Last ÷ best: how far valid perplexity rose after the best epoch.\n"
    if measured.reproduction.baseline in measured.rows:
        yield (
            f"Against {measured.reproduction.baseline}: change of test perplexity over all seeds, [95 %, Welch's t of "
            "the logarithms].\n"
        )
    if measured.lacking:
        yield f"Not yet measured: {', '.join(measured.lacking)}.\n"
    yield from (f"![{_ALT[figure.stem.rpartition('-')[2]]}]({figure})\n" for figure in measured.figures())
    yield from _search(measured)


def _in_grid(measured: Measured, of: Grid) -> Iterator[str]:
    """A column for each cell: the scores, what each plan changes, the search."""
    baseline, compared = measured.reproduction.baseline, "change" in measured.compared
    seeds = sorted({job.config.seed for jobs in measured.rows.values() for job in jobs})
    yield table(*grid.scores(measured, of)) + "\n"
    yield (
        f"Test perplexity, mean ± std over seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}; bold is "
        "the lowest of a cell.\n"
    )
    if compared:
        yield table(*grid.changes(measured, of)) + "\n"
        yield (
            f"Change of test perplexity against `{baseline}` of the same cell over all seeds, [95 %, Welch's t of the "
            "logarithms]. *Better* and *worse*: p < .05 after Holm's correction for the plans of the cell; *equal*: "
            f"the interval lies within 1 %. {grid.tally(measured)}.\n"
        )
    if measured.lacking:
        yield "Where nothing stands nothing is measured yet.\n"
    if any(plan.search for plan in measured.plans):
        tried = ", ".join(f"{each:g}" for each in measured.reproduction.factors)
        yield table(*grid.factors(measured, of)) + "\n"
        yield (
            f"The factor of all rates, of {tried}, with the lowest valid perplexity at seed "
            f"{measured.reproduction.search_seed}. No number above counts that seed. {grid.edges(measured)}\n"
        )
    if of.first:
        yield table(*grid.first(measured, of)) + "\n"
        yield (
            f"Tried before that: valid perplexity of `{baseline}` at seed {measured.reproduction.search_seed}; bold is "
            "what all plans of the cell have.\n"
        )


def _ours(measured: Measured) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Header and rows of our own numbers, the lowest test perplexity first."""
    compared = measured.compared
    factors = {plan.row: plan.factor for plan in measured.plans if plan.search}
    against = "change" in compared
    metric = _metric(compared)
    body: list[tuple[object, ...]] = []
    for row in compared.to_dict("records"):
        name = row["row"]
        metrics = [_mean(row[f"{split}_{metric}"], row[f"{split}_{metric}_std"]) for split in _SPLITS]
        gap = row["valid_perplexity"] / row["train_perplexity"]
        factor = f"{factors[name]:g}" if factors.get(name) is not None else "–"
        rise = measured.rise(row["run_id"])
        gaps = [f"{gap:.2f}", "" if rise is None else f"{100 * rise:+.1f} %"]
        body.append((f"`{name}`", factor, row["n"], *metrics, *gaps, *([grid.change(row)] if against else [])))
    header = (*PLAIN, f"against {measured.reproduction.baseline}") if against else PLAIN
    if not factors:
        return (PLAIN[0], *header[2:]), [(line[0], *line[2:]) for line in body]
    return header, body


def _metric(compared: pd.DataFrame) -> str:
    """What the rows are shown by: that of characters where there is any, as their papers do."""
    return "bits_per_character" if "test_bits_per_character" in compared else "perplexity"


def _search(measured: Measured) -> Iterator[str]:
    """How the rates were chosen."""
    searched = [plan for plan in measured.plans if plan.search and plan.row in measured.rows]
    if not searched:
        return
    yield (
        f"The search: valid perplexity of seed {measured.reproduction.search_seed} by the factor of all rates; bold is "
        "what was kept. The seed that chose is better by the choice: no row above counts it.\n"
    )
    factors = list(searched[0].jobs)
    body = []
    for plan in searched:
        shown = [grid.valid(plan.trials[factor]) for factor in factors]
        marked = [
            f"**{value}**" if factor == plan.factor else value for factor, value in zip(factors, shown, strict=True)
        ]
        body.append((f"`{plan.row}`", *marked))
    yield table(("row", *(f"× {factor:g}" for factor in factors)), body) + "\n"
    for end, word in ((max(factors), "largest"), (min(factors), "smallest")):
        if rows := [plan.row for plan in searched if plan.factor == end]:
            yield f"The {word} factor was best, and none beyond it was tried, for {', '.join(rows)}.\n"


def _evaluations(measured: Measured) -> Iterator[str]:
    """The same weights evaluated in several ways, the lowest valid perplexity first."""
    found = measured.named(measured.evaluated).sort_values(["row", "seed", "valid_perplexity"])
    if found.empty:
        return
    body = [
        (f"`{row['row']}`", row["seed"], row["evaluation"], *(
            _mean(row[f"{split}_perplexity"], row[f"{split}_perplexity_stderr"]) for split in ("valid", "test")
        ))
        for row in found.to_dict("records")
    ]  # fmt: skip
    yield table(("row", "seed", "the same weights, evaluated", "valid", "test"), body) + "\n"
    yield f"± standard error over the masks. [What the settings mean]({_EVALUATED}).\n"


def _provenance(measured: Measured, command: str) -> Iterator[str]:
    """Where the runs were computed."""
    counted = {(job.record.run_id, job.record.seed) for plan in measured.plans for job in plan.every if job.record}
    pairs = zip(measured.runs["identity"], measured.runs["seed"], strict=True)
    runs = measured.runs[[pair in counted for pair in pairs]]
    runs = runs.assign(precision=[settings["trainer.precision"] for settings in runs["settings"]])
    keys = ["hardware", "device", "threads", "precision", "torch", "git_revision", "git_dirty"]
    body = [
        (*key[:5], revision(*key[5:]), len(part), f"{part['train_seconds'].sum() / 3600:.1f}")
        for key, part in runs.groupby(keys, dropna=False)
    ]
    yield table(("hardware", "device", "threads", "precision", "torch", "revision", "runs", "hours"), body)
    yield f"\n`{command}` · runs: [{measured.name}.csv]({measured.name}.csv)\n"


def _outdated(measured: Measured) -> Iterator[str]:
    """The committed runs that no row counts, by what they were measured under."""
    runs = measured.outdated
    for reason, part in runs.groupby([redefined(run) for run in runs.to_dict("records")]):
        plans = ", ".join(f"{plan} ({count})" for plan, count in part["plan"].value_counts(sort=False).items())
        yield (
            f"Committed, but measured when {reason}, so not what its name means today and counted nowhere: {plans}.\n"
        )


def other(path: Path) -> Iterator[str]:
    """The part of a CSV that is no reproduction: mean ± std of its metrics over whatever tells its groups apart.

    Groups are of one corpus and of the same settings, where the CSV has them; runs that did not finish are in none.
    """
    rows = pd.read_csv(path)
    if "status" in rows:
        rows = rows[rows["status"] == "finished"]
    metrics = [
        name for name in rows.columns.astype(str) if name.endswith(("rmse", "rmse_mc", "perplexity", "perplexity_mc"))
    ]
    shown = ("task", "split", "data", "train_tokens", "model", "cell", "dropout", "plan")
    keys = [name for name in shown if name in rows]
    apart = [name for name in ("data_sha256", "settings") if name in rows]
    yield f"## {path.stem}\n"
    body = [
        (*key[: len(keys)], len(part), *(_mean(part[name].mean(), part[name].std()) for name in metrics))
        for key, part in rows.groupby([*keys, *apart], dropna=False)
    ]
    yield table((*keys, "n", *metrics), body) + f"\n\nRuns: [{path.name}]({path.name})\n"


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _mean(mean: float, std: float) -> str:
    return "" if pd.isna(mean) else plus_minus(mean, std)
