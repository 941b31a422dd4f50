"""A comparison laid out for people: the constants, the columns, the cells as text. How it is drawn: tables.py."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from rnndrop.config.identity import of_identity, shown_digits
from rnndrop.config.metrics import MEASURED, every, metric_of, mode_of
from rnndrop.config.metrics import columns as scores
from rnndrop.config.tasks import task_by_metric
from rnndrop.display.digits import as_printed, count, number, plus_minus
from rnndrop.paths import OUTPUT
from rnndrop.report import series
from rnndrop.report.comparable import caveats, measured, revision
from rnndrop.report.compare import UNFINISHED, placed, settings_columns
from rnndrop.report.published import note
from rnndrop.report.settings import brief
from rnndrop.stats import stars
from rnndrop.store.records import TEST_NLL

_PLACES = {
    "valid": 7, "test": 6, **{f"{split} {title}": 5 for title in MEASURED.values() for split in ("test", "valid")},
    "train": 5,
}  # fmt: skip
"""The columns of a score from left to right, and how long each is kept where there is no room."""
FAILURES_NAMED = 5


def header(name: str) -> str:
    """The header of a metric's column: test, test MC, test bits."""
    return f"{_place(name)} {metric_of(name).header}".rstrip()


def _place(name: str) -> str:
    """Where a metric's column stands: beside that of the task's score."""
    split, mode = name.partition("_")[0], mode_of(name)
    return f"{split} {MEASURED[mode]}" if mode else split


@dataclass(frozen=True)
class Column:
    """A column: where `keep` is lowest it goes first when there is no room; 0 never goes. `key` is what it sorts by."""

    header: str
    keep: int
    text: Callable[[Any], str]
    left: bool = False
    key: str = "dropout"

    @property
    def name(self) -> str:
        """What one types for it: test, test_mc, time."""
        return _NAMES.get(self.header, self.header.lower().replace(" ", "_"))


_NAMES = {"against baseline": "change", "test set 95 %": "test_set", "tok/s": "speed"}


@dataclass
class Row:
    """The cells in the order of the columns; `tone` is best, worst, floor, published or empty.

    `marks` are the cells that matter, by their place: best of the ranking, better or worse than the baseline.
    `values` is what the cells sort by, and `run_id` the group's; both are empty for the floor.
    """

    cells: list[str]
    tone: str = ""
    marks: dict[int, str] = field(default_factory=dict)
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
    table: pd.DataFrame = field(default_factory=pd.DataFrame)  # the part of the comparison that the rows show


def sheets(
    table: pd.DataFrame, runs: pd.DataFrame, metric: str, only_changed: bool = False, chosen: Sequence[str] = ()
) -> list[Sheet]:
    """One sheet for each corpus of a comparison: perplexities on different data have no common ranking.

    `chosen` are the names of the columns to show beside the first; without them all. Of the runs that did not finish
    they have the number, beside n; `failures` names them.
    """
    made = []
    runs = placed(runs)
    for sha, part in table.groupby("data_sha256", sort=False, dropna=False):
        own = runs[runs["run_id"].isin(part["run_id"])]
        own = own[own["data_sha256"].isna() if pd.isna(sha) else own["data_sha256"] == sha]
        made.append(_sheet(part, own, metric, only_changed, chosen))
    if len(made) > 1:
        made[-1].notes.append(f"{len(made)} tables: these runs saw different data, so they have no common ranking")
    return made


def names(table: pd.DataFrame, metric: str) -> dict[str, str]:
    """What one may type for a column of a comparison's sheets, and what that is in the comparison."""
    ours = table[table["source"].isna()] if "source" in table else table
    return {column.name: column.key for column in _columns(ours, settings_columns(ours), metric, False)}


