"""A comparison as a table for a paper: a float of LaTeX with a caption, aligned numbers and notes on reading it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rnndrop.config.metrics import MEASURED, every, metric_of
from rnndrop.config.metrics import columns as scores
from rnndrop.display.digits import as_printed, count, number, plus_minus
from rnndrop.display.foreign import latex, plain
from rnndrop.report import series
from rnndrop.report.comparable import measured
from rnndrop.report.compare import UNFINISHED, settings_columns
from rnndrop.report.published import note
from rnndrop.report.sheet import HOW, Column, Sheet, sheets, signed, title
from rnndrop.stats import stars

NEEDS = "booktabs, threeparttable, siunitx (3 or newer)"
NUMBERS = "detect-weight, separate-uncertainty, table-align-uncertainty=false, retain-zero-uncertainty"
_NUMBER = re.compile(r"([−+-]?)(\d+)(?:\.(\d+))?(?: ± (\d+)(?:\.(\d+))?)?")
_HEADS = {"dropout": "Dropout", "model": "Model", "n": "$n$", "change": r"Change, \%"}
COLUMN_WIDTH = 234  # points, 3.25 in: of a column of two
DIGIT = 4.6  # points, in \small
SEPARATION = 8  # points, of two columns of the table


@dataclass(frozen=True)
class Printed:
    """A column as LaTeX has it: its type, its heading, its cells, and how many letters its widest cell has."""

    kind: str
    head: str
    cells: list[str]
    letters: int


def render(
    table: pd.DataFrame,
    runs: pd.DataFrame,
    metric: str,
    chosen: Sequence[str] = (),
    caption: str | None = None,
    label: str | None = None,
) -> str:
    r"""The comparison as one `table` for each corpus, or `table*` where it is wider than a column of two.

    `chosen`: the columns beside the first; otherwise those that a claim needs. `caption` and `label` are LaTeX, and go
    in as they are. There is no row of the floor, and no run id.
    """
    made = []
    for place, sheet in enumerate(sheets(table, runs, metric, chosen=chosen), 1):
        name = label or f"tab:{re.sub(r'[^A-Za-z0-9-]+', '-', str(sheet.table['data'].iloc[0]))}"
        made.append(_float(sheet, runs, metric, bool(chosen), caption, name if place == 1 else f"{name}-{place}"))
    return "\n\n".join(made)


def _float(sheet: Sheet, runs: pd.DataFrame, metric: str, chosen: bool, caption: str | None, label: str) -> str:
    rows = sheet.table.to_dict("records")
    ours = [row for row in rows if not _published(row)]
    kept = sheet.columns if chosen else [each for each in sheet.columns if _needed(each.key, ours, metric)]
    columns = [made for each in kept for made in _printed(each, rows, metric)]
    heads = [column.head for column in columns if column.head]
    width = sum(column.letters * DIGIT for column in columns) + SEPARATION * (len(columns) - 1)
    name = "table" if width <= COLUMN_WIDTH else "table*"
    done = runs[(runs["status"] == "finished") & runs["run_id"].isin(sheet.table["run_id"])]
    notes = [rf"\item {latex(each)}" for each in _notes(sheet.table, done, metric, {each.key for each in kept})]
    comments = [f"% {' '.join(plain(text, chr(10)).split())}" for text in (sheet.constants, *sheet.warnings) if text]
    return "\n".join(
        [
            f"% needs {NEEDS}",
            *comments,
            rf"\begin{{{name}}}",
            r"\centering\small",
            r"\setlength{\tabcolsep}{4pt}",
            rf"\sisetup{{{NUMBERS}}}",
            r"\begin{threeparttable}",
            rf"\caption{{{caption or latex(_caption(sheet.table, metric))}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{@{{}}{''.join(column.kind for column in columns)}@{{}}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *(" & ".join(cells) + r" \\" for cells in zip(*(column.cells for column in columns), strict=True)),
            r"\bottomrule",
            r"\end{tabular}",
            r"\begin{tablenotes}[flushleft]\footnotesize",
            *notes,
            r"\end{tablenotes}",
            r"\end{threeparttable}",
            rf"\end{{{name}}}",
        ]
    )


def _published(row: Mapping[Any, Any]) -> bool:
    return isinstance(row.get("source"), str)


def _needed(key: str, ours: Sequence[Mapping[Any, Any]], metric: str) -> bool:
    """Whether a claim needs a column: what the rows are, the score to choose by, the score, the difference."""
    if key == "n":
        return len({row["n"] for row in ours}) > 1
    return key in ("dropout", "model", "change", series.valid_of(metric), metric, f"{metric}_mc") or "." in key


def _printed(column: Column, rows: Sequence[Mapping[Any, Any]], metric: str) -> list[Printed]:
    """A column of the sheet; that of the differences is two, since an interval is no number."""
    if column.key == "change":
        return [_changes(column, rows), _intervals(rows)]
    score: Callable[[Any], str] = _score(column.key) if column.key in scores() else column.text
    texts = [str(row["n"] or "") if column.key == "n" else score(row) for row in rows]
    head = _HEADS.get(column.key, latex(column.header))
    head = head[:1].upper() + head[1:] if column.key in scores() or column.key == "test_low" else head
    letters = max(map(len, [column.header, *texts]))
    if column.left or not all(not text or _NUMBER.fullmatch(text) for text in texts):
        return [Printed("l" if column.left else "r", head, [latex(text) for text in texts], letters)]
    best = _best(rows, metric) if column.key == metric else None
    cells = []
    for row, text in zip(rows, texts, strict=True):
        few = column.key in scores() and not _published(row) and text and row[f"{column.key}_n"] != row["n"]
        mark = rf"\tnote{{$n={row[f'{column.key}_n']:.0f}$}}" if few else ""
        cells.append((r"\bfseries " if row is best else "") + _siunitx(text) + mark if text else "")
    return [Printed(_aligned(texts), f"{{{head}}}", cells, letters)]


def _best(rows: Sequence[Mapping[Any, Any]], metric: str) -> Mapping[Any, Any] | None:
    ours = [row for row in rows if not _published(row) and not pd.isna(row[metric])]
    sign = 1 if metric_of(metric).lower_is_better else -1
    return min(ours, key=lambda row: sign * row[metric]) if len(ours) > 1 else None


def _score(name: str) -> Callable[[Any], str]:
    def text(row: Any) -> str:
        if pd.isna(row[name]):
            return ""
        if _published(row):
            return as_printed(row[name], row[f"{name}_std"])
        return plus_minus(row[name], row[f"{name}_std"], metric_of(name).digits)

    return text


def _changes(column: Column, rows: Sequence[Mapping[Any, Any]]) -> Printed:
    """The differences in per cent with their stars; where there is none, why."""
    baselines = {row["baseline"] for row in rows if isinstance(row["baseline"], str)}
    texts, cells = [], []
    for row in rows:
        if isinstance(row["baseline"], str) and not pd.isna(row["change"]):
            texts.append(signed(row["change"]))
            mark = stars(row["p_holm"])
            cells.append(_siunitx(texts[-1]) + (rf"\tnote{{{mark}}}" if mark else ""))
        else:
            why = "---" if row["run_id"] in baselines else latex(column.text(row))
            cells.append(f"{{{why}}}" if why else "")
    kind = _aligned(texts).replace("]", ", retain-explicit-plus]")
    head = _HEADS["change"] if texts else "Change"
    return Printed(kind, rf"\multicolumn{{2}}{{c}}{{{head}}}", cells, 7)


def _intervals(rows: Sequence[Mapping[Any, Any]]) -> Printed:
    cells = [
        "" if pd.isna(row["change_low"]) else rf"$[{_signed(row['change_low'])},\,{_signed(row['change_high'])}]$"
        for row in rows
    ]
    return Printed(r"@{\hspace{14pt}}r", "", cells, 14 if any(cells) else 0)  # room for the stars before it


def _signed(fraction: float) -> str:
    return signed(fraction).replace("−", "-")


def _siunitx(text: str) -> str:
    """`271.1 ± 7.8` as 271.1(78), which siunitx reads; in braces what it would not align: other decimals, 2.4e+11."""
    found = _NUMBER.fullmatch(text)
    if not found:
        return f"{{{latex(text)}}}"
    sign, whole, decimals, spread, more = found.groups()
    value = sign.replace("−", "-") + whole + (f".{decimals}" if decimals else "")
    if spread is None:
        return value
    if len(more or "") != len(decimals or ""):
        return f"{{{latex(text)}}}"
    return f"{value}({int(spread + (more or ''))})"


def _aligned(texts: Sequence[str]) -> str:
    """The S column that numbers of these lengths need."""
    parts = [found.groups("") for text in texts if (found := _NUMBER.fullmatch(text))]
    if not parts:
        return "S[table-format=1.0]"
    sign = next((part[0].replace("−", "-") for part in parts if part[0]), "")
    whole, decimals = (max(len(part[place]) for part in parts) for place in (1, 2))
    spread = max(len(str(int(part[3] + part[4]))) if part[3] else 0 for part in parts)
    return f"S[table-format={sign}{whole}.{decimals}{f'({spread})' if spread else ''}]"


def _caption(table: pd.DataFrame, metric: str) -> str:
    """What is shown, and on what."""
    settings = table["settings"].iloc[0]
    tokens = settings.get("data.train_tokens")
    told = "" if not tokens or "data.train_tokens" in settings_columns(table) else f", {tokens:,} training tokens"
    ours = table[table["source"].isna()] if "source" in table else table
    model = [str(ours["model"].iloc[0])] if ours["model"].nunique() == 1 else []
    size = {count(each) for each in ours["parameters"].dropna()}
    model += [f"{size.pop()} parameters"] if len(size) == 1 else []
    what = title(metric)
    of = f" ({', '.join(model)})" if model else ""
    return f"{what[:1].upper()}{what[1:]} on {table['data'].iloc[0]}{told}{of}."


def _notes(table: pd.DataFrame, done: pd.DataFrame, metric: str, keys: set[str]) -> list[str]:
    """How to read the table: what ± is, the baseline, what the interval is, how it is corrected."""
    ours = table[table["source"].isna()] if "source" in table else table
    few, many = int(ours["n"].min()), int(ours["n"].max())
    seeds = f"{few} seeds" if few == many else f"{few} to {many} seeds" if "n" not in keys else "n seeds"
    order = "lowest" if metric_of(metric).lower_is_better else "highest"
    words = ["One seed each: no deviation is known." if many == 1 else f"Means ± standard deviation over {seeds}."]
    words += [f"Bold: the {order} {title(metric)}."] if metric in keys and len(ours) > 1 else []
    if lost := [
        f"{name} ({sum(row[each] for each in UNFINISHED)})"
        for name, row in zip(series.labels(ours), ours.to_dict("records"), strict=True)
        if sum(row[each] for each in UNFINISHED)
    ]:
        words.append(f"Runs that did not finish, and do not count: {', '.join(lost)}.")
    if metric.startswith("test") and metric in keys and ours[metric].notna().any():
        sign = 1 if metric_of(metric).lower_is_better else -1
        chosen = int(ours[series.valid_of(metric)].astype(float).argmin())
        if chosen != int((sign * ours[metric].astype(float)).argmin()):
            words.append(f"By the valid split one would choose {series.labels(ours)[chosen]}.")
    if ours["floor_perplexity"].notna().any():
        floor = number(ours["floor_perplexity"].dropna().iloc[0])
        words.append(f"The perplexity of the source itself is {floor} (test).")
    notes = [" ".join(words)]
    if "change" in keys and ours["baseline"].notna().any():
        notes.append(_difference(ours, metric))
    notes += [
        f"{each.note[:1].upper()}{each.note[1:]}." for each in every() if each.note and f"test_{each.name}" in keys
    ]
    shown = [name for mode, name in MEASURED.items() if any(key.endswith(f"_{mode}") for key in keys)]
    notes += [f"{how}." for how in measured(done) if how.partition(":")[0] in shown]
    if "source" in table and table["source"].notna().any():
        said = note(table)
        notes.append(f"{said[:1].upper()}{said[1:]}.")
    return notes


def _difference(ours: pd.DataFrame, metric: str) -> str:
    """What the differences are of, how uncertain, and what the stars mean."""
    how = HOW[ours["interval"].iloc[0] if "interval" in ours else "seeds"].partition(", ")[2]
    of = "a ratio of geometric means" if ours["change"].notna().any() else "the difference of the means"
    text = f"Change: of {title(metric)} against {series.against(ours)}, as {of} over all seeds"
    if not ours["change_low"].notna().any():
        return f"{text}."
    tests = int(ours["p_holm"].notna().sum())
    text += f", with its 95 % interval ({how}; not corrected)."
    return (
        f"{text} * p < .05, ** p < .01, *** p < .001 after Holm's correction for {tests} comparison{'s' * (tests > 1)}."
    )
