"""Tables and figures for a paper: what they say, how they are aligned, and a page of them, compiled."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest

from rnndrop.display.foreign import latex
from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.report.paper import render
from rnndrop.report.published import beside
from rnndrop.values import Drawing
from tests.conftest import ROOT, Command

METRIC = "test_perplexity"
RESULTS = ROOT / "results"
PACKAGES = ("siunitx.sty", "threeparttable.sty")
Change = Callable[..., None]


def typeset(folder: Path, *chosen: str, baseline: str | None = "none", **options: Any) -> str:
    runs = load_runs(folder)
    return render(compare(runs, METRIC, baseline), runs, METRIC, chosen, **options)


def body(text: str) -> list[list[str]]:
    """The cells of the rows."""
    inside = text.partition("\\midrule\n")[2].partition("\\bottomrule")[0]
    return [line.removesuffix(r" \\").split(" & ") for line in inside.splitlines()]


def test_a_table_for_a_paper(few: Path) -> None:
    text = typeset(few)
    assert [row[0] for row in body(text)] == ["variational", "naive", "none"], "no floor, and the best first"
    assert not any(run in text for run in set(load_runs(few)["run_id"])), "no run ids"
    assert all(re.fullmatch(r"(\\bfseries )?\d+\.\d\(\d+\)", cell) for row in body(text) for cell in row[1:3]), (
        "means with their deviations, as siunitx reads them"
    )
    assert text.count(r"\bfseries") == 1 and r"\bfseries" in body(text)[0][2]
    assert re.search(r"\\begin\{tabular\}\{@\{\}lS\[table-format=3\.1\(\d+\)\]S\[", text)
    assert r"\caption{Test perplexity on synthetic" in text and r"\label{tab:synthetic}" in text
    notes = text.partition(r"\begin{tablenotes}")[2]
    assert r"Means $\pm$ standard deviation over 5 seeds." in notes
    assert "against none" in notes and "Welch" in notes and "Holm's correction for 2 comparisons" in notes


def test_the_columns_the_caption_and_the_label_that_are_asked_for(few: Path) -> None:
    text = typeset(few, "change", "n", "test", caption=r"Of \emph{plans}, $p=.5$.", label="tab:own")
    assert r"\caption{Of \emph{plans}, $p=.5$.}" in text and r"\label{tab:own}" in text
    head = text.partition("\\toprule\n")[2].partition("\n")[0]
    assert head == r"Dropout & \multicolumn{2}{c}{Change, \%} & {$n$} & {test} \\".replace("test", "Test")
    change, interval, seeds, _ = body(text)[0][1:]
    assert re.fullmatch(r"-\d+\.\d(\\tnote\{\*+\})?", change)
    assert re.fullmatch(r"\$\[-\d+\.\d,\\,-\d+\.\d\]\$", interval) and seeds == "5"
    assert body(text)[2][1:3] == ["{---}", ""], "the baseline has no difference"
    assert "Bold" not in typeset(few, "n")


def test_a_wide_table_takes_both_columns_of_a_page(few: Path) -> None:
    assert r"\begin{table}" in typeset(few, "test") and r"\begin{table*}" in typeset(few, "valid", "test", "change")


def test_missing_seeds_are_said(few: Path, change: Change) -> None:
    first = sorted(few.glob("*/seed-0/record.json"))[0].parent
    name = load_runs(first)["dropout"].iloc[0]
    change(first, lambda record: record.update(status="diverged", metrics={}))
    text = typeset(few)
    assert "{$n$}" in text and sorted(row[1] for row in body(text)) == ["4", "5", "5"]
    assert f"Runs that did not finish, and do not count: {name} (1)." in text
    assert "over 4 to 5 seeds" in typeset(few, "test")


def test_one_seed_has_no_interval(few: Path) -> None:
    for path in few.rglob("seed-[1-4]"):
        shutil.rmtree(path)
    text = typeset(few)
    assert "One seed each" in text and "Welch" not in text and "(" not in "".join(row[2] for row in body(text))


def test_published_rows_stand_beside_ours_with_their_digits() -> None:
    runs = load_runs(RESULTS / "zaremba_small.csv")
    text = render(beside(compare(runs, METRIC)), runs, METRIC)
    cells = {row[0]: row[1:] for row in body(text)}
    name = next(name for name in cells if "Zaremba" in name)
    assert cells[name] == ["121.8", "114.5"] or cells[name][-2:] == ["121.8", "114.5"]
    assert "Published rows: as printed there" in text


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("Kočiský, Gönül, Łukasz, Noël", r"Ko\v{c}isk\'{y}, G\"{o}n\"{u}l, \L{}ukasz, No\"{e}l"),
        ("Ko\u010d vs. Koc\u030c", r"Ko\v{c} vs. Ko\v{c}"),
        ("50 % & _x_ 2×200 ± −1 λ", r"50 \% \& \_x\_ 2$\times$200 $\pm$ $-$1 $\lambda$"),
        ("[x] --all", r"{[}x{]} -{}-all"),
        ("*star", r"{}*star"),
        ("漢", "?"),
    ],
)
def test_signs_that_latex_has_otherwise(text: str, tex: str) -> None:
    assert latex(text) == tex


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "{}", "--paper", "--format", "md"], "leave out --format md"),
        (["report", "{}", "--paper", "--html", "page.html"], "leave out one"),
        (["report", "{}", "--caption", "x"], "--caption needs --paper"),
        (["report", "{}", "--paper", "--columns", "tset"], "Did you mean 'test'"),
        (["report", "absent.csv"], "No file absent.csv"),
        (["report", str(RESULTS / "sentiment.csv")], "no column 'settings'"),
        (["plot", "forest", "{}", "--width", "3.25in"], "add -o FIG.pdf"),
        (["plot", "forest", "{}", "--width", "wide", "-o", "x.pdf"], "as 3.25in, 8.25cm or 234pt"),
        (["plot", "forest", "{}", "--width", "0.1in", "-o", "x.pdf"], "from 2 to 20 inches"),
    ],
)
def test_a_wrong_request_is_one_message(rnndrop: Command, few: Path, arguments: list[str], words: str) -> None:
    done = rnndrop(*(each.format(few) for each in arguments))
    assert done.returncode == 2 and not done.stdout and words in done.stderr and "Traceback" not in done.stderr


def test_a_csv_stands_for_the_folder_it_was_collected_from(rnndrop: Command, few: Path, tmp_path: Path) -> None:
    from rnndrop.report.committed import histories, tidy, write

    runs = load_runs(few)
    write(tmp_path / "few.csv", tidy(runs))
    write(tmp_path / "history" / "few.csv", histories(runs))
    ours, theirs = (
        rnndrop("report", path, "--paper", "--baseline", "none").stdout.partition(r"\toprule")[2]
        for path in (few, "few.csv")
    )
    assert theirs == ours.replace("The perplexity of the source itself is 145.5 (test).", "").replace(". \n", ".\n")
    assert (
        rnndrop("report", few, "few.csv", "--format", "csv").stdout == rnndrop("report", few, "--format", "csv").stdout
    )
    drawn = [rnndrop("plot", "curves", path).stdout.replace(str(few), "") for path in (few, "few.csv")]
    assert drawn[0].splitlines()[2:10] == drawn[1].splitlines()[2:10] and "valid" in drawn[0]
    assert rnndrop("report", "few.csv", "--html", "page.html").returncode == 0


def test_the_rows_of_committed_results_are_named_and_no_search_counts(rnndrop: Command) -> None:
    done = rnndrop("report", RESULTS / "low_data.csv", "--format", "csv", "--baseline", "none")
    lines = [line.split(",") for line in done.stdout.splitlines()]
    column = lines[0].index("dropout"), lines[0].index("n")
    assert {row[column[0]] for row in lines[1:]} >= {"none", "naive", "zoneout", "variational_untied"}
    assert {row[column[1]] for row in lines[1:]} == {"3"}, "seed 0 chose the rates"


def test_rows_of_two_reproductions_with_one_name_are_told_apart(rnndrop: Command, tmp_path: Path) -> None:
    """Those of `low_data` and `new_rows` that have a name in common are the same runs, unless the rates are others."""
    lines = rnndrop(
        "report", *(RESULTS / f"{name}.csv" for name in ("low_data", "new_rows")), "--format", "json"
    ).stdout
    rows = json.loads(lines)
    assert len(rows) == len({row["dropout"] for row in rows}) == 23 and {row["n"] for row in rows} == {3}
    table = pd.read_csv(RESULTS / "new_rows.csv", dtype=str, keep_default_na=False)
    naive = table["dropout"] == "naive"
    swapped = {"0.6": "0.4", "0.4": "0.6"}  # as if × 1 had been best
    table.loc[naive, "settings"] = table.loc[naive, "settings"].str.replace(
        r"(?<=\.p=)0\.[46]\b", lambda found: swapped[found[0]], regex=True
    )
    table.to_csv(tmp_path / "new_rows.csv", index=False)
    lines = rnndrop("report", RESULTS / "low_data.csv", "new_rows.csv", "--format", "json").stdout
    names = [row["dropout"] for row in json.loads(lines)]
    assert len(names) == 24 and "naive" not in names
    assert "naive input.p=0.4 hidden.p=0.4" in " ".join(names)


def pdf_text(path: Path) -> str:
    """A PDF with its streams unpacked."""
    data = path.read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL)
    return (data + b"".join(map(_unpacked, streams))).decode("latin-1")


def _unpacked(stream: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(stream)
    except zlib.error:
        return b""


@pytest.mark.parametrize("kind", ["curves", "forest", "rates", "heatmap", "calibration"])
def test_a_figure_as_wide_as_a_column(hundred: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("matplotlib")
    from rnndrop.report.figures import PLOTS, Page, save

    assert kind in get_args(Drawing)
    runs = load_runs(hundred)
    figure = PLOTS[kind](compare(runs, baseline="none"), runs, METRIC, page=Page(3.25, 8))
    save(figure, tmp_path / "figure.pdf")
    text = pdf_text(tmp_path / "figure.pdf")
    assert re.search(r"/MediaBox \[ ?0 0 234 ", text), "3.25 in"
    assert "/FontFile2" in text and "/Type3" not in text, "Type 42: the fonts are in the file"
    sizes = [label.get_fontsize() for axis in figure.axes for label in axis.get_xticklabels()]
    assert sizes and set(sizes) == {8.0}
    if kind == "heatmap":
        assert not any(axis.get_title() for axis in figure.axes)
    figure.canvas.draw()
    for label in [label for axis in figure.axes for label in axis.get_yticklabels() if label.get_visible()]:
        box = label.get_window_extent()
        assert box.width == 0 or box.x0 >= -1, f"{label.get_text()} is cut off"


def test_colours_differ_in_grey() -> None:
    pytest.importorskip("matplotlib")
    from rnndrop.report.figures import OKABE_ITO

    def grey(colour: str) -> float:
        red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    assert abs(grey(OKABE_ITO[0]) - grey(OKABE_ITO[1])) > 0.1, "train and valid, less and more"


def commands(page: Path) -> list[list[str]]:
    """The commands of rnndrop in the comment that a page opens with."""
    return [shlex.split(line[1:]) for line in page.read_text(encoding="utf-8").splitlines() if "rnndrop " in line[:14]]


@pytest.mark.e2e
def test_the_example_is_a_page_made_by_three_commands(rnndrop: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "docs" / "paper"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "docs/paper/example.tex", folder)
    (tmp_path / "results").symlink_to(RESULTS)
    made = commands(folder / "example.tex")
    assert [" ".join(each[1:3]) for each in made] == ["report results/new_rows.csv", "plot forest", "plot curves"]
    for _, *arguments in made:
        where = arguments[arguments.index(">") + 1] if ">" in arguments else None
        done = rnndrop(*(arguments[: arguments.index(">")] if where else arguments))
        assert done.returncode == 0, done.stderr
        if where:
            (tmp_path / where).write_text(done.stdout, encoding="utf-8")
    log = compiled(folder / "example.tex")
    assert "(1 page," in log and "Overfull" not in log and "undefined" not in log
    text = pdf_text(folder / "example.pdf")
    assert text.count("/FontFile") >= 3 and "/Type3" not in text


@pytest.mark.e2e
def test_whatever_a_name_holds_the_table_compiles(few: Path, change: Change, tmp_path: Path) -> None:
    for old, new in (("naive", "[Kočiský] 50% & _x_ ≤ {~^\\ | \x1b漢"), ("variational", "*--star× −3 ± 1")):
        change(few, lambda r, new=new: r["config"]["dropout"].update(name=new),
               lambda r, old=old: r["config"]["dropout"]["name"] == old)  # fmt: skip
    packages = "booktabs,threeparttable,siunitx"
    text = f"\\documentclass{{article}}\\usepackage{{{packages}}}\\begin{{document}}\n{typeset(few)}\n\\end{{document}}"
    (tmp_path / "table.tex").write_text(text, encoding="utf-8")
    assert "Missing character" not in compiled(tmp_path / "table.tex")


def compiled(page: Path) -> str:
    """The log of the second of two runs of pdflatex; the test is skipped where that or a package is absent."""
    if not shutil.which("pdflatex") or subprocess.run(["kpsewhich", *PACKAGES], capture_output=True).returncode:
        pytest.skip("no pdflatex with siunitx and threeparttable: apt-get install texlive-latex-extra texlive-science")
    for _ in range(2):
        done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", page.name], cwd=page.parent,
                              capture_output=True, text=True, errors="replace")  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
    return page.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