def _sheet(part: pd.DataFrame, runs: pd.DataFrame, metric: str, only_changed: bool, chosen: Sequence[str]) -> Sheet:
    ours = part[part["source"].isna()] if "source" in part else part
    varied = settings_columns(ours)
    columns = _columns(ours, varied, metric, only_changed and not chosen)
    if chosen:
        found = {column.name: replace(column, keep=0) for column in columns}
        columns = [columns[0], *(found[name] for name in chosen if name in found and found[name].key != "dropout")]
    best, worst = ours[metric].min(), ours[metric].max()
    if not metric_of(metric).lower_is_better:
        best, worst = worst, best
    rows = []
    for row in part.to_dict("records"):
        value = row[metric]
        tone = "best" if value == best else "worst" if value == worst else ""
        if isinstance(row.get("source"), str):
            tone = "published"
        cells, values = [column.text(row) for column in columns], [row.get(column.key) for column in columns]
        marks = {index: mark for index, column in enumerate(columns) if (mark := _mark(column.key, row, metric, tone))}
        rows.append(Row(cells, tone, marks, values, None if tone == "published" else row["run_id"]))
    if (floor := _floor(ours, columns)) is not None:
        rows.append(floor)
    done = runs[runs["status"] == "finished"]
    constants = "" if only_changed else _constants(ours, varied, done)
    return Sheet(constants, columns, rows, _notes(part, ours, metric, done), caveats(runs), part)


def _mark(key: str, row: Any, metric: str, tone: str) -> str:
    """What a cell says that matters: a difference does where its test does, and not where its interval has zero."""
    if key == metric and tone == "best":
        return "best"
    if key != "change" or not (row["p_holm"] < 0.05):
        return ""
    return "better" if (row["change"] < 0) == metric_of(metric).lower_is_better else "worse"


def _columns(part: pd.DataFrame, varied: list[str], metric: str, only_changed: bool) -> list[Column]:
    """What to show, leftmost first."""
    columns = [Column("dropout", 0, lambda row: row["dropout"], left=True)]
    if part["model"].nunique() > 1:
        columns.append(Column("model", 0, lambda row: _word(row["model"]), left=True, key="model"))
    twin, others = _twin(varied), [name for name in varied if name not in _twin(varied)]
    short = [brief(name) for name in others]
    for name, word in zip(others, short, strict=True):
        columns.append(Column(word if short.count(word) == 1 else name, 8, _setting(name), key=name))
    if twin:
        columns.append(Column("twin", 8, lambda row: _twin_text(row, twin), left=True, key=twin[0]))
    columns.append(Column("n", 0, _seeds, key="n"))
    shown = [name for name in scores() if name in part and (part[name].notna().any() or name == metric)]
    for name in sorted(shown, key=lambda name: list(_PLACES).index(_place(name))):
        keep = 0 if name == metric else _keep(name)
        columns.append(Column(header(name), keep, _score(name, name == metric), key=name))
    if "change" in part:
        baselines = set(part["baseline"].dropna())
        change = partial(_change, baselines=baselines)
        columns.append(Column("against baseline", 0, change, left=True, key="change"))
        columns.append(Column("df", 0, _number("df", lambda value: f"{value:.1f}"), key="df"))
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
    for heading, name, keep, text in numbers:
        constant = part[name].nunique() <= 1
        if part[name].notna().any() and not (constant and (only_changed or name == "parameters")):
            columns.append(Column(heading, keep, _number(name, text), key=name))
    digits = shown_digits(part["run_id"])
    return [*columns, Column("run", 1, lambda row: _word(row["run_id"])[:digits], left=True, key="run_id")]


def _twin(varied: Sequence[str]) -> list[str]:
    """The settings of a twin that share a column: its loss has several that come and go with it."""
    own = [name for name in varied if name.startswith("twin.")]
    return own if len(own) > 1 else []


def _twin_text(row: Any, names: Sequence[str]) -> str:
    """Their values in order; `none` where there is no twin."""
    values = [_word(row[name]) for name in names]
    return "none" if set(values) <= {"", "null"} else " ".join(values)


def _keep(name: str) -> int:
    """How long a metric's column is kept: of what follows from the score, that of the test split longest."""
    if metric_of(name).of:
        return 7 if _place(name) == "test" else 5
    return _PLACES[_place(name)]


def _word(value: object) -> str:
    return "" if value is None or value is pd.NA or value != value else str(value)


def _setting(name: str) -> Callable[[Any], str]:
    return lambda row: _word(row[name])


def _number(name: str, text: Callable[[float], str]) -> Callable[[Any], str]:
    return lambda row: "" if pd.isna(row[name]) else text(row[name])


