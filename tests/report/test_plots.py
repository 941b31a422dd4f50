from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from rnndrop.errors import RequestError
from rnndrop.report import series
from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.report.searched import searches
from rnndrop.report.spread import bars
from rnndrop.sweeps import search_file
from rnndrop.values import Drawing
from tests.conftest import Command
from tests.invented import write_run

OF_DOCUMENTS = ("decisions", "variance", "trials")  # what those draw, `hundred` has none of
KINDS = [kind for kind in get_args(Drawing) if kind not in OF_DOCUMENTS]
SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_of_each_kind(hundred: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("matplotlib")
    from rnndrop.report.figures import PLOTS, save

    runs = load_runs(hundred)
    figure = PLOTS[kind](compare(runs, baseline="none"), runs, "test_perplexity")
    for suffix, signature in SIGNATURES.items():
        path = tmp_path / f"figure.{suffix}"
        save(figure, path)
        assert path.read_bytes().startswith(signature) and path.stat().st_size > 5000
    with pytest.raises(RequestError, match="png"):
        save(figure, tmp_path / "figure.docx")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [60, 120])
def test_a_drawing_of_each_kind_fits_the_terminal(hundred: Path, kind: str, width: int) -> None:
    pytest.importorskip("plotext")
    from rnndrop.report.terminal import DRAWINGS

    runs = load_runs(hundred)
    text = DRAWINGS[kind](compare(runs, baseline="none"), runs, "test_perplexity", width, False)
    assert "\x1b" not in text and len(text.splitlines()) > 4
    if kind != "heatmap":  # as wide as its kinds
        assert max(map(len, text.splitlines())) <= width


def test_rates_are_lines_of_one_location_with_all_else_equal(hundred: Path) -> None:
    table = compare(load_runs(hundred))
    lines = {line.label: line for line in series.rates(table, "test_perplexity")}
    assert lines["recurrent locked"].p == [0.0, 0.1, 0.2, 0.3]
    by_name = table.set_index("dropout")["test_perplexity"]
    assert lines["recurrent locked"].mean == [by_name[name] for name in
                                              ("none", *(f"recurrent locked .{p}" for p in (1, 2, 3)))]  # fmt: skip
    only = series.rates(table, "test_perplexity", "input")
    assert [line.label for line in only] == ["input locked"]
    with pytest.raises(RequestError, match="rnndrop sweep"):
        series.rates(table, "test_perplexity", "cell")


def test_the_grid_keeps_the_best_rate(hundred: Path) -> None:
    table = compare(load_runs(hundred))
    grid = series.heatmap(table, "test_perplexity")
    by_name = table.set_index("dropout")["test_perplexity"]
    at = grid.locations.index("recurrent"), grid.kinds.index("locked")
    best = min((".1", ".2", ".3"), key=lambda p: by_name[f"recurrent locked {p}"])
    assert grid.p[at] == float("0" + best)
    assert grid.value[at] == pytest.approx(100 * (by_name[f"recurrent locked {best}"] / by_name["none"] - 1))


def test_curves_are_means_over_the_seeds(hundred: Path) -> None:
    runs = load_runs(hundred)
    table = compare(runs)
    (curve,) = series.curves(table, runs, 1)
    histories = series.histories(runs[runs["run_id"] == table["run_id"].iloc[0]]["folder"])
    assert curve.valid[2] == pytest.approx(sum(rows[2]["valid_perplexity"] for rows in histories) / len(histories))


