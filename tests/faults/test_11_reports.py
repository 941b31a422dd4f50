"""Reports that were read the wrong way round, or that ended at a cell: the eleventh time that somebody looked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rnndrop.config.metrics import metric_of
from rnndrop.display.digits import count
from rnndrop.errors import RequestError
from rnndrop.report import figures, series
from rnndrop.report import page as pages
from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from scripts import collect_results
from tests.invented import write_run

NONE, NAIVE = ["dropout=none"], ["dropout=naive"]


def page_of(folder: Path, **options: Any) -> dict[str, Any]:
    """The only table of a folder's page."""
    runs = load_runs(folder)
    (page,) = pages.page_data(compare(runs, **options), runs, "test_perplexity")["tables"]
    return dict(page)


@pytest.mark.parametrize("lower", [True, False])
def test_11_the_gain_comes_first_and_is_blue_whichever_way_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lower: bool
) -> None:
    for seed in (1, 2, 3):
        write_run(tmp_path, NONE, seed, 100.0 + seed)
        write_run(tmp_path, [*NAIVE, "dropout.input.p=0.1"], seed, 50.0 + seed)
        write_run(tmp_path, [*NAIVE, "dropout.input.p=0.2"], seed, 200.0 + seed)
    measure = replace(metric_of("test_perplexity"), lower_is_better=lower)
    monkeypatch.setattr(series, "metric_of", lambda _: measure)
    runs = load_runs(tmp_path)
    first, *_, last = series.forest(compare(runs, baseline="none"), "test_perplexity")
    assert first.gain and not last.gain and (first.change < last.change) == lower
    drawn = figures.forest(compare(runs, baseline="none"), runs, "test_perplexity")
    colours = [line.get_color() for line in drawn.axes[0].lines if line.get_marker() == "o"]
    assert colours == [figures.OKABE_ITO[0], figures.OKABE_ITO[1]]


def test_11_the_page_sorts_settings_as_numbers_where_they_are(tmp_path: Path) -> None:
    for size in (100, 5, 20):
        write_run(tmp_path, [*NONE, f"trainer.batch_size={size}", "data.train_tokens=5000"], 1, 100.0 + size)
    write_run(tmp_path, [*NONE, "trainer.batch_size=10"], 1, 100.0)
    page = page_of(tmp_path)
    titles = [column["title"] for column in page["columns"]]
    sizes = [row["values"][titles.index("batch_size")] for row in page["rows"]]
    assert sorted(sizes) == [5, 10, 20, 100]
    tokens = {row["values"][titles.index("train_tokens")] for row in page["rows"]}
    assert {each for each in tokens if each == each} == {5000} and len(tokens) == 2  # all: NaN


def test_11_the_caption_of_the_forest_says_what_its_intervals_are_of(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path, NONE, seed, 100.0 + seed)
        write_run(tmp_path, NAIVE, seed, 90.0 + seed)
    table = compare(load_runs(tmp_path), baseline="none")
    assert pages._forest(table, "test_perplexity")["how"] == "95 %, Welch's t of the logarithms"
    said = pages._forest(table.assign(interval="text"), "test_perplexity")["how"]
    assert said == "95 %, of the test text, for these runs"


@pytest.mark.parametrize("best", ["1", "2"])
def test_11_behind_a_name_are_its_own_settings_and_no_others(tmp_path: Path, best: str) -> None:
    write_run(tmp_path, [*NONE, "trainer.decay=1"], 1, 90.0 if best == "1" else 100.0)
    write_run(tmp_path, [*NONE, "trainer.decay=2", "trainer.decay_after=3"], 1, 95.0)
    page = page_of(tmp_path)
    own = [group["settings"] for group in page["groups"].values()]
    assert {"trainer.decay": "2", "trainer.decay_after": "3"} in own and {"trainer.decay": "1"} in own
    assert "trainer.decay_after" not in page["common"] and page["common"]["model.hidden"]


@pytest.mark.parametrize("name", ["plan", "settings", "status", "valid_perplexity", "test_perplexity"])
def test_11_a_blank_cell_of_a_csv_is_named(tmp_path: Path, name: str) -> None:
    for seed in (1, 2):
        write_run(tmp_path / "runs", NONE, seed, 100.0 + seed)
    path = tmp_path / "runs.csv"
    collect_results.main([str(tmp_path / "runs"), "--to", str(path)])
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[1, name] = ""
    table.to_csv(path, index=False)
    with pytest.raises(RequestError, match=f"is no table of runs: run [0-9a-f]+, seed 2, has no {name}"):
        load_runs(path)


def test_11_a_csv_that_does_not_say_whether_the_tree_was_clean_is_shown(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", NONE, 1, 100.0)
    path = tmp_path / "runs.csv"
    collect_results.main([str(tmp_path / "runs"), "--to", str(path)])
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.assign(git_dirty="").to_csv(path, index=False)
    (group,) = page_of(path)["groups"].values()
    assert group["runs"][0]["test"] == 100.0


@pytest.mark.parametrize(
    ("many", "text"), [(999_400, "999k"), (999_600, "1M"), (999_700_000, "1G"), (999, "999"), (1_443_600, "1.44M")]
)
def test_11_no_count_has_four_digits(many: float, text: str) -> None:
    assert count(many) == text


def test_11_two_dollars_in_a_name_are_two_dollars(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path, NONE, seed, 100.0 + seed)
        write_run(tmp_path, [*NAIVE, "dropout.name='cost_$5_$'"], seed, 90.0 + seed)
    runs = load_runs(tmp_path)
    figure = figures.forest(compare(runs, baseline="none"), runs, "test_perplexity")
    figures.save(figure, tmp_path / "f.svg")
    assert "cost_$5_$" in (tmp_path / "f.svg").read_text()
