"""One self-contained page: the table, curves, differences, rates, decisions, searches, and how each row came about.

The libraries come from installed packages (plotly's own JavaScript; DataTables as itables ships it), their licence
notes with them, so the page asks the network for nothing. All data go through JSON and are written as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from rnndrop.config.identity import canonical, key_of, untracked
from rnndrop.config.metrics import metric_of
from rnndrop.config.tasks import task_by_metric, task_spec
from rnndrop.decisions.document import Decision
from rnndrop.decisions.words import sentences
from rnndrop.errors import RequestError
from rnndrop.extras import how, need
from rnndrop.report import series
from rnndrop.report.comparable import revision
from rnndrop.report.compare import GROUP, compare, placed
from rnndrop.report.decided import story
from rnndrop.report.searched import Searched
from rnndrop.report.select import as_numbers
from rnndrop.report.settings import Settings, show
from rnndrop.report.sheet import HOW, Column, Sheet, lost, sheets, title
from rnndrop.report.spread import bars

DRAWN = 12  # decisions that are drawn, and searches; of further decisions there are the words
LOST = 1000  # unfinished runs that are named
ERROR = 6000  # characters of an error, its end
AXES, LINES = 3, 8  # as many settings must vary, over as many rows, for all of them to be drawn side by side
THEME = 'document.documentElement.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches)'
"""Run before anything is drawn: a dark page never shows white first."""
LIBRARIES = {
    "plotly": ("plotly", "package_data/plotly.min.js"),
    "datatables": ("itables", "html/dt_bundle.js"),
    "datatables_css": ("itables", "html/dt_bundle.css"),
}


def write_page(
    path: Path,
    table: pd.DataFrame,
    runs: pd.DataFrame,
    metric: str,
    decisions: Sequence[Decision] = (),
    searches: Sequence[Searched] = (),
    asked: str = "",
    said: Sequence[str] = (),
) -> None:
    """Write the page of a comparison, with the decisions and searches beside it.

    `asked`: of which folders and conditions the runs are. `said`: what a reader has to know of all of them. Raises
    RequestError where a package is missing or the file cannot be written.
    """
    jinja2 = need("jinja2", "page")
    parts = {name: _library(package, inside) for name, (package, inside) in LIBRARIES.items()}
    own = files("rnndrop.report")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        own.joinpath("page.html").read_text(encoding="utf-8")
    )
    css, script = (own.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    unfinished = int((runs["status"] != "finished").sum())
    text = template.render(
        plotly=parts["plotly"],
        datatables=base64.b64encode(parts["datatables"].encode()).decode(),
        datatables_css=parts["datatables_css"],
        css=css,
        script=script,
        of_maps=re.findall(r'getElementById\("([0-9a-f]{64})"\)', parts["plotly"]),
        theme=THEME,
        scripts=_hashes(THEME, parts["plotly"], script),
        styles=_hashes(parts["datatables_css"], css, ""),
        data=embedded(page_data(table, runs, metric, decisions, searches)),
        runs=len(runs),
        unfinished=unfinished,
        asked=asked,
        said=said,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("rnndrop"),
    )
    try:
        path.write_text(text, encoding="utf-8", errors="replace")  # of a name that is no text
    except OSError as error:
        raise RequestError(f"Cannot write {path}: {error.strerror}.") from None


def _hashes(*texts: str) -> str:
    """The inline scripts, or styles, that the page's policy lets run: these and no others."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _library(package: str, inside: str) -> str:
    """A file of an installed package, found without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RequestError(f"This needs {package}: {how('page')}")
    text = (Path(spec.submodule_search_locations[0]) / inside).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")  # as a browser reads it


def embedded(data: Any) -> str:
    """JSON that cannot end the script element it stands in, and has no NaN."""
    text = json.dumps(_finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e").replace("\u2028", "\\u2028")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    if value is pd.NA or value is pd.NaT:
        return None
    if hasattr(value, "item"):  # a numpy number
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def page_data(
    table: pd.DataFrame,
    runs: pd.DataFrame,
    metric: str,
    decisions: Sequence[Decision] = (),
    searches: Sequence[Searched] = (),
) -> dict[str, Any]:
    """Everything that the page shows, one entry of `tables` for each corpus."""
    if "change" not in table and "source" not in table and (table["dropout"] == "none").any():
        with suppress(RequestError):  # there may be nothing to pair with it
            compared = compare(runs, metric, "none", bootstrap="test_low" in table)
            table = table[GROUP].merge(compared, on=GROUP)  # in the order that was asked for
    runs = placed(runs)
    environments: list[dict[str, Any]] = []
    parts = [part for _, part in table.groupby("data_sha256", sort=False, dropna=False)]
    made = [
        _table(sheet, part, runs, metric, environments)
        for sheet, part in zip(sheets(table, runs, metric), parts, strict=True)
    ]
    name = task_by_metric(metric).title
    return {
        "title": name,
        "tables": made,
        "environments": environments,
        "decisions": [_decision(each, number < DRAWN) for number, each in enumerate(decisions)],
        "searches": [asdict(each) for each in searches if each.name == name][:DRAWN],
        "lost": _lost(runs),
        "defaults": {name: show(value) for name, value in _defaults().items()},
    }


def _defaults() -> Settings:
    """The settings of a plain run, those that count."""
    from rnndrop.config.compose import compose

    return canonical(compose([]).model_dump(mode="json"))


def _lost(runs: pd.DataFrame) -> dict[str, Any]:
    """The runs that did not finish; many end in one error, which is there once."""
    every = lost(runs)
    errors: dict[str, int] = {}
    rows = [{**asdict(each), "error": errors.setdefault(each.error[-ERROR:], len(errors))} for each in every[:LOST]]
    return {"rows": rows, "errors": list(errors), "more": len(every) - len(rows)}


def _table(
    sheet: Sheet, part: pd.DataFrame, runs: pd.DataFrame, metric: str, environments: list[dict[str, Any]]
) -> dict[str, Any]:
    ours = part[part["run_id"].notna()]
    settings: dict[str, Settings] = dict(zip(ours["run_id"], ours["settings"], strict=True))
    first, *others = settings.values()
    common = {name: value for name, value in first.items() if all((name, value) in each.items() for each in others)}
    by_run: dict[str, list[dict[Any, Any]]] = {}
    sha = part["data_sha256"].iloc[0]
    own_runs = runs[runs["data_sha256"].isna() if pd.isna(sha) else runs["data_sha256"] == sha]
    for row in own_runs[own_runs["run_id"].isin(settings)].sort_values("seed").to_dict("records"):
        by_run.setdefault(row["run_id"], []).append(row)
    labels = series.labels(ours)
    names = dict(zip(ours["run_id"], zip(labels, series.distinct(labels), strict=True), strict=True))
    order = _order(sheet.columns, metric)
    rows = [row for row in sheet.rows if row.tone != "floor"]
    values = [_sortable(sheet.columns[at].key, [row.values[at] for row in rows]) for at in order]
    floor = part["floor_perplexity_valid"].dropna()
    return {
        "constants": sheet.constants,
        "columns": [
            {"title": column.header, "left": column.left, "first": column.key in _first(metric)}
            for column in (sheet.columns[at] for at in order)
        ],
        "rows": [
            {
                "cells": [row.cells[at] for at in order],
                "values": [column[place] for column in values],
                "tone": row.tone,
                "marks": {order.index(at): mark for at, mark in row.marks.items()},
                "run": row.run_id,
            }
            for place, row in enumerate(rows)
        ],
        "floor": next(([row.cells[at] for at in order] for row in sheet.rows if row.tone == "floor"), None),
        "floor_valid": floor.iloc[0] if len(floor) else None,
        "notes": sheet.notes,
        "warnings": sheet.warnings,
        "common": {name: show(value) for name, value in common.items()},
        "groups": {
            run: {
                "label": names[run][0],
                "brief": names[run][1],
                "curve": _curve(own),
                "settings": {key: show(value) for key, value in settings[run].items() if key not in common},
                "reproduce": reproduce(own[0]["overrides"], [row["seed"] for row in own]),
                "runs": [_run(row, environments) for row in own],
            }
            for run, own in by_run.items()
        },
        "forest": _forest(ours, metric) if "change" in part else None,
        "rates": _rates(ours, metric),
        "axes": _axes(ours, metric),
        "spread": _spread(ours, own_runs),
    }


def _sortable(key: str, values: list[Any]) -> list[Any]:
    """What a column is sorted by: settings stand in it as text, and are numbers where all that are given are."""
    if "." not in key:
        return values
    numbers = as_numbers(pd.Series(["null" if pd.isna(value) else value for value in values]))
    return numbers.tolist() if pd.api.types.is_numeric_dtype(numbers) else values


def _first(metric: str) -> tuple[str, ...]:
    """The keys of the columns that stand first: what a row is, of how many seeds, what it scored, against what."""
    return "dropout", "n", metric, "change"


def _order(columns: list[Column], metric: str) -> list[int]:
    """Where each column of the page stands in the sheet."""
    first = _first(metric)
    return sorted(
        range(len(columns)), key=lambda at: first.index(key) if (key := columns[at].key) in first else len(first)
    )


def _decision(decision: Decision, drawn: bool) -> dict[str, Any]:
    """What a decision says, and where it has a look and is to be drawn, how it came about."""
    found: dict[str, Any] = {"lines": sentences(decision), "story": None}
    if drawn and decision.looks:
        own = story(decision)
        found["story"] = {
            **asdict(own),
            "compared": own.compared,
            "evidence_limits": own.evidence_limits,
            "change_limits": own.change_limits,
            "courses": [{**asdict(course), "deciding": course.deciding} for course in own.courses],
        }
    return found


def _spread(ours: pd.DataFrame, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Where the spread comes from, of the plans that were measured."""
    with suppress(RequestError):  # none was
        return [asdict(each) for each in bars(ours, runs)]
    return []