def test_a_missing_extra_says_how_to_get_it(hundred: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnndrop.report.terminal import DRAWINGS

    monkeypatch.setitem(sys.modules, "plotext", None)
    runs = load_runs(hundred)
    with pytest.raises(RequestError, match=r"plotext: pip install .*plotext>=6"):
        DRAWINGS["curves"](compare(runs), runs, "test_perplexity", 80, False)


def test_a_decision_is_drawn_with_what_decided_it(rnndrop: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    output = tmp_path / "results/runs"
    for seed in range(20):
        for plan, value in (("none", 100), ("naive", 120)):
            write_run(output, [f"dropout={plan}"], seed, value + ((seed * 7) % 5) / 10 + seed % 2)
    assert "rnndrop decide" in rnndrop("plot", "decisions").stderr
    assert "better" in rnndrop("decide", "dropout=none,naive").stdout
    assert rnndrop("plot", "decisions", "-o", "figure.svg").returncode == 0
    text = (tmp_path / "figure.svg").read_text("utf-8")
    for word in ("none against naive", "decides: E ≥ 20", ">better<", "equal within 1 %", "seeds", "change of test"):
        assert word in text, word


def test_the_spread_by_what_varies_is_drawn_from_the_runs(rnndrop: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    output = tmp_path / "results/runs"
    for seed in range(3):
        write_run(output, ["dropout=naive"], seed, 100 + 2 * seed)
    assert "rnndrop variance" in rnndrop("plot", "variance").stderr
    for seed in range(3):
        write_run(output, ["dropout=naive", "seeds.data=0", "seeds.masks=0"], seed, 100 + seed)
    assert rnndrop("plot", "variance", "-o", "figure.svg").returncode == 0
    text = (tmp_path / "figure.svg").read_text("utf-8")
    assert "all seeds, n=3" in text and "initial weights, n=3" in text and "masks, n" not in text and "25 %" in text


def test_records_of_before_the_seeds_of_a_source_count_in_the_spread(
    tmp_path: Path, change: Callable[..., None]
) -> None:
    older = tmp_path / "older"
    for seed in range(2):
        write_run(older, ["dropout=naive"], seed, 100 + 2 * seed)
    change(older, lambda record: (record["config"].pop("seeds"), record["config"].pop("twin")))
    write_run(older, ["dropout=naive"], 2, 104)
    for seed in range(3):
        write_run(older, ["dropout=naive", "seeds.data=0", "seeds.masks=0"], seed, 100 + seed)
    runs = load_runs(older)
    (plan,) = bars(compare(runs), runs)
    assert [(row.source, row.n) for row in plan.rows] == [("all seeds", 3), ("initial weights", 3)]
    assert plan.label == "naive"


def test_the_best_of_n_trials_is_drawn_for_each_plan(rnndrop: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_run(tmp_path / "results/runs", ["dropout=naive"], 0, 100)
    assert "rnndrop tune" in rnndrop("plot", "trials").stderr
    (tmp_path / "results/runs/searches").mkdir()
    plans = [
        search_file.PlanEntry(name, [], [], [], [None, 9.0, 8.0], None, [], None, [])
        for name in ("dropout=naive", "dropout=locked")
    ]
    file = tmp_path / "results/runs/searches/1.json"
    file.write_text(search_file.SearchFile(1, "1", "perplexity", {}, 3, 0, [], plans).to_json(), "utf-8")
    file.with_name("2.json").write_text("{", "utf-8")
    done = rnndrop("plot", "trials", "-o", "figure.svg")
    assert done.returncode == 0 and "2.json" in done.stderr
    text = (tmp_path / "figure.svg").read_text("utf-8")
    assert "dropout=naive" in text and "dropout=locked" in text and "expected best valid perplexity" in text


def test_a_search_is_named_by_what_tells_it_from_the_others(tmp_path: Path) -> None:
    (tmp_path / "searches").mkdir()
    for number, hidden in enumerate((200, 400)):
        plans = [
            search_file.PlanEntry(name, [f"dropout={name}", "trainer.epochs=3", f"model.hidden={hidden}", "output=x"],
                                  [], [], [9.0], None, [], None, [])
            for name in ("naive", "locked")
        ]  # fmt: skip
        made = search_file.SearchFile(1, f"{number}", "perplexity", {"rate_factor": {}}, 1, 0, [], plans)
        (tmp_path / f"searches/{number}.json").write_text(made.to_json(), "utf-8")
    assert [each.about for each in searches(tmp_path)] == [f"rate_factor · model.hidden={n}" for n in (200, 400)]
    (tmp_path / "searches/1.json").unlink()
    assert [each.about for each in searches(tmp_path)] == ["rate_factor"]


def test_a_label_says_what_differs_alone_and_is_never_cut(hundred: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = compare(load_runs(hundred), baseline="none")
    one = table[table["dropout"] == "none"]
    rows = pd.concat([one, one], ignore_index=True).assign(**{"trainer.learning_rate": ["0.1", "0.01"]})
    monkeypatch.setattr(series, "context_columns", lambda table: ["trainer.learning_rate"])
    assert series.labels(rows) == ["learning_rate=0.1", "learning_rate=0.01"]
    assert series.labels(rows.head(1)) == ["none"]


def test_a_long_label_of_a_forest_is_folded(hundred: Path) -> None:
    from rnndrop.report.terminal import DRAWINGS

    runs = load_runs(hundred)
    table = compare(runs, baseline="none")
    name = "variational with words enough for three lines of a narrow terminal"
    table.loc[table["dropout"] == "variational", "dropout"] = name
    text = DRAWINGS["forest"](table, runs, "test_perplexity", 70, False)
    assert all(word in text for word in name.split()) and max(map(len, text.splitlines())) <= 70


def test_a_floor_far_below_does_not_flatten_the_lines() -> None:
    assert series.floor_in_sight(145.0, 200.0, 300.0)
    assert not series.floor_in_sight(145.0, 590.0, 620.0)


def test_a_heat_map_on_a_terminal_has_a_scale_with_nothing_in_its_middle(hundred: Path) -> None:
    from rnndrop.report.terminal import DRAWINGS

    runs = load_runs(hundred)
    text = DRAWINGS["heatmap"](compare(runs), runs, "test_perplexity", 120, True)
    bar = next(line for line in text.splitlines() if line.count("48;2;247;247;247m") == 1 and " % " in line)
    low, high = re.findall(r"([−+][\d.]+) %", bar)
    assert low[1:] == high[1:] and (low[0], high[0]) == ("−", "+")
