"""What the plots draw, as plain numbers: the same for a figure, the terminal and the page."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnndrop.config.metrics import metric_of, mode_of
from rnndrop.config.tasks import score, task_by_metric, task_of_row
from rnndrop.dropout.rule import LOCATIONS
from rnndrop.errors import RequestError
from rnndrop.report.committed import epochs
from rnndrop.report.compare import context_columns
from rnndrop.report.settings import brief, rule_words, show
from rnndrop.store.records import read_history

log = logging.getLogger("rnndrop")

NARROW = 5.0  # per cent: the least that the colours of a heat map span on either side, so that a trifle looks pale
PLAN = ""  # the part of a label that is the plan's name
Rules = tuple[tuple[str, str, float], ...]
"""The active rules of a plan: (location, kind, p)."""


@dataclass(frozen=True)
class Curve:
    """A group's learning curve, the mean over `seeds`; lists of one length."""

    label: str
    epochs: list[int]
    train: list[float]
    valid: list[float]
    valid_std: list[float]
    seeds: int


@dataclass(frozen=True)
class Difference:
    """A group's change from the baseline in per cent, its bounds, Holm's p, the degrees of freedom; whether a gain."""

    label: str
    change: float
    low: float
    high: float
    p: float
    df: float
    gain: bool

    @property
    def freedom(self) -> str:
        """The degrees of freedom in words."""
        return "" if math.isnan(self.df) else f"{self.df:.1f}"


@dataclass(frozen=True)
class Point:
    """A group's test score, deterministic (`plain`) and Monte-Carlo (`sampled`), with their std over seeds."""

    label: str
    plain: float
    plain_std: float
    sampled: float
    sampled_std: float


@dataclass(frozen=True)
class Line:
    """Perplexity against the rate of one location, all else equal."""

    location: str
    label: str
    p: list[float]
    mean: list[float]
    std: list[float]


@dataclass(frozen=True)
class Axis:
    """What each row of a comparison has of one setting that varies: a rate, another number, or a word."""

    name: str
    values: list[float | str]


@dataclass(frozen=True)
class Grid:
    """Each kind at each location, at its best rate by valid: `value` (locations, kinds), NaN where nothing ran.

    `others`: how many plans are left out, since they have other settings than those of the grid, which `about` says.
    """

    locations: list[str]
    kinds: list[str]
    value: np.ndarray
    p: np.ndarray
    relative_to: str | None
    about: str
    others: int


def histories(folders: Iterable[str]) -> list[list[dict[str, Any]]]:
    """The epochs of each run that kept any; one that is damaged, or not the record's, is named in a warning."""
    found = []
    for folder in folders:
        try:
            of_csv = Path(folder).absolute().parents[1].suffix == ".csv"
            rows = epochs(Path(folder)) if of_csv else read_history(Path(folder))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            log.warning("left out the history of %s: %s", folder, str(error).partition("\n")[0])
            continue
        task = task_of_row(rows[0]) if rows else None
        if task and all(f"{split}_{task.metric}" in row for row in rows for split in ("train", "valid")):
            found.append(rows)
    return found


def curves(table: pd.DataFrame, runs: pd.DataFrame, top: int | None = None) -> list[Curve]:
    """The learning curves of the first `top` groups of a comparison, in its order. Raises RequestError for none."""
    folders = runs[runs["status"] == "finished"].groupby("run_id")["folder"].agg(list)
    names = labels(table)
    made: list[Curve] = []
    for run, name in zip(table["run_id"], names, strict=True):
        if top is not None and len(made) >= top:
            break
        if seeds := histories(folders.get(run, [])):
            made.append(curve(name, seeds))
    if not made:
        raise RequestError("No run here kept its history.")
    return made