def _forest(ours: pd.DataFrame, metric: str) -> dict[str, Any]:
    """The differences, and what they are of."""
    rows: list[series.Difference] = []
    with suppress(RequestError):  # no score has a ratio
        rows = series.forest(ours, metric)
    about = f"{title(metric)} against {series.against(ours)}" if rows else ""
    names = series.distinct([each.label for each in rows])
    return {
        "rows": [{**asdict(each), "df": each.freedom, "brief": name} for each, name in zip(rows, names, strict=True)],
        "about": about,
        "how": HOW[ours["interval"].iloc[0] if "interval" in ours else "seeds"],
    }


def _rates(ours: pd.DataFrame, metric: str) -> dict[str, Any] | None:
    """The score against the rate of each location, where any ran at two."""
    with suppress(RequestError):
        return {"title": title(metric), "lines": [asdict(line) for line in series.rates(ours, metric)]}
    return None


def _axes(ours: pd.DataFrame, metric: str) -> dict[str, Any] | None:
    """All that varies beside the score, where much does."""
    scored = ours[ours[metric].notna()]
    found = series.axes(scored) if len(scored) else []
    if len(found) < AXES or len(scored) < LINES:
        return None
    return {
        "axes": [asdict(axis) for axis in found],
        "runs": list(scored["run_id"]),
        "score": {
            "name": title(metric),
            "values": scored[metric].astype(float).tolist(),
            "lower": metric_of(metric).lower_is_better,
        },
    }


