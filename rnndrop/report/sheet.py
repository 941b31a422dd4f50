"""A comparison laid out for people: the constants, the columns, the cells as text. How it is drawn: tables.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from rnndrop.report.comparable import caveats, count, revision
from rnndrop.report.compare import UNFINISHED, settings_columns
from rnndrop.report.published import note
from rnndrop.stats import stars
from rnndrop.task import TASKS, task_by_metric

_SHORT = {"test": "test", "valid": "valid", "train": "train", "test_mc": "test MC", "valid_mc": "valid MC"}
SHORT = {
    f"{split}_{task.metric}{mc}": header
    for task in TASKS.values()
    for name, header in _SHORT.items()
    for split, _, mc in [name.replace("_mc", " _mc").partition(" ")]
}
"""The headers of `METRICS`."""
FAILURES_NAMED = 3


@dataclass(frozen=True)
class Column:
    """A column: where `keep` is lowest it goes first when there is no room; 0 never goes. `key` is what it sorts by."""

    header: str
    keep: int
    text: Callable[[Any], str]
    left: bool = False
    key: str = "dropout"


@dataclass
class Row:
    """The cells in the order of the columns; `tone` is best, worst, floor, failed, published or empty.

    `values` is what the cells sort by, and `run_id` the group's; both are empty for the floor.
    """

    cells: list[str]
    tone: str = ""
    values: list[Any] = field(default_factory=list)
    run_id: str | None = None


@dataclass
class Sheet:
    """The comparison of one corpus."""

    constants: str
    columns: list[Column]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def sheets(table: pd.DataFrame, runs: pd.DataFrame, metric: str, only_changed: bool = False) -> list[Sheet]:
    """One sheet for each corpus of a comparison: perplexities on different data have no common ranking."""
    made = []
    for sha, part in table.groupby("data_sha256", sort=False, dropna=False):
        own = runs[runs["run_id"].isin(part["run_id"])]
        own = own[own["data_sha256"].isna() if pd.isna(sha) else own["data_sha256"] == sha]
        made.append(_sheet(part, own, metric, only_changed))
    if len(made) > 1:
        made[-1].notes.append(f"{len(made)} tables: these runs saw different data, so they have no common ranking")
    return made


def _sheet(part: pd.DataFrame, runs: pd.DataFrame, metric: str, only_changed: bool) -> Sheet:
    ours = part[part["source"].isna()] if "source" in part else part
    varied = settings_columns(ours)
    columns = _columns(ours, varied, metric, only_changed)
    finished = ours[ours["n"] > 0]
    best, worst = finished[metric].min(), finished[metric].max()
    rows = []
    for row in part.to_dict("records"):
        value = row[metric]
        tone = "best" if value == best else "worst" if value == worst else "" if row["n"] else "failed"
        if isinstance(row.get("source"), str):
            tone = "published"
        cells, values = [column.text(row) for column in columns], [row.get(column.key) for column in columns]
        rows.append(Row(cells, tone, values, None if tone == "published" else row["run_id"]))
    if (floor := _floor(ours, columns)) is not None:
        rows.append(floor)
    constants = "" if only_changed else _constants(ours, varied, runs)
    return Sheet(constants, columns, rows, _notes(part, ours, metric), [*caveats(runs), *failures(runs, ours)])


def _columns(part: pd.DataFrame, varied: list[str], metric: str, only_changed: bool) -> list[Column]:
    """What to show, leftmost first."""
    columns = [Column("dropout", 0, lambda row: row["dropout"], left=True)]
    if part["model"].nunique() > 1:
        columns.append(Column("model", 0, lambda row: _word(row["model"]), left=True, key="model"))
    short = [name.rpartition(".")[2] for name in varied]
    for name, brief in zip(varied, short, strict=True):
        header = brief if short.count(brief) == 1 else name
        columns.append(Column(header, 8, _setting(name), key=name))
    columns.append(Column("n", 0, _seeds, key="n"))
    shown = [name for name in SHORT if name in part and (part[name].notna().any() or name == metric)]
    for name in sorted(shown, key=lambda name: ["valid", "test", "test MC", "valid MC", "train"].index(SHORT[name])):
        keep = 0 if name == metric else {"valid": 7, "test": 6}.get(SHORT[name], 5)
        columns.append(Column(SHORT[name], keep, _score(name, ranked=name == metric), key=name))
    if "change" in part:
        columns.append(Column("against baseline", 0, _change, left=True, key="change"))
    if "test_low" in part:
        columns.append(
            Column("test set 95 %", 4, lambda row: _bounds(row["test_low"], row["test_high"]), key="test_low")
        )
    numbers: list[tuple[str, str, int, Callable[[float], str]]] = [
        ("params", "parameters", 2, count),
        ("epoch", "best_epoch", 1, lambda value: f"{value:.0f}"),
        ("time", "train_seconds", 3, _duration),
        ("tok/s", "tokens_per_second", 2, count),
    ]
    for header, name, keep, text in numbers:
        constant = part[name].nunique() <= 1
        if part[name].notna().any() and not (constant and (only_changed or name == "parameters")):
            columns.append(Column(header, keep, _number(name, text), key=name))
    return [*columns, Column("run", 1, lambda row: _word(row["run_id"]), left=True, key="run_id")]


def _word(value: object) -> str:
    return "" if value is None or value is pd.NA or value != value else str(value)


def _setting(name: str) -> Callable[[Any], str]:
    return lambda row: _word(row[name])


def _number(name: str, text: Callable[[float], str]) -> Callable[[Any], str]:
    return lambda row: "" if pd.isna(row[name]) else text(row[name])


def _score(name: str, ranked: bool) -> Callable[[Any], str]:
    def text(row: Any) -> str:
        value, std = row[name], row[f"{name}_std"]
        if pd.isna(value):
            return _state(row) if ranked and not row["n"] else ""
        digits = task_by_metric(name).digits
        shown = decimal(value, digits) if pd.isna(std) else f"{decimal(value, digits)} ± {std:.{digits}f}"
        return f"{shown} ({row['ratio']:.2f})" if ranked and not pd.isna(row["ratio"]) else shown

    return text


def decimal(value: float, digits: int = 1) -> str:
    """One decimal (or `digits`), and none where five digits stand before it."""
    return f"{value:.{digits}f}" if value < 9999.95 else f"{value:.3g}"


def _seeds(row: Any) -> str:
    if isinstance(row.get("source"), str):
        return ""
    lost = sum(row[status] for status in UNFINISHED)
    shown = f"{row['n']}/{row['n'] + lost}" if lost else str(row["n"])
    return shown if row["n"] >= 3 else f"{shown} †"


def _state(row: Any) -> str:
    return next((status for status in UNFINISHED if row.get(status)), "")


def _change(row: Any) -> str:
    if not isinstance(row["baseline"], str) or pd.isna(row["change"]):
        return "—" if row["n"] else ""
    shown = f"{signed(row['change'])} %"
    if pd.isna(row["change_low"]):
        return shown
    bounds = f"[{signed(row['change_low'])}, {signed(row['change_high'])}]"
    return f"{shown} {bounds} {stars(row['p_holm'])}".rstrip()


def title(metric: str) -> str:
    """A metric in words: test perplexity, valid MC RMSE."""
    return f"{SHORT[metric]} {task_by_metric(metric).title}"


def signed(fraction: float) -> str:
    """A fraction in per cent with its sign: −13.2."""
    return f"{100 * fraction:+.1f}".replace("-", "−")


def _bounds(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"[{decimal(low)}, {decimal(high)}]"


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.1f} h"


def _floor(part: pd.DataFrame, columns: list[Column]) -> Row | None:
    """The source's own perplexity, which no model passes; for synthetic corpora only."""
    floors = {"test": part["floor_perplexity"].dropna(), "valid": part["floor_perplexity_valid"].dropna()}
    if not any(map(len, floors.values())):
        return None
    text = {name: decimal(values.iloc[0]) for name, values in floors.items() if len(values)}
    words = {"dropout": "floor", **text, **{f"{name} MC": value for name, value in text.items()}}
    return Row([words.get(column.header, "") for column in columns], "floor")