def _score(name: str, ratio: bool) -> Callable[[Any], str]:
    """Mean ± std; in brackets the ratio to the best, if asked for, and n where not every seed has this metric."""

    def text(row: Any) -> str:
        value, std, seeds = row[name], row[f"{name}_std"], row[f"{name}_n"]
        if pd.isna(value):
            return ""
        if isinstance(row.get("source"), str):
            return as_printed(value, std)
        words = [f"{row['ratio']:.2f}"] if ratio and not pd.isna(row["ratio"]) else []
        words += [f"n={seeds:.0f}"] if seeds != row["n"] else []
        return plus_minus(value, std, digits) + (f" ({', '.join(words)})" if words else "")

    digits = metric_of(name).digits
    return text


def _seeds(row: Any) -> str:
    if isinstance(row.get("source"), str):
        return ""
    lost = sum(row[status] for status in UNFINISHED)
    shown = f"{row['n']}/{row['n'] + lost}" if lost else str(row["n"])
    return shown if row["n"] >= 3 else f"{shown} †"


def _change(row: Any, baselines: set[str]) -> str:
    if not row["n"]:
        return ""  # a published row
    if not isinstance(row["baseline"], str):
        return "baseline" if row["run_id"] in baselines else "no counterpart"
    if pd.isna(row["change"]):
        difference = row["difference"]
        return "no score" if pd.isna(difference) else f"{number(difference, sign='+')} (no ratio)".replace("-", "−")
    shown = f"{signed(row['change'])} %"
    if pd.isna(row["change_low"]):
        return shown
    bounds = f"[{signed(row['change_low'])}, {signed(row['change_high'])}]"
    return f"{shown} {bounds} {stars(row['p_holm'])}".rstrip()


HOW = {
    "seeds": "95 %, Welch's t of the logarithms",
    "text": "95 %, of the test text, for these runs",
    "both": "95 %, of seeds and test text together",
}


def title(metric: str) -> str:
    """A metric in words: test perplexity, valid MC RMSE, test bits per character."""
    return f"{_place(metric)} {metric_of(metric).title}"


def signed(fraction: float) -> str:
    """A fraction in per cent with its sign: −13.2; the bound of an interval may be +3.2e+11."""
    return f"{100 * fraction:{'+.1f' if abs(fraction) < 100 else '+.1e'}}".replace("-", "−")


def _bounds(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"[{number(low)}, {number(high)}]"


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.1f} h"


def _floor(part: pd.DataFrame, columns: list[Column]) -> Row | None:
    """The source's own perplexity, which no model passes; for synthetic corpora only."""
    floors = {"test": part["floor_perplexity"].dropna(), "valid": part["floor_perplexity_valid"].dropna()}
    if not any(map(len, floors.values())):
        return None
    text = {name: number(values.iloc[0]) for name, values in floors.items() if len(values)}
    after = {f"{name} {title}": value for name, value in text.items() for title in MEASURED.values()}
    words = {"dropout": "floor", **text, **after}
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


def _notes(part: pd.DataFrame, ours: pd.DataFrame, metric: str, done: pd.DataFrame) -> list[str]:
    """How to read the table."""
    words = []
    if (ours["n"] > 1).any():
        words.append("± std over n seeds")
    if twin := _twin(settings_columns(ours)):
        words.append(f"twin: {', '.join(name.removeprefix('twin.') for name in twin)}")
    words.append(f"(ratio to the best {header(metric)})")
    if ours["floor_perplexity"].notna().any():
        words.append("floor: the source's own perplexity")
    words += [
        each.note
        for each in every()
        if each.note and each.task == metric_of(metric).task and f"test_{each.name}" in ours
        and ours[f"test_{each.name}"].notna().any()
    ]  # fmt: skip
    words += [how + _over_samples(ours, metric) * how.startswith("MC: ") for how in measured(done)]
    notes = [" · ".join(words)]
    if "change" in ours and ours["baseline"].notna().any():
        tests, bounded = int(ours["p_holm"].notna().sum()), ours["change_low"].notna().any()
        notes.append(
            f"against {series.against(ours)}: change of {title(metric)} over all seeds"
            + (f" [{HOW[ours['interval'].iloc[0] if 'interval' in ours else 'seeds']}]" if bounded else "")
            + f", * p<.05 ** p<.01 *** p<.001, Holm-corrected over {tests} comparison{'s' * (tests > 1)}" * bool(tests)
        )
        if (ours["change"].isna() & ours["difference"].notna()).any():
            notes.append("no ratio: scores that are not above 0 have none; the difference of the means, untested")
        unbounded = ours[ours["change"].notna() & ours["change_low"].isna()]
        if "interval" in ours and len(unbounded):
            named = ", ".join(series.labels_of(unbounded, ours))
            several = ", and two seeds" * (ours["interval"].iloc[0] == "both")
            notes.append(f"no interval for {named}: it needs the {TEST_NLL} of every run on both sides{several}")
    if metric.startswith("test") and ours[metric].notna().any():
        sign = 1 if metric_of(metric).lower_is_better else -1
        chosen = int(ours[series.valid_of(metric)].astype(float).argmin())
        first = int((sign * ours[metric].astype(float)).argmin())
        if chosen != first:
            notes.append(f"choose a plan by valid: it is lowest for {series.labels(ours)[chosen]}")
    if "test_low" in ours:
        notes += _of_bootstrap(ours)
    if (ours["n"] < 3).any():
        notes.append("† fewer than 3 seeds: a std or an interval of so few says little")
    if "source" in part and part["source"].notna().any():
        notes.append(note(part))
    return notes


