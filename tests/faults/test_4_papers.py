"""What the recipes, pages and published rows say of the papers holds, and is said in one way everywhere."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from rnndrop import stats
from rnndrop.config.compose import choices, compose
from rnndrop.dropout.rule import LOCATIONS
from rnndrop.report.published import beside, comparable, note, published
from rnndrop.report.redefined import redefined
from rnndrop.reproduction.measured import Measured
from rnndrop.reproduction.outcomes import outcomes, their_row
from rnndrop.reproduction.readme import section
from rnndrop.reproduction.recipe import load
from tests.conftest import ROOT

RESULTS = ROOT / "results"
VALID_ROWS = 73_760 // 20  # tokens of a column of the Penn Treebank's valid set, in the batches of 20 of these papers
WINDOWS = {"lstm 2×200": 20, "lstm 2×650": 35, "lstm 2×1250": 35, "lstm 2×1500": 35}
FLOORED = ("Zaremba et al. 2014", "Gal & Ghahramani 2016, Table 1", "Gal's released code (yaringal/BayesianRNN)")


def opening(name: str) -> str:
    text = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text("utf-8")
    return " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))


def test_4_valid_numbers_with_floored_windows_are_corrected_in_every_row() -> None:
    rows = published()
    theirs = rows[rows["source"].isin(FLOORED) & rows["valid"].notna() & rows["model"].isin(list(WINDOWS))]
    assert len(theirs) == 17 and len(theirs) == rows["valid_comparable"].notna().sum()
    for row in theirs.to_dict("records"):
        windows = (VALID_ROWS - 1) / WINDOWS[row["model"]]
        exact = row["valid"] ** (windows / math.floor(windows))
        digits = 3 if row["valid"] > 77 and row["source"].startswith("Gal's") else 1
        assert row["valid_comparable"] == round(exact, digits), row
        assert f"{math.floor(windows)} windows" in row["valid_why"]
        assert comparable(row, "valid") == row["valid_comparable"] and comparable(row, "test") == row["test"]
    assert set(theirs["valid_comparable"]) >= {121.8, 87.5, 83.4, 79.0, 78.4}


def test_4_ours_are_compared_with_the_comparable_number_and_both_are_shown() -> None:
    valid, test = Measured.read(RESULTS, "zaremba_small", "full").outcomes
    assert (valid.published, valid.comparable) == (120.7, 121.8)
    assert valid.difference == pytest.approx(-2.0, abs=0.05) and valid.within is False
    assert (test.published, test.comparable, test.within) == (114.5, 114.5, True)
    page = (RESULTS / "README.md").read_text("utf-8")
    assert "| small | valid | 1 | 119.8 | 120.7 (121.8) | -2.0 | no (± 1.2) |" in page
    assert page.count("In brackets: ") == 4  # below each table that has such a number, and nowhere else


def test_4_a_report_takes_the_comparable_number_and_says_what_is_printed() -> None:
    settings = {"data.train_tokens": None, "data.level": "word"}
    ours = {"data": "ptb", "data_sha256": "x", "run_id": "1", "model": "lstm 2×1500", "dropout": "variational",
            "plan": "", "n": 1, "valid_perplexity": 78.0, "test_perplexity": 75.0, "settings": settings}  # fmt: skip
    table = beside(pd.DataFrame([ours])).set_index("dropout")
    large = table.loc["variational, tied weights [Gal & Ghahramani 2016, Table 1]"].iloc[0]
    assert (large["valid_perplexity"], large["valid_published"]) == (78.4, 77.3)
    assert "every token counts" in note(table) and "78.4 for 77.3" in note(table)
    tutorial = table.loc["large [TensorFlow PTB tutorial]"]
    assert tutorial["valid_perplexity"] == 82.62 and pd.isna(tutorial["valid_published"])


def reproduced() -> list[tuple[str, pd.Series]]:
    """Each recipe of a reproduction that stands for one published row, with that row."""
    found = []
    for name in choices("reproduce"):
        for row in load(name).rows.values():
            theirs = their_row(load(name), row)
            if len(row.run) == 1 and len(theirs) and bool(theirs["checked"].all()):
                found.append((row.run[0].removeprefix("experiment="), theirs[~theirs["mc"]].iloc[0]))
    return found


@pytest.mark.parametrize(("recipe", "row"), reproduced(), ids=[name for name, _ in reproduced()])
def test_4_recipes_and_guide_say_the_numbers_of_the_reference(recipe: str, row: pd.Series) -> None:
    text = opening(recipe)
    guide = (ROOT / "docs" / "guide" / "papers.md").read_text("utf-8")
    line = next(each for each in guide.splitlines() if each.startswith("| `") and f"`{recipe}`" in each.split("|")[1])
    for number in (row["valid"], row["test"], comparable(row, "valid")):
        assert f"{number:g}" in text.replace(".0 ", " ") or f"{number:.1f}" in text, number
        assert re.search(rf"\b{number:g}\b|\b{number:.1f}\b", line), number


def test_4_the_untied_large_model_is_held_to_the_numbers_after_the_fix() -> None:
    reproduction = load("gal_large")
    found = {(each.row, each.metric): each for each in outcomes(reproduction, "full", {})}
    untied = [found["untied", name].published for name in ("valid_perplexity", "test_perplexity", "test_perplexity_mc")]
    assert untied == [77.457, 75.112, 73.319]
    assert found["tied", "test_perplexity"].published == 75.0
    before = published()[published()["label"].str.contains("untied") & published()["source"].str.endswith("Table 1")]
    assert before["notes"].str.startswith("before the embedding-tying fix").all() and len(before) == 4


def test_4_zoneout_has_its_own_rates_for_words_added_to_zarembas_dropout() -> None:
    words, zaremba = compose(["dropout=zoneout_words"]).plan, compose(["dropout=zaremba"]).plan
    memory = {rule.location: rule.p for rule in words.active if rule.kind == "zoneout"}
    assert memory == {"cell": 0.25, "state": 0.025}
    assert [str(rule) for rule in words.active if rule.kind != "zoneout"] == [str(rule) for rule in zaremba.active]
    assert {rule.p for rule in compose(["dropout=zoneout"]).plan.active} == {0.5, 0.05}
    recipe, large = compose(["experiment=zoneout_ptb_word"]), compose(["experiment=zaremba_large"])
    assert recipe.model == large.model and recipe.trainer.epochs == large.trainer.epochs
    rates = {rule.location: rule.p for rule in recipe.plan.active}
    assert rates == {"input": 0.65, "hidden": 0.65, "cell": 0.25, "state": 0.025, "output": 0.65}
    (row,) = published()[published()["dropout"] == "zoneout_words"].to_dict("records")
    assert (row["valid"], row["test"]) == (81.4, 77.4) and "81.4" in opening("zoneout_ptb_word")
    page = (ROOT / "docs" / "kinds" / "zoneout.md").read_text("utf-8")
    assert "z_c = .25" in page and "not competitive on words" in page and "1 − z" in page
    for name, others in (("zoneout", set()), ("zoneout_words", {0.4})):
        rules = [*compose(load("low_data").rows[name].run).plan.active]
        assert {rule.location: rule.p for rule in rules if rule.kind == "zoneout"} == memory
        assert {rule.p for rule in rules if rule.kind != "zoneout"} == others


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("zoneout_ptb_char", ["orthogonal", "separate", "initial state", "step of Adam"]),
        ("zaremba_small", ["last epoch", "one stream"]),
        ("zaremba_medium", ["last epoch", "one stream"]),
        ("zaremba_large", ["last epoch", "one stream"]),
        ("gal_medium", ["last epoch", "three trainings", "weight decay"]),
        ("gal_large", ["last epoch", "three trainings", "unstable"]),
        ("awd_ptb", ["bias", "one stream", "window before"]),
        ("moon_medium", ["rate", "weight decay"]),
    ],
)
def test_4_a_recipe_says_what_it_leaves_out(recipe: str, words: list[str]) -> None:
    said = opening(recipe).partition("Left out: ")[2]
    assert said and all(word in said for word in words)


def test_4_what_was_confirmed_is_checked_and_what_was_not_is_marked() -> None:
    rows = published().set_index("source")
    assert rows.loc["TensorFlow PTB tutorial", "checked"].all() and len(rows.loc["TensorFlow PTB tutorial"]) == 3
    assert rows.loc["gluon-nlp", "checked"].all() and len(rows.loc["gluon-nlp"]) == 3
    table = rows.loc["Gal & Ghahramani 2016, Table 1"]
    doubtful = table["label"].str.startswith(("non-regularised", "Moon"))
    assert not table.loc[doubtful, "checked"].any() and table.loc[~doubtful, "checked"].all()
    page = (RESULTS / "README.md").read_text("utf-8")
    assert "| 100.7 (102.2) ? |" in page and "| 97.0 ? |" in page


def test_4_sentiment_states_corrected_p_values_and_what_differs_from_the_paper() -> None:
    guide = (ROOT / "docs" / "guide" / "sentiment.md").read_text("utf-8")
    runs = pd.read_csv(RESULTS / "sentiment.csv").set_index(["cell", "dropout", "seed"]).sort_index()["test_rmse"]
    p = [
        stats.difference(runs[cell, "variational"], runs[cell, plan]).p
        for cell in ("lstm", "gru")
        for plan in ("none", "naive")
    ]
    assert [f"{each:.2g}" for each in p] == ["0.027", "0.01", "0.052", "0.43"]
    assert re.findall(r"t test p = ([\d.]+)", guide) == [f"{each:.2g}" for each in stats.holm(p)]
    assert re.findall(r"t test p = ([\d.]+)", guide) == ["0.08", "0.04", "0.1", "0.43"]
    for words in ("1,250", "variational_untied", "before the product", "gate starts with a bias of 1", "hard sigmoids"):
        assert words in guide.replace("\n", " "), words
    overrides = [found for found in re.findall(r"`(dropout[^`]*=[^`]*)`", guide) if found.endswith(("p=0.5", "]"))]
    assert len(overrides) == 2
    theirs = " ".join(overrides).split()  # dropout=naive as the paper's naive models have it
    plan, ours = (compose(["task=sentiment", *each]).plan for each in (theirs, ["dropout=variational"]))
    of_words = [[str(rule) for rule in each.active if rule.location == "embedding"] for each in (plan, ours)]
    assert of_words[0] == of_words[1] != []
    gated = {rule.location for rule in plan.active if {"time", "gate"} <= rule.varies}
    assert gated == {"input", "recurrent"}


def test_4_the_dropouts_of_gals_code_are_where_its_names_say() -> None:
    rates = {rule.location: rule.p for rule in compose(["experiment=gal_large_untied"]).plan.active}
    theirs = {"x": 0.3, "i": 0.5, "h": 0.3, "o": 0.5}  # main_new_dropout_SOTA_v3_fix.lua
    named = {place.name: place.aliases.partition("Gal ")[2] for place in LOCATIONS.values()}
    assert rates == {location: theirs[name] for location, name in named.items() if name}


def test_4_the_page_says_how_precise_a_number_of_low_data_is() -> None:
    page = " ".join((RESULTS / "README.md").read_text("utf-8").split())
    for words in ("+3.0, −0.0 and +1.0 %", "One seed chose each factor", "best at the largest factor"):
        assert words in page, words
    naive = compose(load("low_data").rows["naive"].run).plan.active
    rates = {rule.p for name in ("naive", "variational", "locked", "rnndrop") for rule in
             compose(load("low_data").rows[name].run).plan.active if rule.location != "embedding"}  # fmt: skip
    assert rates == {rule.p for rule in naive} == {0.4}


@pytest.mark.parametrize(
    ("settings", "early", "outdated"),
    [
        ("dropout=rnndrop", True, True),
        ("dropout=rnndrop", False, False),
        ("dropout.cell.varies=[feature] dropout.cell.p=0.2 dropout.cell.noise=gaussian", True, True),
        ("dropout.cell.kind=zoneout dropout.cell.p=0.5", True, False),
        ("dropout.cell.kind=naive dropout.cell.fill=previous dropout.cell.p=0.5", True, False),
        ("dropout=rnndrop dropout.cell.p=0", True, False),
        ("dropout=rnndrop model=gru", True, True),
        ("dropout=variational", True, False),
    ],
)
def test_4_what_a_name_meant_before(settings: str, early: bool, outdated: bool) -> None:
    from rnndrop.config.identity import canonical

    tree = canonical(compose(settings.split()).model_dump(mode="json"))
    run = {"run_id": "0123abcd" if early else "0123abcd4567", "settings": tree}
    assert (redefined(run) is not None) is outdated


def test_4_runs_of_another_definition_are_named_and_not_counted(tmp_path: Path) -> None:
    row = pd.read_csv(RESULTS / "low_data.csv", dtype=str).iloc[:1]
    for run_id, counted in (("0123abcd", 0), ("0123abcd4567", 1)):
        row.assign(run_id=run_id, settings="experiment=moon_medium", plan="cell locked .5").to_csv(
            tmp_path / "gal_medium.csv", index=False
        )
        page = "\n".join(section(Measured.read(tmp_path, "gal_medium", "full")))
        assert f"| moon | test | {counted} |" in page
        assert ("Committed, but measured when" in page) is not bool(counted)
        assert counted or "counted nowhere: cell locked .5 (1)." in page


def test_4_a_reproduction_prints_json_with_both_numbers() -> None:
    from dataclasses import asdict

    rows = [asdict(each) for each in outcomes(load("zaremba_small"), "full", {"small": [{"valid_perplexity": 121.0}]})]
    (valid, _) = json.loads(json.dumps(rows))
    assert (valid["published"], valid["comparable"], valid["within"]) == (120.7, 121.8, True)
