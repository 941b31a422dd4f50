from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from rnndrop.config.compose import compose
from rnndrop.config.identity import canonical
from rnndrop.errors import RequestError
from rnndrop.report.compare import compare, settings_columns
from rnndrop.report.frames import load_runs
from rnndrop.report.select import last, sort, where
from rnndrop.report.settings import dropout_labels, plan_text
from rnndrop.report.sheet import failures, sheets

Change = Callable[..., None]


def test_groups_are_means_over_seeds_best_first(few: Path) -> None:
    runs = load_runs(few)
    table = compare(runs)
    values = runs.groupby("dropout")["test_perplexity"]
    for row in table.to_dict("records"):
        own = values.get_group(row["dropout"]).astype(float)
        assert row["n"] == 5
        assert row["test_perplexity"] == pytest.approx(own.mean())
        assert row["test_perplexity_std"] == pytest.approx(own.std(ddof=1))
        interval = scipy_stats.t.interval(0.95, 4, own.mean(), scipy_stats.sem(own))
        assert (row["test_perplexity_low"], row["test_perplexity_high"]) == pytest.approx(interval)
    assert table["test_perplexity"].is_monotonic_increasing and table["ratio"].iloc[0] == 1.0


def test_a_baseline_is_compared_over_all_seeds_and_corrected(few: Path) -> None:
    runs = load_runs(few)
    table = compare(runs, baseline="none").set_index("dropout")
    logs = {
        name: np.log(part.sort_values("seed")["test_perplexity"].astype(float))
        for name, part in runs.groupby("dropout")
    }
    p = {
        name: scipy_stats.ttest_ind(logs[name], logs["none"], equal_var=False).pvalue
        for name in ("naive", "variational")
    }
    for name, value in p.items():
        assert table.loc[name, "p"] == pytest.approx(value, rel=1e-6)
        assert table.loc[name, "change"] == pytest.approx(
            np.expm1(np.mean(np.asarray(logs[name]) - np.asarray(logs["none"])))
        )
    assert table.loc["variational", "p_holm"] == pytest.approx(min(1, 2 * p["variational"]))
    assert np.isnan(table.loc["none", "change"])


def test_seeds_that_failed_do_not_count(few: Path, change: Change) -> None:
    change(
        few, lambda r: r.update(status="failed"), lambda r: r["seed"] > 2 and r["config"]["dropout"]["name"] == "naive"
    )
    table = compare(load_runs(few), baseline="none").set_index("dropout")
    assert table.loc["naive", "failed"] == 2 and table.loc["naive", "df"] <= 6 < 8 >= table.loc["variational", "df"]


def test_a_group_that_never_finished_is_no_row(few: Path, change: Change) -> None:
    change(few, lambda r: r.update(status="diverged", metrics={}), lambda r: r["config"]["dropout"]["name"] == "naive")
    runs = load_runs(few)
    table = compare(runs, baseline="none")
    assert set(table["dropout"]) == {"none", "variational"}
    (sheet,) = sheets(table, runs, "test_perplexity")
    assert len(sheet.rows) == 3 and len(failures(runs)) == 5  # with the floor
    assert all(line.startswith("diverged: dropout=naive seed") for line in failures(runs))


def test_baseline_pairs_within_the_same_model(few: Path, change: Change) -> None:
    def larger(record: dict[str, Any]) -> None:
        record["run_id"] = "L" + record["run_id"][1:]
        record["config"]["model"]["hidden"] = 650

    change(few, larger, lambda r: r["seed"] >= 2)
    table = compare(load_runs(few), baseline="none")
    partners = dict(zip(table["run_id"], table["baseline"], strict=True))
    assert len(table) == 6
    for run, partner in partners.items():
        if isinstance(partner, str):
            assert run.startswith("L") == partner.startswith("L")
    by_size = compare(load_runs(few), baseline="model.hidden=200")
    assert by_size["change"].notna().sum() == 3  # whatever the seeds


def test_an_unknown_baseline_or_metric_is_refused_with_a_guess(few: Path) -> None:
    with pytest.raises(RequestError, match="Did you mean 'none'"):
        compare(load_runs(few), baseline="nonne")
    with pytest.raises(RequestError, match="valid_perplexity"):
        compare(load_runs(few), metric="loss")


def test_different_data_are_never_ranked_together(few: Path, change: Change) -> None:
    change(few, lambda r: r["data"].update(sha256="0" * 64), lambda r: r["config"]["dropout"]["name"] == "none")
    runs = load_runs(few)
    table = compare(runs)
    assert table["data_sha256"].nunique() == 2 and (table["ratio"] == 1).sum() == 2
    made = sheets(table, runs, "test_perplexity")
    assert len(made) == 2 and "no common ranking" in made[-1].notes[-1]


def test_names_say_what_differs(hundred: Path) -> None:
    table = compare(load_runs(hundred))
    assert table["dropout"].is_unique
    assert {"variational", "recurrent locked .1", "recurrent naive .2"} <= set(table["dropout"])