def _of_bootstrap(ours: pd.DataFrame) -> list[str]:
    """What the interval of the test set is, and which rows have none."""
    lacking = ours[ours["test_low"].isna()]
    said = "test set 95 %: bootstrap over stretches of the test set, around the geometric mean of the seeds"
    whose = "any row" if len(lacking) == len(ours) else ", ".join(series.labels_of(lacking, ours))
    none = [f"no interval of the test set for {whose}: it needs the {TEST_NLL} of every run"] if len(lacking) else []
    return none if len(lacking) == len(ours) else [said, *none]


def _over_samples(ours: pd.DataFrame, metric: str) -> str:
    """The standard error that the samples of a run leave: the ± of a Monte-Carlo score in the table is over seeds."""
    name = f"test_{task_by_metric(metric).metric}_mc"
    error = ours[f"{name}_stderr"].max()
    return "" if pd.isna(error) else f"; over the samples of one run ± {number(error, like=ours[name].max())}"


@dataclass(frozen=True)
class Lost:
    """A run that did not finish: what it was, its last words, its whole error, and the command that shows it."""

    run_id: str
    seed: int
    status: str
    what: str
    end: str
    error: str
    show: str


def lost(runs: pd.DataFrame) -> list[Lost]:
    """The runs that did not finish, those with different last words first."""
    found = runs[runs["status"] != "finished"]
    ends = found["error"].fillna("").map(lambda text: (str(text).strip().splitlines() or [""])[-1])
    found = found.assign(end=ends, again=ends.duplicated()).sort_values("again", kind="stable")
    return [
        Lost(
            row["run_id"],
            row["seed"],
            row["status"],
            " ".join(of_identity(row["overrides"])) or row["dropout"],
            row["end"],
            _word(row["error"]).strip(),
            _show(row["folder"]),
        )
        for row in found.to_dict("records")
    ]


def failures(runs: pd.DataFrame) -> list[str]:
    """The runs that did not finish, a line each: what it was, its last words, and what shows the rest.

    At most `FAILURES_NAMED` of them.
    """
    every = lost(runs)
    lines = []
    for each in every[:FAILURES_NAMED]:
        what = f"{each.what if len(each.what) <= 60 else each.what[:59] + '…'} seed {each.seed}"
        reason = f": {each.end}" if each.end else ""
        lines.append(f"{each.status}: {what}{reason}   {each.show}".rstrip())
    more = len(every) - len(lines)
    return [*lines, f"and {more} more that did not finish: rnndrop watch --once"] if more else lines


def _show(folder: str) -> str:
    """The command that shows a run; empty for one of a CSV, of which no more is known."""
    place, output = Path(folder).absolute(), Path(folder).parent.parent
    if len(Path(folder).parts) < 2:  # within the folder of a run id, or of a run
        output = Path(os.path.relpath(place.parent.parent))
    if output.is_file():
        return ""
    given = [] if output.as_posix() == OUTPUT else ["--output", output.as_posix()]
    return shlex.join(["rnndrop", "show", f"{place.parent.name}/{place.name}", *given])