def _constants(part: pd.DataFrame, varied: list[str], runs: pd.DataFrame) -> str:
    """What all rows share, on one line above the table."""
    words = [f"data={part['data'].iloc[0]}"]
    if part["model"].nunique() == 1:
        words.append(f"model={part['model'].iloc[0]}")
    if part["parameters"].nunique() == 1:
        words.append(f"{count(part['parameters'].dropna().iloc[0])} parameters")
    settings = part["settings"].iloc[0]
    if "trainer.epochs" in settings and "trainer.epochs" not in varied:
        words.append(f"{settings['trainer.epochs']} epochs")
    if len(devices := runs["device"].dropna().unique()) == 1:
        words.append(str(devices[0]))
    if len(labels := runs["label"].dropna().unique()) == 1:
        words.append(f"label={labels[0]}")
    commits = {revision(*pair) for pair in zip(runs["git_revision"], runs["git_dirty"], strict=True)}
    if len(commits) == 1:
        words.append(f"rev {commits.pop()}")
    return "all runs: " + " · ".join(words)


def _notes(part: pd.DataFrame, ours: pd.DataFrame, metric: str) -> list[str]:
    """How to read the table."""
    words = []
    if (ours["n"] > 1).any():
        words.append("± std over n seeds")
    words.append(f"(ratio to the best {SHORT[metric]})")
    if ours["floor_perplexity"].notna().any():
        words.append("floor: the source's own perplexity")
    if metric.split("_")[1] == "rmse":
        words.append("RMSE in units of the ratings")
    notes = [" · ".join(words)]
    if "change" in ours and (tests := int(ours["p_holm"].notna().sum())):
        name = ours.loc[ours["run_id"].isin(ours["baseline"].dropna()), "dropout"].iloc[0]
        notes.append(
            f"against {name}: change of {title(metric)} paired by seed "
            f"[95 % t interval of the mean log-ratio], "
            f"* p<.05 ** p<.01 *** p<.001, Holm-corrected over {tests} comparison{'s' * (tests > 1)}"
        )
    if "test_low" in ours:
        notes.append("test set 95 %: bootstrap over blocks of the test set, seeds averaged")
    if (ours["n"] < 3).any():
        notes.append("† fewer than 3 seeds: a std or an interval of so few says little")
    if "source" in part and part["source"].notna().any():
        notes.append(note(part))
    return notes


def failures(runs: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """The runs that did not finish, the first few by their name in the comparison."""
    lost = runs[runs["status"] != "finished"]
    names = dict(zip(table["run_id"], table["dropout"], strict=True))
    named = [
        f"{run.status}: {names.get(run.run_id)} seed {run.seed}   {run.folder}"
        for run in lost.head(FAILURES_NAMED).itertuples()
    ]
    more = len(lost) - FAILURES_NAMED
    return (
        [*named, f"and {more} more that did not finish: --where status!=finished --format csv"] if more > 0 else named
    )
