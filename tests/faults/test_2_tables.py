"""Numbers that reports averaged or chose wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnndrop.errors import RequestError
from rnndrop.report import series
from rnndrop.report.comparable import caveats
from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.report.sheet import sheets
from rnndrop.reproduction.outcomes import outcomes
from rnndrop.reproduction.recipe import load
from tests.invented import write_run

FIVE = {"samples": 5, "masks": "pass", "embedding": False}
TWO = {"samples": 2, "masks": "window", "embedding": False}


def locked(rate: float) -> list[str]:
    return ["dropout.recurrent.kind=locked", f"dropout.recurrent.p={rate}"]


def test_2_2_the_heat_map_chooses_the_rate_on_valid_and_shows_test(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, ["dropout=none"], seed, 100.0)
        write_run(tmp_path, locked(0.1), seed, 80.0, metrics={"valid_perplexity": 95.0})  # the best by test
        write_run(tmp_path, locked(0.3), seed, 90.0, metrics={"valid_perplexity": 85.0})  # the best by valid
    table = compare(load_runs(tmp_path))
    grid = series.heatmap(table, "test_perplexity")
    assert grid.p.item() == 0.3 and grid.value.item() == pytest.approx(-10)


def test_2_2_plans_that_differ_in_fill_alone_are_not_taken_for_one(tmp_path: Path) -> None:
    for test, fill in ((80.0, "zero"), (90.0, "previous")):
        rule = ["dropout.cell.varies=[time,batch,feature]", "dropout.cell.p=0.2", f"dropout.cell.fill={fill}"]
        write_run(tmp_path, rule, 0, test)
    kinds = series.heatmap(compare(load_runs(tmp_path)), "test_perplexity").kinds
    assert len(kinds) == 2


def test_2_2_a_table_names_the_row_that_valid_chooses(tmp_path: Path) -> None:
    write_run(tmp_path, locked(0.1), 0, 80.0, metrics={"valid_perplexity": 95.0})
    write_run(tmp_path, locked(0.3), 0, 90.0, metrics={"valid_perplexity": 85.0})
    runs = load_runs(tmp_path)
    (sheet,) = sheets(compare(runs), runs, "test_perplexity")
    assert any("by valid: it is lowest for recurrent locked .3" in note for note in sheet.notes)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Three seeds with five samples but for the last, sampled otherwise; and a plan of which one seed of three was."""
    for seed in range(3):
        sampled = (
            {"test_perplexity_mc": 96.0 + seed, "mc": FIVE} if seed < 2 else {"test_perplexity_mc": 50.0, "mc": TWO}
        )
        write_run(tmp_path, ["dropout=naive"], seed, 100.0, metrics=sampled)
        once = {"test_perplexity_mc": 90.0, "mc": FIVE} if seed == 1 else {}
        write_run(tmp_path, ["dropout=variational"], seed, 99.0, metrics=once)
    return tmp_path


def test_2_5_unlike_samples_are_not_averaged_but_named(mixed: Path) -> None:
    runs = load_runs(mixed)
    table = compare(runs, "test_perplexity_mc", baseline="naive").set_index("dropout")
    naive = table.loc["naive"]
    assert (naive["test_perplexity_mc"], naive["test_perplexity_mc_n"], naive["n"]) == (96.5, 2, 3)
    assert naive["test_perplexity_mc_high"] - 96.5 == pytest.approx(12.706 * 0.70711 / 2**0.5, rel=1e-3)  # t, 1 degree
    assert table.loc["variational", "test_perplexity_mc_n"] == 1 and table["df"].isna()["variational"]
    (line,) = (line for line in caveats(runs) if line.startswith("MC"))
    assert "samples=5 masks=pass" in line and "1 with samples=2 masks=window" in line


def test_2_5_a_metric_has_its_own_n(mixed: Path) -> None:
    runs = load_runs(mixed)
    (sheet,) = sheets(compare(runs, "test_perplexity_mc"), runs, "test_perplexity_mc")
    first = dict(zip([column.header for column in sheet.columns], sheet.rows[0].cells, strict=True))
    assert first["dropout"] == "variational" and first["n"] == "3" and first["test MC"] == "90.00 (1.00, n=1)"
    assert "samples=5 masks=pass embedding=false" in sheet.notes[0]


@pytest.mark.parametrize(("mode", "title"), [("cache", "cache"), ("dynamic", "dynamic")])
def test_2_5_what_else_was_measured_has_a_column_of_runs_measured_alike(tmp_path: Path, mode: str, title: str) -> None:
    name = f"test_perplexity_{mode}"
    for seed, size in enumerate((500, 500, 2000)):
        write_run(tmp_path, ["dropout=naive"], seed, 100.0, metrics={name: 80.0 + seed, mode: {"size": size}})
    write_run(tmp_path, ["dropout=none"], 0, 100.0)
    runs = load_runs(tmp_path)
    table = compare(runs, name)
    assert table[name].tolist()[0] == 80.5 and table[f"{name}_n"].tolist() == [2, 0]
    (sheet,) = sheets(table, runs, name)
    first = dict(zip([column.header for column in sheet.columns], sheet.rows[0].cells, strict=True))
    assert first["n"] == "3" and first[f"test {title}"] == "80.50 ± 0.71 (1.00, n=2)"
    assert f"{title}: size=500" in sheet.notes[0] and "temperature" not in " ".join(first)
    assert any(
        f"{title}: only the 2 runs with size=500 count; left out: 1 with size=2000" in each for each in caveats(runs)
    )
    with pytest.raises(
        RequestError, match=r"No run here has test_perplexity_temperature\. To measure it: rnndrop eval"
    ):
        compare(runs, "test_perplexity_temperature")


def test_2_5_the_other_samples_can_be_asked_for(mixed: Path) -> None:
    from rnndrop.report.select import where

    runs = where(load_runs(mixed), ["mc=samples=2"])
    assert compare(runs)["test_perplexity_mc"].tolist() == [50.0]


def test_2_5_settings_that_an_older_record_lacks_make_it_unlike(tmp_path: Path) -> None:
    for seed, mc in enumerate((FIVE, FIVE, FIVE | {"estimator": "jackknife"})):
        write_run(tmp_path, ["dropout=naive"], seed, 100.0, metrics={"test_perplexity_mc": 90.0 + seed, "mc": mc})
    assert compare(load_runs(tmp_path))["test_perplexity_mc"].tolist() == [90.5]


def test_2_5_a_reproduction_averages_only_like_samples() -> None:
    runs = [{"test_perplexity": 80.0, "test_perplexity_mc": value, "mc": mc}
            for value, mc in ((78.0, FIVE), (79.0, FIVE), (60.0, TWO))]  # fmt: skip
    found = outcomes(load("gal_medium"), "full", {"tied": runs})
    mc = next(each for each in found if (each.row, each.metric) == ("tied", "test_perplexity_mc"))
    assert (mc.n, mc.ours) == (2, 78.5)
