"""Reports of what real folders hold: other corpora, other spellings, scores without a ratio, odd CSVs."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from rnndrop.errors import RequestError
from rnndrop.report import series
from rnndrop.report.compare import compare
from rnndrop.report.figures import draw_curves
from rnndrop.report.frames import load_runs
from rnndrop.report.page import page_data
from rnndrop.reproduction.readme import other
from rnndrop.sweeps.variance import ALL, spreads
from scripts import collect_results
from tests.conftest import Command
from tests.invented import write_run
from tests.warm import Warm

NONE, NAIVE = ["dropout=none"], ["dropout=naive"]
OTHER_DATA = {"name": "ptb", "level": "word", "sha256": "cd" * 32}


def collect(folders: list[Path], to: Path) -> int:
    return collect_results.main([*map(str, folders), "--to", str(to)])


def test_10_a_csv_does_not_take_another_corpus_for_the_same_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    one, two, to = tmp_path / "one", tmp_path / "two", tmp_path / "runs.csv"
    write_run(one, NONE, 1, 100.0)
    write_run(two, NONE, 1, 200.0, data=OTHER_DATA)
    assert collect([one], to) == 0
    before = to.read_text()
    assert collect([two], to) == 2 and "other data under the same settings" in capsys.readouterr().err
    assert collect([one, two], tmp_path / "both.csv") == 2
    assert to.read_text() == before and not (tmp_path / "both.csv").exists()


def test_10_what_a_csv_has_stays_unless_it_was_only_evaluated_further(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "runs.csv"
    write_run(tmp_path / "one", NONE, 1, 100.0)
    assert collect([tmp_path / "one"], to) == 0
    write_run(tmp_path / "two", NONE, 1, 90.0)
    write_run(tmp_path / "three", NONE, 1, 100.0, metrics={"test_perplexity_mc": 95.0, "mc": {"samples": 3}})
    capsys.readouterr()
    assert (
        collect([tmp_path / "two"], to) == 0 and "the CSV has it, and this is other scores" in capsys.readouterr().err
    )
    assert pd.read_csv(to)["test_perplexity"].tolist() == [100.0]
    assert collect([tmp_path / "three"], to) == 0 and capsys.readouterr().err == ""
    assert pd.read_csv(to)["test_perplexity_mc"].tolist() == [95.0]


def test_10_a_csv_that_is_no_reproduction_is_not_averaged_over_corpora(tmp_path: Path) -> None:
    runs, to = tmp_path / "runs", tmp_path / "mine.csv"
    for seed in (1, 2):
        write_run(runs, NONE, seed, 100.0 + seed)
        write_run(runs, [*NONE, "trainer.learning_rate=0.1"], seed, 500.0)
        write_run(runs, [*NONE, "data=ptb"], seed, 1000.0, data=OTHER_DATA)
    write_run(runs, NONE, 3, status="diverged", metrics={"valid_perplexity": None, "test_perplexity": None})
    assert collect([runs], to) == 0
    rows = [line.split(" | ") for line in "".join(other(to)).splitlines() if line.startswith(("| ptb", "| synthetic"))]
    assert sorted((row[0], row[5], row[7]) for row in rows) == [
        ("| ptb", "2", "1000.0 ± 0.0"), ("| synthetic", "2", "101.5 ± 0.7"), ("| synthetic", "2", "500.0 ± 0.0")
    ]  # fmt: skip


@pytest.mark.parametrize("text", [".001", "1e-3", "0.0010"])
def test_10_a_number_is_the_same_however_it_is_written(rnndrop: Command, tmp_path: Path, text: str) -> None:
    for rate in (0.001, 0.01):
        for plan, test in ((NONE, 100.0), (NAIVE, 90.0)):
            write_run(tmp_path / "rr", [*plan, f"trainer.learning_rate={rate}"], 1, test)
    report = ["report", "rr", "--format", "json"]
    kept = json.loads(rnndrop(*report, "--where", f"learning_rate={text}").stdout)
    assert len(kept) == 2 and "trainer.learning_rate" not in kept[0]
    rest = json.loads(rnndrop(*report, "--where", f"learning_rate!={text}", "--where", "dropout=naive").stdout)
    assert [row["test_perplexity"] for row in rest] == [90.0]
    against = json.loads(rnndrop(*report, "--baseline", f"trainer.learning_rate={text}").stdout)
    assert sum(row["change"] is not None for row in against) == 2


def test_10_a_list_is_one_value(rnndrop: Command, tmp_path: Path) -> None:
    for varies in ("[time,gate]", "[time,feature]"):
        write_run(tmp_path / "rr", ["dropout.input.kind=naive", f"dropout.input.varies={varies}",
                                    "dropout.input.p=.2"], 1, 90.0)  # fmt: skip
    done = rnndrop("report", "rr", "--format", "json", "--where", "dropout.input.varies=[time,gate]")
    assert len(json.loads(done.stdout)) == 1


def test_10_numbers_of_a_setting_are_sorted_as_numbers(rnndrop: Command, tmp_path: Path) -> None:
    for rate in ("0.001", "0.01", "5e-05"):
        write_run(tmp_path / "rr", [*NONE, f"trainer.learning_rate={rate}"], 1, 100.0)
    for tokens in (100000, 20000, "null"):
        write_run(tmp_path / "tt", [*NONE, f"data.train_tokens={tokens}"], 1, 100.0)
    done = json.loads(rnndrop("report", "rr", "--format", "json", "--sort", "learning_rate").stdout)
    assert [row["trainer.learning_rate"] for row in done] == ["5e-05", "0.001", "0.01"]
    done = json.loads(rnndrop("report", "tt", "--format", "json", "--sort", "-train_tokens").stdout)
    assert [row["data.train_tokens"] for row in done] == ["100000", "20000", "null"]


def test_10_a_plot_without_anything_to_draw_says_why(rnndrop: Command, tmp_path: Path) -> None:
    sampled = {"test_perplexity_mc": 88.0, "mc": {"samples": 3}}
    for seed in (1, 2):
        write_run(tmp_path / "rr", NONE, seed, 100.0)
        write_run(tmp_path / "rr", ["dropout.input.kind=locked", "dropout.input.p=.2"], seed, 90.0, metrics=sampled)
    for output in ([], ["-o", "f.png"]):
        done = rnndrop("plot", "forest", "rr", "--metric", "test_perplexity_mc", *output)
        assert done.returncode == 2 and "No row has a change of test_perplexity_mc in per cent" in done.stderr
    grid = rnndrop("plot", "heatmap", "rr", "--metric", "test_perplexity_mc")
    assert grid.returncode == 0 and "88.00 (0.2)" in grid.stdout and grid.stderr == ""
    for path in (tmp_path / "rr").rglob("history.jsonl"):
        path.unlink()
    done = rnndrop("plot", "curves", "rr")
    assert (done.returncode, done.stderr) == (2, "No run here kept its history.\n")


def test_10_a_change_of_any_size_is_typeset(rnndrop: Command, tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path / "rr", NONE, seed, 100.0 + seed)
        write_run(tmp_path / "rr", NAIVE, seed, 3.4e11)
    done = rnndrop("report", "rr", "--baseline", "none", "--paper")
    assert done.returncode == 0, done.stderr
    assert "{+3.3e+11}" in done.stdout


def test_10_a_report_from_within_a_run(warm: Warm, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "rr", NONE, 1, 100.0)
    failed = write_run(tmp_path / "rr", NONE, 2, status="failed", error="boom")
    for place in (folder, folder.parent):
        for command in (["report", "."], ["plot", "curves", "."], ["report", ".", "--html", "x.html"]):
            done = warm.call(command, place)
            assert done.returncode == 0, done
    said = warm.call(["report", "."], folder.parent).stdout
    assert f"rnndrop show {failed.parent.name}/seed-2 --output .." in said


def test_10_the_page_keeps_what_was_asked_for(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path, NONE, seed, 100.0 + seed)
        for place in range(70):
            write_run(tmp_path, [*NAIVE, f"dropout.input.p={(place + 1) / 100}"], seed, 90.0 + place)
    runs = load_runs(tmp_path)
    table = compare(runs, bootstrap=True).iloc[::-1].reset_index(drop=True)
    (page,) = page_data(table, runs, "test_perplexity")["tables"]
    assert len(page["forest"]["rows"]) == 70
    assert [row["run"] for row in page["rows"]] == table["run_id"].tolist()
    assert any("test set" in column["title"] for column in page["columns"])


def test_10_a_baseline_without_a_partner_is_not_said_to_be_missing(rnndrop: Command, tmp_path: Path) -> None:
    write_run(tmp_path / "rr", [*NONE, "trainer.learning_rate=.001"], 1, 100.0)
    write_run(tmp_path / "rr", [*NAIVE, "trainer.learning_rate=.01"], 1, 90.0)
    done = rnndrop("report", "rr", "--baseline", "none")
    said = "No row differs from none in its dropout alone: rows here also differ in trainer.learning_rate. Choose with"
    said += " --where.\n"
    assert (done.returncode, done.stderr) == (2, said)
    write_run(tmp_path / "one", NONE, 1, 100.0)
    done = rnndrop("report", "one", "--baseline", "none")
    assert done.stderr == "none is the only row: there is nothing to compare it with.\n"
    write_run(tmp_path / "one", [*NAIVE, "model.hidden=64"], 1, 100.0)
    done = rnndrop("report", "one", "--baseline", "none")
    assert "also differ in model. Choose" in done.stderr


def test_10_no_dropout_is_a_rate_however_it_is_written(rnndrop: Command, tmp_path: Path) -> None:
    write_run(tmp_path / "rr", NONE, 1, 100.0)
    write_run(tmp_path / "rr", ["dropout.input.kind=locked", "dropout.input.p=.2"], 1, 90.0)
    done = rnndrop("report", "rr", "--format", "json", "--baseline", "dropout.input.p=0.0")
    assert sum(row["change"] is not None for row in json.loads(done.stdout)) == 1


def test_10_a_file_that_is_no_folder_of_runs_is_refused_beside_one(rnndrop: Command, tmp_path: Path) -> None:
    write_run(tmp_path / "rr", NONE, 1, 100.0)
    (tmp_path / "notes.txt").touch()
    done = rnndrop("report", "rr", "notes.txt")
    assert done.returncode == 2 and "No runs in notes.txt." in done.stderr


def test_10_rules_in_also_do_not_make_a_csv_unreadable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "rr", NONE, 1, 100.0)
    write_run(tmp_path / "rr", ["dropout=token_and_locked"], 1, 90.0)
    assert collect([tmp_path / "rr"], tmp_path / "a.csv") == 0
    assert "a CSV has no place for rules in `also`" in capsys.readouterr().err
    assert load_runs(tmp_path / "a.csv")["dropout"].tolist() == ["none"]


def test_10_odd_lines_and_names_do_not_take_a_csv_down(
    rnndrop: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "a{b}, c=1.txt"
    text.write_text("some words of a text " * 400)
    own = ["data=text", f"data.file='{text}'"]
    write_run(tmp_path / "rr", [*own, *NONE], 1, 100.0)
    to = tmp_path / "mine.csv"
    assert collect([tmp_path / "rr"], to) == 0
    to.write_text(to.read_text() + "," * (to.read_text().split("\n")[0].count(",")) + "\n")
    text.unlink()
    (row,) = json.loads(rnndrop("report", "rr", "mine.csv", "--format", "json").stdout)
    assert row["n"] == 1
    assert collect([tmp_path / "rr"], to) == 0
    capsys.readouterr()
    (tmp_path / "empty.csv").touch()
    assert collect([tmp_path / "rr"], tmp_path / "empty.csv") == 2
    assert "empty.csv is no table of runs" in capsys.readouterr().err


def test_10_a_name_that_is_no_text_is_shown_somehow(rnndrop: Command, tmp_path: Path) -> None:
    write_run(tmp_path / "rr", NONE, 1, 100.0)
    (tmp_path / "rr").rename(tmp_path / "r\udce9d")
    for command in (["report", "r\udce9d"], ["report", "r\udce9d", "--html", "x.html"], ["plot", "curves", "r\udce9d"]):
        done = rnndrop(*command)
        assert done.returncode == 0, done


def test_10_scores_that_are_not_above_zero_are_drawn_and_typeset_as_they_are(rnndrop: Command, tmp_path: Path) -> None:
    """Of a task of one's own; here in records of a language model, which reports read alike."""
    for plan, test in ((NONE, -2.1), (["dropout.input.kind=locked", "dropout.input.p=.3"], -3.1)):
        for seed in (1, 2):
            write_run(tmp_path / "rr", plan, seed, test - seed / 100, metrics={"valid_perplexity": test})
    grid = rnndrop("plot", "heatmap", "rr")
    assert grid.returncode == 0 and "-3.1" in grid.stdout.replace("−", "-") and "%" not in grid.stdout
    forest = rnndrop("plot", "forest", "rr", "-o", "f.svg")
    assert forest.returncode == 2 and "it needs scores above 0" in forest.stderr
    shown = series.curves(compare(runs := load_runs(tmp_path / "rr")), runs)
    low, high = draw_curves(shown).axes[0].get_ylim()
    every = [value for curve in shown for value in (*curve.train, *curve.valid)]
    assert low < min(every) < max(every) < high and high - low < 2 * (max(every) - min(every))
    paper = rnndrop("report", "rr", "--baseline", "none", "--paper").stdout
    assert r"{Change}" in paper and r"Change, \%" not in paper
    assert "against none, as the difference of the means over all seeds" in paper
    assert "against none: change of" in rnndrop("report", "rr", "--baseline", "none", "--format", "md").stdout


def test_10_no_spread_is_worked_out_of_a_logarithm_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"and -2\.1 has none"):
        spreads({ALL: [(-2.1, tmp_path), (1.0, tmp_path)]})