def curve(label: str, seeds: list[list[dict[str, Any]]]) -> Curve:
    """The mean of the histories of several seeds."""
    length = min(map(len, seeds))  # where patience ended one seed early, the mean ends too
    train, valid = (
        np.array([[score(row, split) for row in rows[:length]] for rows in seeds]) for split in ("train", "valid")
    )
    std = valid.std(axis=0, ddof=1) if len(seeds) > 1 else np.zeros(length)
    epochs = [int(row["epoch"]) for row in seeds[0][:length]]
    return Curve(label, epochs, train.mean(0).tolist(), valid.mean(0).tolist(), std.tolist(), len(seeds))


def labels(table: pd.DataFrame) -> list[str]:
    """A name for each group: what varies in the comparison, and nothing else; a setting that is null is not there.

    The dropout, where nothing varies.
    """
    names = [name for name in ("dropout", *context_columns(table)) if table[name].nunique() > 1] or ["dropout"]
    rows = zip(*(table[name] for name in names), strict=True)
    return [" · ".join(_word(*each) for each in zip(names, row, strict=True) if each[1] != "null") for row in rows]


def labels_of(part: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """The names that some groups of a comparison have in all of it."""
    return [name for name, yes in zip(labels(table), table.index.isin(part.index), strict=True) if yes]


def distinct(names: Sequence[str]) -> list[str]:
    """The names of `labels` with no more parts than tell them apart: `variational input.p=0.2 …`."""
    every = [_parts(name) for name in names]
    kept = list(dict.fromkeys(key for parts in every for key in parts))
    unlike = len(set(names))

    def told(keys: Iterable[str]) -> int:
        return len({tuple(parts.get(key) for key in keys) for parts in every})

    for key in reversed(kept):
        without = [each for each in kept if each != key]
        if key != PLAN and told(without) == unlike:
            kept = without
    return [_short(name, parts, kept) for name, parts in zip(names, every, strict=True)]


def _short(name: str, parts: Mapping[str, str], kept: Collection[str]) -> str:
    if all(key in kept for key in parts):
        return name
    told = [text for key, text in parts.items() if key in kept]
    return f"{_joined(told or list(parts.values())[:1])}\N{NO-BREAK SPACE}…"


def _joined(texts: Sequence[str]) -> str:
    """Parts in one line: `KEY=VALUE` after a space, all else after a dot."""
    return "".join(f"{(' ' if '=' in text else ' · ') * (at > 0)}{text}" for at, text in enumerate(texts))


def _parts(name: str) -> dict[str, str]:
    """The parts of a label by what they are of: of `input locked .2 · hidden=100`, `input locked` and `hidden`."""
    found: dict[str, str] = {}
    for number, chunk in enumerate(name.split(" · ")):
        words = [word for word in chunk.split() if "=" not in word]
        rule, rate = " ".join(words[:-1]), words[-1] if words else None
        if rate is not None:
            found[rule if rule and _number(rate) is not None else f"word {number}" if number else PLAN] = " ".join(
                words
            )
        found.update((word.partition("=")[0], word) for word in chunk.split() if "=" in word)
    return found


def _number(text: object) -> float | None:
    try:
        return float(str(text))
    except ValueError:
        return None


def axes(table: pd.DataFrame, most: int = 8) -> list[Axis]:
    """What varies in a comparison, to draw side by side: the plan's name, the rates of locations, other settings.

    A setting whose values are words is left out where it has more than `most`.
    """
    settings: list[dict[str, Any]] = list(table["settings"])
    found = [Axis("plan", [str(each.get("dropout.name")) for each in settings])]
    found += [Axis(place, [float(each.get(f"dropout.{place}.p") or 0) for each in settings]) for place in LOCATIONS]
    for name in context_columns(table):
        numbers = [_number(value) for value in table[name]]
        whole = None not in numbers
        found.append(Axis(brief(name), [each for each in numbers if each is not None] if whole else list(table[name])))
    return [
        axis
        for axis in found
        if len(set(axis.values)) > 1 and (not isinstance(axis.values[0], str) or len(set(axis.values)) <= most)
    ]


def _word(name: str, value: object) -> str:
    return f"{brief(name)}={value}" if "." in name else str(value)


def against(table: pd.DataFrame) -> str:
    """What the rows of a comparison are compared with: a baseline's name, or what several have in common."""
    table = _compared(table)
    baselines = table[table["run_id"].isin(table["baseline"].dropna())]
    names = labels_of(baselines, table)
    if len(names) == 1:
        return names[0]
    shared = [
        _word(name, baselines[name].iloc[0])
        for name in ["dropout", *context_columns(table)]
        if baselines[name].nunique(dropna=False) == 1 < table[name].nunique(dropna=False)
    ]
    return f"{' · '.join(shared or _common(baselines, table) or names)}, all else equal"


def _common(baselines: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """The settings that the baselines have in common, and not all groups have."""
    first, *others = baselines["settings"]
    same = {key: value for key, value in first.items() if all(each.get(key) == value for each in others)}
    return [
        f"{brief(key)}={show(value)}"
        for key, value in same.items()
        if any(each.get(key) != value for each in table["settings"])
    ]


def forest(table: pd.DataFrame, metric: str) -> list[Difference]:
    """The differences of a comparison with a baseline, the largest gain first."""
    if "change" not in table:
        raise RequestError("A forest plot needs a baseline: --baseline none")
    table = _compared(table)
    percent = [100 * table[name].astype(float) for name in ("change", "change_low", "change_high")]
    sign = 1 if metric_of(metric).lower_is_better else -1
    columns = (*percent, table["p_holm"], table["df"].astype(float), sign * percent[0] < 0)
    found = [Difference(*row) for row in zip(labels(table), *columns, strict=True)]
    found = [each for each in found if not math.isnan(each.change)]
    if not found:
        more = f" rnndrop eval measures {metric} of finished runs." if mode_of(metric) else ""
        raise RequestError(
            f"No row has a change of {metric} in per cent: it needs scores above 0, also of the baseline.{more}"
        )
    return sorted(found, key=lambda each: sign * each.change)


def _compared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are compared with a baseline, and those: what differs in others need not be in their names."""
    return table[table["baseline"].notna() | table["run_id"].isin(table["baseline"].dropna())]


def floor_in_sight(floor: float, low: float, high: float) -> bool:
    """Whether a floor can be drawn and leave half of the axis to what stands from `low` to `high`."""
    return low - floor <= high - low


def epoch_ticks(last: int, count: int = 10) -> list[int]:
    """At most about `count` whole epochs to mark on an axis that ends at `last`."""
    step = next(size * 10**power for power in range(9) for size in (1, 2, 5) if last <= count * size * 10**power)
    return list(range(step, last + 1, step)) if step > 1 else list(range(1, last + 1))


def rules(settings: dict[str, Any]) -> Rules:
    """The active rules of a flattened configuration."""
    found = []
    for name, p in settings.items():
        if name.startswith("dropout.") and name.endswith(".p") and p:
            location = name.split(".")[1]
            also = "".join(f" · {each}" for each in settings.get(f"dropout.{location}.also", ()))
            found.append((location, "".join(rule_words(settings, location)) + also, float(p)))
    return tuple(found)


def rates(table: pd.DataFrame, metric: str, location: str | None = None) -> list[Line]:
    """A line for each location, kind and remainder of the plan that ran at two rates or more; rate 0 counts."""
    context = context_columns(table)
    points: dict[tuple[Any, ...], dict[float, tuple[float, float]]] = {}
    whole: dict[tuple[Any, ...], tuple[float, float]] = {}
    for row in _by_valid(table, metric):
        active, where = rules(row["settings"]), tuple(row[name] for name in context)
        value = row[metric], row[f"{metric}_std"]
        whole.setdefault((active, where), value)
        for rule in active:
            if location in (None, rule[0]):
                rest = tuple(other for other in active if other != rule)
                points.setdefault((rule[0], rule[1], rest, where), {}).setdefault(rule[2], value)
    made = []
    for (place, kind, rest, where), values in points.items():
        if (rest, where) in whole:
            values.setdefault(0.0, whole[rest, where])
        if len(values) >= 2:
            p = sorted(values)
            extra = [" ".join(f"{each[0]} {each[1]} {each[2]:g}" for each in rest)] if rest else []
            extra += _varied(table, context, where)
            label = " · ".join([f"{place} {kind}", *extra])
            made.append(Line(place, label, p, [values[each][0] for each in p], [values[each][1] for each in p]))
    if not made:
        raise RequestError(
            "No location ran at two rates with all else equal. Try: rnndrop sweep dropout.recurrent.kind=locked "
            "dropout.recurrent.p=0,.1,.3,.5"
        )
    sign = 1 if metric_of(metric).lower_is_better else -1
    return sorted(made, key=lambda line: (-len(line.p), min(sign * mean for mean in line.mean)))


def _by_valid(table: pd.DataFrame, metric: str) -> list[dict[Hashable, Any]]:
    """The groups of a comparison that have the metric, the lowest valid score first: none is chosen by test."""
    return table[table[metric].notna()].sort_values(valid_of(metric), kind="stable").to_dict("records")


def valid_of(metric: str) -> str:
    """The metric to choose by where `metric` is shown: the score of the valid split."""
    return f"valid_{task_by_metric(metric).metric}"


def heatmap(table: pd.DataFrame, metric: str) -> Grid:
    """Plans with one active location: each kind there at the rate with the best *valid* score; shown is `metric`.

    As its change from no dropout, where that ran and all scores are above 0. Where other settings vary, the combination
    with the most plans is taken.
    """
    context = context_columns(table)
    by_context: dict[tuple[Any, ...], list[tuple[Rules, float]]] = {}
    for row in _by_valid(table, metric):
        if len(active := rules(row["settings"])) <= 1:
            by_context.setdefault(tuple(row[name] for name in context), []).append((active, row[metric]))
    where, plans = max(by_context.items(), key=lambda each: len(each[1]), default=((), []))
    single = [(active[0], value) for active, value in plans if active]
    if not single:
        raise RequestError("No plan here has dropout at one location alone: there is no location × kind to show.")
    locations = list(dict.fromkeys(rule[0] for rule, _ in single))
    kinds = list(dict.fromkeys(rule[1] for rule, _ in single))
    value, rate = (np.full((len(locations), len(kinds)), np.nan) for _ in range(2))
    for (location, kind, p), result in single:
        at = locations.index(location), kinds.index(kind)
        if math.isnan(rate[at]):  # the first is the best on valid
            value[at], rate[at] = result, p
    none = [result for active, result in plans if not active]
    if relative := bool(none) and min(none[0], float(np.nanmin(value))) > 0:
        value = 100 * (value / none[0] - 1)
    others = sum(map(len, by_context.values())) - len(plans)
    about = " · ".join(_varied(table, context, where)) if others else ""
    return Grid(locations, kinds, value, rate, "none" if relative else None, about, others)


def _varied(table: pd.DataFrame, context: Sequence[str], values: Iterable[object]) -> list[str]:
    """Those values of the context that not all of a comparison have; null is none."""
    pairs = zip(context, values, strict=True)
    return [_word(name, value) for name, value in pairs if table[name].nunique() > 1 and value != "null"]


def calibration(table: pd.DataFrame, metric: str) -> list[Point]:
    """Deterministic and Monte-Carlo test scores of each group that has both."""
    test = f"test_{task_by_metric(metric).metric}"
    columns = [table[f"{test}{part}"].astype(float) for part in ("", "_std", "_mc", "_mc_std")]
    found = [Point(*row) for row in zip(labels(table), *columns, strict=True)]
    both = [each for each in found if not math.isnan(each.plain + each.sampled)]
    if not both:
        raise RequestError("No run here has a Monte-Carlo score. Try: rnndrop sweep … evaluation.mc.samples=20")
    return both
