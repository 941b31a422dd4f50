from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.report.published import beside, published
from rnndrop.report.tables import render

PLACES = [folder / "shared" / "reference" / "papers.md" for folder in Path(__file__).parents]


@pytest.fixture
def medium(few: Path, change: Callable[..., None]) -> Path:
    """The three plans as if trained with 2×650 on the Penn Treebank."""

    def edit(record: dict[str, Any]) -> None:
        record["data"].update(name="ptb", floor_perplexity=None, floor_perplexity_valid=None)
        record["config"]["data"]["name"], record["config"]["model"]["hidden"] = "ptb", 650

    change(few, edit)
    return few


def test_every_row_has_a_source_and_says_whether_it_was_checked() -> None:
    rows = published()
    assert len(rows) == 81 and rows["checked"].notna().all() and rows["source"].notna().all()
    assert not rows.loc[rows["source_tag"] == "M", "checked"].any() and (rows["source_tag"] == "M").sum() == 6
    assert rows["test"].notna().all() and rows["test"].between(40, 130).all()
    assert not rows.duplicated(["source", "data", "model", "label", "mc", "parameters", "notes"]).any()


def test_the_numbers_are_those_of_the_notes() -> None:
    rows = published().set_index(["source", "model", "label", "mc"]).sort_index()
    gal = rows.loc[[("Gal & Ghahramani 2016, Table 1", "lstm 2×1500", "variational, tied weights", False)]].iloc[0]
    assert (gal["valid"], gal["valid_std"], gal["test"], gal["test_std"]) == (77.3, 0.2, 75.0, 0.1)
    papers = next((path for path in PLACES if path.exists()), None)
    if papers is None:
        pytest.skip("papers.md is not here: only the fixed row was compared")
    text = papers.read_text(encoding="utf-8")
    there = published()[~published()["source"].str.startswith("Krueger")]  # came later
    for value in pd.concat([there["valid"], there["test"]]).dropna():
        assert any(form in text for form in (f"{value:.1f}", f"{value:.2f}", f"{value:.3f}", f"{value:g}")), value


def test_published_rows_stand_below_ours(medium: Path) -> None:
    runs = load_runs(medium)
    table = beside(compare(runs, baseline="none"))
    labels = table["dropout"].tolist()
    ours = labels.index("variational")
    assert labels[ours + 1].startswith("variational, tied weights [Gal")
    assert labels[labels.index("none") + 1] == "non-regularised (early stopping) [Gal & Ghahramani 2016, Table 1] ?"
    assert set(table["model"]) == {"lstm 2×650"}
    mc = table[(table["source"].notna()) & table["test_perplexity"].isna()]
    assert sorted(mc["test_perplexity_mc"]) == [78.6, 79.0]
    text = render(table, runs, "md", "test_perplexity")
    assert "79.7 ± 0.1" in text and "was not checked" in text


def test_other_data_get_none(few: Path) -> None:
    assert beside(compare(load_runs(few)))["source"].isna().all()


def test_a_cut_corpus_gets_none(medium: Path, change: Callable[..., None]) -> None:
    change(medium, lambda r: r["config"]["data"].update(train_tokens=1000))
    assert beside(compare(load_runs(medium)))["source"].isna().all()
