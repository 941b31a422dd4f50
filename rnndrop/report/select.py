"""Which runs to report, and in which order: `--where`, `--last`, `--sort`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pandas as pd

from rnndrop.config.tasks import TASKS, TaskSpec, task_by_metric, task_spec
from rnndrop.errors import RequestError, suggestion, unknown
from rnndrop.report.settings import equal, show
from rnndrop.store.records import is_trial

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def where(runs: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """Keep the runs that meet every condition: KEY=VALUE[,VALUE], KEY!=VALUE, KEY<NUMBER (also <= > >=).

    KEY is a column of `load_runs()` or a setting; a setting's last part suffices where it names one alone. A column of
    text matches by the whole or by one of its words (`model=lstm`). Raises RequestError.
    """
    for condition in conditions:
        parts = re.fullmatch(r"\s*([\w.]+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", condition)
        if not parts:
            raise RequestError(f"--where {condition!r} is not KEY=VALUE, KEY!=VALUE, KEY<VALUE or KEY>VALUE.")
        key, sign, value = parts.groups()
        values = _values(runs, key)
        runs = runs[_ordered(values, key, sign, value) if sign in _ORDER else _equal(values, value) ^ (sign == "!=")]
    return runs


def tasks(runs: pd.DataFrame) -> list[TaskSpec]:
    """The tasks of some runs, in the order of `TASKS`, then those of the user's own."""
    named = runs["task"].unique()
    return [task_spec(name) for name in (*TASKS, *sorted(set(named) - set(TASKS))) if name in named]


def of_task(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The runs of the task that a column of scores is of. Raises RequestError where there are none, or of several."""
    task = task_by_metric(metric)
    found = runs[runs["task"] == task.name if task.name in TASKS else ~runs["task"].isin(TASKS)]
    if found.empty:
        raise RequestError(
            f"No run here has {metric}: none has {f'task={task.name}' if task.name in TASKS else 'a task of your own'}."
        )
    if len(several := found["task"].unique()) > 1:
        shown = " or ".join(f"--where task={name}" for name in several)
        raise RequestError(f"{metric} is another one in each task of these runs. Choose one: {shown}")
    return found


def without_trials(runs: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """Leave out the trials of searches, unless a condition is about the label."""
    if any(re.match(r"\s*label\s*(=|!=)", condition) for condition in conditions):
        return runs
    return runs[~runs["label"].fillna("").map(is_trial).astype(bool)]


def _values(runs: pd.DataFrame, key: str) -> pd.Series:
    """The column or the setting that `key` names, one value a run."""
    if key in runs and key not in ("settings", "overrides", "environment"):
        return runs[key]
    names = list(dict.fromkeys(name for settings in _distinct(runs) for name in settings))
    ends = [name for name in names if name == key] or [name for name in names if name.endswith(f".{key}")]
    if len(ends) != 1:
        if ends:
            raise RequestError(f"--where {key} names several settings: {' '.join(ends)}")
        if close := suggestion(key, [*runs, *names]):
            raise RequestError(f"No column or setting {key!r}.{close}")
        raise unknown(
            "column or setting", key, [*(str(name) for name in runs if name != "settings"), "and the settings of --cfg"]
        )
    return pd.Series([settings.get(ends[0]) for settings in runs["settings"]], index=runs.index, dtype=object)


def _distinct(runs: pd.DataFrame) -> list[dict[str, Any]]:
    return list(runs.drop_duplicates("run_id")["settings"])


def _equal(values: pd.Series, wanted: str) -> pd.Series:
    choices = {choice.strip() for choice in re.split(r",(?![^\[]*\])", wanted)}  # a list's commas are its own

    def matches(value: object) -> bool:
        text = show(value)
        words = {text.replace("×", "x"), *text.split(), *text.replace("×", "x").split()}
        return bool(choices & words) or any(equal(value, choice) for choice in choices)

    return values.map(matches, na_action=None).astype(bool)


def _ordered(values: pd.Series, key: str, sign: str, bound: str) -> pd.Series:
    try:
        limit = float(bound)
        numbers = pd.to_numeric(values)
    except (ValueError, TypeError):
        raise RequestError(f"--where {key}{sign}{bound}: {sign} compares numbers.") from None
    chosen: pd.Series = _ORDER[sign](numbers.astype("float64"), limit).astype(bool)
    return chosen


def last(runs: pd.DataFrame, span: str, now: datetime | None = None) -> pd.DataFrame:
    """Keep the runs recorded within `span`: 30m, 12h, 1d, 2w. Raises RequestError."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", span)
    if not parts:
        raise RequestError(f"--last {span!r} is not a span such as 30m, 12h, 1d or 2w.")
    try:
        since = (now or datetime.now(UTC)) - timedelta(**{_UNITS[parts[2]]: float(parts[1])})
    except OverflowError:
        raise RequestError(f"--last {span}: that is before the calendar begins; leave it out for all runs.") from None
    return runs[runs["written"] >= since]


def as_numbers(values: pd.Series) -> pd.Series:
    """A column of words as numbers, where all are that are not `null`."""
    if not pd.api.types.is_string_dtype(values):
        return values
    numbers = pd.to_numeric(values.where(values != "null"), errors="coerce")
    return numbers if numbers.notna().equals(values != "null") else values


def sort(table: pd.DataFrame, key: str, names: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:
    """Order the rows of each corpus by a column of the comparison; `-KEY` turns it round. Raises RequestError.

    `names` are those that people type, as `test`, and what is meant, as `test_perplexity`.
    """
    name = key.removeprefix("-")
    name = names.get(name, name)
    if name not in table or name in ("settings", "overrides"):
        raise unknown(
            "column to sort by", name, names or [str(each) for each in table if each not in ("settings", "overrides")]
        )
    parts = [
        part.sort_values(name, ascending=not key.startswith("-"), na_position="last", kind="stable", key=as_numbers)
        for _, part in table.groupby("data_sha256", sort=False, dropna=False)
    ]
    return pd.concat(parts, ignore_index=True)
