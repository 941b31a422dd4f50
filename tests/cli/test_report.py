"""The report and plot commands in a real process: streams, exit codes, time."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.edited import as_json
from tests.terminals import on_a_terminal

ROOT = Path(__file__).parents[2]
Command = Any


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("synthetic_records", ROOT / "scripts" / "synthetic_records.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("runs")
    module.write(str(folder), 100)
    path = sorted(folder.rglob("record.json"))[5]
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(as_json(record | {"status": "diverged", "metrics": {}}), encoding="utf-8")
    return folder


def test_json_is_a_list_of_rows_on_stdout_alone(rnndrop: Command, runs: Path) -> None:
    done = rnndrop("report", str(runs), "--format", "json", "--baseline", "none")
    rows = json.loads(done.stdout)
    assert len(rows) == 20 and {"dropout", "test_perplexity", "change", "p_holm"} <= set(rows[0])
    assert "diverged" in done.stderr


def test_a_damaged_record_is_a_warning_and_strict_an_error(rnndrop: Command, runs: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "own"
    shutil.copytree(runs, folder)
    victim = sorted(folder.rglob("record.json"))[0]
    victim.write_text("{")
    done = rnndrop("report", str(folder))
    assert done.returncode == 0 and str(victim) in done.stderr and "variational" in done.stdout
    assert rnndrop("report", str(folder), "--strict").returncode == 1


def test_an_empty_folder_is_one_line_that_says_what_to_run(rnndrop: Command, tmp_path: Path) -> None:
    done = rnndrop("report", str(tmp_path))
    assert (
        done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1 and "rnndrop sweep" in done.stderr
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format", "mdd"],
        ["--metric", "tset_perplexity"],
        ["--baseline", "nonne"],
        ["--sort", "tests"],
        ["--where", "droput=none"],
        ["--last", "soon"],
        ["--where", "dropout=absent"],
    ],
)
def test_a_wrong_request_is_one_message(rnndrop: Command, runs: Path, arguments: list[str]) -> None:
    done = rnndrop("report", str(runs), *arguments)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr and done.stderr


def test_plot_in_the_terminal_and_into_a_file(rnndrop: Command, runs: Path, tmp_path: Path) -> None:
    text = rnndrop("plot", "forest", str(runs))
    assert text.returncode == 0 and "●" in text.stdout and "\x1b" not in text.stdout
    done = rnndrop("plot", "rates", str(runs), "-o", str(tmp_path / "rates.svg"))
    assert done.returncode == 0 and (tmp_path / "rates.svg").exists()
    assert rnndrop("plot", "curvs", str(runs)).returncode == 2
    assert "Did you mean 'curves'" in rnndrop("plot", "curvs", str(runs)).stderr


def test_html_writes_the_page(rnndrop: Command, runs: Path, tmp_path: Path) -> None:
    done = rnndrop("report", str(runs), "--html", "report.html")
    assert done.returncode == 0 and "100 runs" in done.stdout
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "plotly.js" in text and "Licensed under the MIT license" in text
    assert rnndrop("report", str(runs), "--html", "absent/report.html").returncode == 2


def test_columns_are_chosen_and_sorted_by_their_names(rnndrop: Command, runs: Path) -> None:
    lines = rnndrop("report", str(runs), "--columns", "time,n,test", "--sort", "-time", "--format", "md").stdout
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in lines.splitlines() if line[:1] == "|"]
    assert [name.partition(" ")[0] for name in rows[0]] == ["dropout", "time", "n", "test"]
    seconds = [float(row[1].split()[0]) for row in rows[2:] if row[1]]
    assert len(seconds) > 10 and seconds == sorted(seconds, reverse=True)
    first = rnndrop("report", str(runs), "--columns", "test,time", "--format", "csv").stdout.splitlines()[0]
    assert first == "dropout,test_perplexity,train_seconds"


@pytest.mark.parametrize("option", ["--columns", "--sort"])
def test_a_column_that_is_not_there_is_one_message_with_those_that_are(
    rnndrop: Command, runs: Path, option: str
) -> None:
    done = rnndrop("report", str(runs), option, "tme")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'time'?" in done.stderr and " valid test " in done.stderr
    assert "change df" in rnndrop("report", str(runs), "--columns", "change").stderr


def test_nothing_is_cut_where_a_program_reads_the_table(rnndrop: Command, runs: Path) -> None:
    piped = rnndrop("report", str(runs), "--baseline", "none", COLUMNS="").stdout
    header = next(line for line in piped.splitlines() if line.startswith("dropout "))
    assert header.endswith("run") and "against baseline" in header and "no room for" not in piped


def test_a_table_longer_than_the_screen_goes_through_a_pager(rnndrop: Command, runs: Path) -> None:
    pager = "sed s/^/PAGED/"
    _, said = on_a_terminal(rnndrop, ["report", str(runs)], lines=12, PAGER=pager)
    assert len(re.findall(rb"PAGED", said)) > 20
    wide = {"columns": 400, "lines": 100}  # the commands below the table name the folder, which may be long
    for more in (wide, {"lines": 12, "PAGER": "cat"}, {"lines": 12, "PAGER": ""}, {"PAGER": "absent-pager"}):
        _, said = on_a_terminal(rnndrop, ["report", str(runs)], **{"PAGER": pager, **more})
        assert b"PAGED" not in said and b"variational" in said
    _, said = on_a_terminal(rnndrop, ["report", str(runs), "--format", "json"], lines=12, PAGER=pager)
    assert b"PAGED" not in said


def test_colour_is_for_differences_that_are_significant(rnndrop: Command, runs: Path) -> None:
    _, said = on_a_terminal(rnndrop, ["report", str(runs), "--baseline", "none"], lines=200)
    coloured = [text for style, text in re.findall(r"\x1b\[([\d;]+)m(.*?)\x1b\[0m", said.decode()) if style in
                ("1;32", "1;31")]  # fmt: skip
    assert coloured and all(re.fullmatch(r"[+−][\d.]+ % \[.*\] \*+", text) for text in coloured)