def _curve(own: list[dict[Any, Any]]) -> dict[str, Any] | None:
    """The mean learning curve of a group's finished runs, and its spread."""
    seeds = series.histories(row["folder"] for row in own if row["status"] == "finished")
    if not seeds:
        return None
    found = series.curve("", seeds)
    numbers = {name: [_rounded(value) for value in getattr(found, name)] for name in ("train", "valid", "valid_std")}
    return {**numbers, "epochs": found.epochs, "seeds": found.seeds}


def _run(row: dict[Any, Any], environments: list[dict[str, Any]]) -> dict[str, Any]:
    """One seed: what it came to, and where it was computed (an index, for most are alike)."""
    environment = {
        **{
            key: value
            for key, value in row["environment"].items()
            if key not in ("git_revision", "git_dirty", "earlier")
        },
        "revision": revision(row["git_revision"], row["git_dirty"]),
    }
    if environment not in environments:
        environments.append(environment)
    metric = task_spec(row["task"]).metric
    return {
        "seed": row["seed"],
        "status": row["status"],
        "valid": row[f"valid_{metric}"],
        "test": row[f"test_{metric}"],
        "folder": row["folder"],
        "environment": environments.index(environment),
    }


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if isinstance(value, (int, float)) and math.isfinite(value) else None


def reproduce(overrides: Iterable[str], seeds: Iterable[int]) -> str:
    """The command that makes a row's runs again."""
    elsewhere = ("seed", "output", "trainer.device", "trainer.threads")
    own = [each for each in untracked(overrides) if key_of(each) not in elsewhere]
    numbers = ",".join(str(seed) for seed in sorted(set(seeds)))
    return shlex.join(["rnndrop", "sweep" if "," in numbers else "run", *own, f"seed={numbers}"])