def test_an_override_of_a_named_plan_is_shown(few: Path, change: Change) -> None:
    def weaker(record: dict[str, Any]) -> None:
        record["run_id"], record["overrides"] = "weaker", ["dropout=variational", "dropout.recurrent.p=0.1"]
        record["config"]["dropout"]["recurrent"]["p"] = 0.1

    change(few, weaker, lambda r: r["config"]["dropout"]["name"] == "variational" and r["seed"] > 1)
    assert set(compare(load_runs(few))["dropout"]) == {"none", "naive", "variational", "variational recurrent.p=0.1"}


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        ("dropout=none 'dropout.input.also=[{kind:locked,p:0.2}]'", "input locked .2"),
        ("dropout=variational 'dropout.input.also=[{kind:token,p:0.2}]'", "variational input.also=[token .2]"),
        (
            "dropout=variational dropout.input.p=0 'dropout.input.also=[{kind:token,p:0.2}]'",
            "variational input.kind=token input.p=0.2 input.also=null",
        ),
        ("dropout=token_and_locked", "token_and_locked"),
        ("dropout=token_and_locked dropout.input.also=[]", "token_and_locked input.also=null"),
        (
            "dropout=token_and_locked dropout.input.p=0",
            "token_and_locked input.kind=token input.p=0.1 input.also=null",
        ),
        ("dropout=none 'dropout.input={kind:locked,p:0.2}'", "input locked .2"),
        ("dropout=variational 'dropout.input={kind:token,p:0.1}'", "variational input.kind=token input.p=0.1"),
        ("dropout=drifting dropout.input.flip=null", "drifting input.flip=null"),
        ("dropout=variational dropout.input.p=0", "variational input.p=0"),
        ("dropout=variational dropout.hidden.kind=naive model.layers=1", "variational"),
    ],
)
def test_a_run_is_labelled_by_all_that_its_overrides_change(asked: str, label: str) -> None:
    overrides = shlex.split(asked)
    settings = canonical(compose(overrides).model_dump(mode="json"))
    assert dropout_labels([settings], [plan_text(settings)], [overrides], []) == [label]


def test_a_setting_that_varies_gets_a_column_and_a_constant_none(few: Path, change: Change) -> None:
    def slower(record: dict[str, Any]) -> None:
        record["run_id"] = "S" + record["run_id"][1:]
        record["config"]["trainer"]["learning_rate"] = 0.001

    change(few, slower, lambda r: r["seed"] == 4)
    table = compare(load_runs(few))
    assert settings_columns(table) == ["trainer.learning_rate"]
    assert set(table["trainer.learning_rate"]) == {"0.003", "0.001"}


def test_what_makes_runs_unlike_is_said(few: Path, change: Change) -> None:
    change(few, lambda r: r["environment"].update(device="cuda", git_dirty=True), lambda r: r["seed"] == 0)
    runs = load_runs(few)
    (sheet,) = sheets(compare(runs), runs, "test_perplexity")
    text = "\n".join(sheet.warnings)
    assert "device" in text and "cpu" in text and "cuda" in text and "0000000-dirty" in text and "uncommitted" in text


def test_bootstrap_brackets_the_test_perplexity(few: Path) -> None:
    table = compare(load_runs(few), baseline="none", bootstrap=True)
    assert (table["test_low"] < table["test_perplexity"]).all() and (
        table["test_perplexity"] < table["test_high"]
    ).all()
    paired = table[table["change"].notna()]
    assert (paired["change_test_high"] - paired["change_test_low"] < 0.02).all()  # paired: hard blocks cancel


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("model=lstm", 15),
        ("dropout=none,naive", 10),
        ("dropout!=none", 10),
        ("seed<2", 6),
        ("recurrent.kind=locked", 5),
        ("model.hidden=650", 0),
        ("model=2x200", 15),
        ("test_perplexity>=1e9", 0),
    ],
)
def test_where(few: Path, condition: str, count: int) -> None:
    assert len(where(load_runs(few), [condition])) == count


@pytest.mark.parametrize("condition", ["droput=none", "dropout", "dropout<naive", "p=0.1"])
def test_where_refuses(few: Path, condition: str) -> None:
    with pytest.raises(RequestError):
        where(load_runs(few), [condition])


def test_last(few: Path) -> None:
    runs, now = load_runs(few), datetime.now(UTC)
    assert len(last(runs, "1d", now)) == 15 and last(runs, "1h", now + timedelta(days=1)).empty
    with pytest.raises(RequestError, match="1d"):
        last(runs, "yesterday")


def test_sort(few: Path) -> None:
    table = compare(load_runs(few))
    assert sort(table, "dropout")["dropout"].tolist() == ["naive", "none", "variational"]
    assert sort(table, "-valid_perplexity")["valid_perplexity"].is_monotonic_decreasing
    with pytest.raises(RequestError, match="Did you mean"):
        sort(table, "tset_perplexity")


def test_a_difference_can_be_uncertain_by_the_text_or_by_both(few: Path) -> None:
    runs = load_runs(few)
    tables = {
        how: compare(runs, baseline="none", interval=how).set_index("dropout") for how in ("seeds", "text", "both")
    }
    for name in ("naive", "variational"):
        rows = {how: table.loc[name] for how, table in tables.items()}
        assert rows["text"]["change"] == rows["both"]["change"] == rows["seeds"]["change"]
        assert rows["text"]["change_low"] < rows["text"]["change"] < rows["text"]["change_high"]
        assert rows["text"]["df"] == 19 > rows["seeds"]["df"]  # twenty stretches
    assert "interval" not in tables["seeds"] and set(tables["both"]["interval"]) == {"both"}
    (sheet,) = sheets(compare(runs, baseline="none", interval="both"), runs, "test_perplexity")
    assert any("seeds and test text together" in note for note in sheet.notes)


def test_the_text_is_that_of_the_test_perplexity_alone(few: Path) -> None:
    runs = load_runs(few)
    for request in ({"metric": "valid_perplexity", "baseline": "none"}, {"baseline": None}):
        with pytest.raises(RequestError, match="--baseline"):
            compare(runs, interval="both", **request)  # type: ignore[arg-type]
