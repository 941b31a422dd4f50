"""Published rows beside one's own: `results/reference/*.csv`, joined by data set, model size and dropout plan."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from io import StringIO
from typing import Any

import pandas as pd

TYPES = {"checked": "boolean", "mc": "boolean", "parameters": "Float64", "notes": "string", "valid_why": "string"}


@cache
def published() -> pd.DataFrame:
    """Every published row: `source`, its tag in papers.md, whether it was `checked`, what was measured and the result.

    `dropout` names the plan of `conf/dropout` that it is, and is missing where the plan is not one of those.
    """
    folder = files("rnndrop.reference")
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".csv"))
    parts = [pd.read_csv(StringIO(folder.joinpath(name).read_text(encoding="utf-8")), dtype=TYPES) for name in names]
    return pd.concat(parts, ignore_index=True)


def comparable(row: Mapping[Any, Any] | pd.Series, column: str) -> Any:
    """A number of a published row as it is when every token counts once: mostly as it is printed there.

    Where their code counts otherwise, `results/reference` has the other number and why.
    """
    other = row.get(f"{column}_comparable")
    return row[column] if other is None or pd.isna(other) else other


def beside(table: pd.DataFrame) -> pd.DataFrame:
    """Add to a comparison the published rows of the same data and model size, each below our row of its plan.

    Where nothing was published at our size, the rows of all sizes are added. Corpora that were cut or read by
    character are not the published data, so they get none. The rows' `source` tells them from our own. Their numbers
    are the comparable ones; where that is not what is printed there, `valid_published` is.
    """
    parts = []
    for _, part in table.groupby("data_sha256", sort=False, dropna=False):
        part = part.assign(source=pd.array([None] * len(part), dtype="string"))
        rows = _matching(part)
        if rows.empty:
            parts.append(part)
            continue
        theirs = pd.DataFrame([_as_ours(row, part.iloc[0]) for row in rows.to_dict("records")])
        ours = list(zip(part["dropout"], part["model"], strict=True))
        keys = zip(rows["dropout"], rows["model"], strict=True)
        theirs["order"] = [(ours.index(key) if key in ours else len(ours)) + 0.5 for key in keys]
        part = part.assign(order=range(len(part)))
        joined = _stacked([part.astype({"settings": object}), theirs]).sort_values("order", kind="stable")
        parts.append(joined.drop(columns="order"))
    return _stacked(parts).reset_index(drop=True)


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Frames one below the other. Columns in which one has nothing are added later: pandas 2 guesses their types."""
    columns = dict.fromkeys(name for part in parts for name in part.columns)
    return pd.concat([part.dropna(axis=1, how="all") for part in parts]).reindex(columns=list(columns))


def _matching(part: pd.DataFrame) -> pd.DataFrame:
    settings, rows = part["settings"].iloc[0], published()
    if settings.get("data.train_tokens") is not None or settings.get("data.level") != "word":
        return rows.iloc[:0]
    rows = rows[rows["data"] == part["data"].iloc[0]]
    same_size: pd.DataFrame = rows[rows["model"].isin(part["model"])]
    return rows if same_size.empty else same_size


def _as_ours(row: dict[Any, Any], like: pd.Series) -> dict[str, object]:
    """A published row in the columns of a comparison."""
    test = "test_perplexity_mc" if row["mc"] else "test_perplexity"
    doubt = "" if row["checked"] else " ?"
    return {
        "data": row["data"],
        "data_sha256": like["data_sha256"],
        "run_id": None,
        "model": row["model"],
        "dropout": f"{row['label']} [{row['source']}]{doubt}",
        "plan": row["dropout"],
        "parameters": row["parameters"],
        "n": 0,
        **dict.fromkeys(("diverged", "failed", "interrupted"), 0),
        "valid_perplexity": comparable(row, "valid"),
        "valid_published": None if comparable(row, "valid") == row["valid"] else row["valid"],
        "valid_perplexity_std": row["valid_std"],
        test: row["test"],
        f"{test}_std": row["test_std"],
        "settings": like["settings"],
        "overrides": [],
        "source": row["source"],
        "source_tag": row["source_tag"],
        "checked": row["checked"],
    }


def note(part: pd.DataFrame) -> str:
    """How to read the published rows of a table: whose numbers they are, and which are counted otherwise there."""
    words = "published rows: as printed there"
    if (counted := part[part["valid_published"].notna()]).size:
        pairs = zip(counted["valid_perplexity"], counted["valid_published"], strict=True)
        both = ", ".join(dict.fromkeys(f"{ours:.1f} for {theirs:.1f}" for ours, theirs in pairs))
        words += f", but valid as it is when every token counts ({both})"
    return f"{words}; ? was not checked against the source"
