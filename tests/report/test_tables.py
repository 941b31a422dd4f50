from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rnndrop.display.foreign import latex
from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.report.sheet import sheets
from rnndrop.report.tables import INTERNAL, STYLES, fitting, render
from tests.invented import write_run

METRIC = "test_perplexity"
NASTY = "a|b <script>alert(1)</script> & _x_ %$#{}~^\\ \x1b[31m"
Change = Callable[..., None]


def shown(folder: Path, style: str, baseline: str | None = "none", **options: Any) -> str:
    runs = load_runs(folder)
    return render(compare(runs, METRIC, baseline), runs, style, METRIC, **options)


@pytest.fixture
def nasty(few: Path, change: Change) -> Path:
    change(
        few, lambda r: r["config"]["dropout"].update(name=NASTY), lambda r: r["config"]["dropout"]["name"] == "naive"
    )
    return few


def test_terminal(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    text = shown(few, "rich")
    lines = text.splitlines()
    assert re.match(
        r"all runs: data=synthetic · model=lstm 2×200 · 1.44M parameters · \d+ epochs · cpu · rev 0", lines[0]
    )
    assert [line.split()[0] for line in lines[1:6]] == ["dropout", "variational", "naive", "none", "floor"]
    assert (
        "(1.00)" in lines[2] and "±" in lines[2] and "***" in lines[2] and "145.5" in lines[5] and "151.1" in lines[5]
    )
    assert "Holm-corrected over 2 comparisons" in text.replace("\n", " ") and "\x1b" not in text


@pytest.mark.parametrize("width", [70, 80, 100, 140])
def test_the_table_fits_the_terminal(few: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for baseline in (None, "none"):
        text = shown(few, "rich", baseline)
        assert max(map(len, text.splitlines())) <= width
        assert "floor" in text and ("no room for" in text) == (width < 140)


def test_eighty_columns_have_room_for_train_valid_and_test(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    header = shown(few, "rich", None).splitlines()[1] + shown(few, "rich", None).splitlines()[2]
    assert all(word in header for word in ("valid", "test", "train"))


def test_few_seeds_are_marked_and_one_has_no_std(few: Path, change: Change) -> None:
    for path in few.rglob("seed-*"):
        if path.name not in ("seed-0", "seed-1") or (
            path.name == "seed-1" and "variational" in (path / "record.json").read_text()
        ):
            shutil.rmtree(path)
    lines = shown(few, "md").splitlines()
    variational = next(line for line in lines if "variational" in line)
    assert "1 †" in variational and "±" not in variational
    assert any("none" in line and "2 †" in line and "±" in line for line in lines)
    assert any("fewer than 3 seeds" in line for line in lines)


def test_only_changed_leaves_out_what_is_constant(few: Path) -> None:
    text = shown(few, "md", only_changed=True)
    assert "all runs" not in text and "time" not in text and "valid" in text


def test_csv_and_json_round_trip(few: Path) -> None:
    runs = load_runs(few)
    table = compare(runs, METRIC, "none").drop(columns=INTERNAL)
    as_csv = pd.read_csv(io.StringIO(render(compare(runs, METRIC, "none"), runs, "csv", METRIC)), dtype={"run_id": str})
    as_json = pd.DataFrame(json.loads(render(compare(runs, METRIC, "none"), runs, "json", METRIC)))
    for other in (as_csv, as_json):
        assert list(other) == list(table)
        left, right = (frame.astype(object).where(frame.notna()) for frame in (other, table))
        pd.testing.assert_frame_equal(left, right, check_dtype=False, rtol=1e-12)


def test_markdown_is_a_table(nasty: Path) -> None:
    lines = shown(nasty, "md").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    cells = {len(re.split(r"(?<!\\)\|", line)) for line in rows}
    assert len(rows) == 2 + 3 + 1 and len(cells) == 1
    assert set(re.sub(r"[| ]", "", rows[1])) == set("-:") and "<script>" not in "\n".join(lines)


def test_html_is_a_table_and_escaped(nasty: Path) -> None:
    counts: dict[str, int] = {}

    class Counter(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            counts[tag] = counts.get(tag, 0) + 1

    Counter().feed(shown(nasty, "html"))
    assert counts["tr"] == 1 + 3 + 1 and "script" not in counts


def test_a_terminal_gets_no_control_characters(nasty: Path) -> None:
    assert "\x1b" not in shown(nasty, "rich")


@pytest.mark.e2e
def test_latex_compiles(nasty: Path, tmp_path: Path) -> None:
    pdflatex = shutil.which("pdflatex")
    if not pdflatex:
        pytest.skip("pdflatex is absent: apt-get install texlive-latex-base texlive-latex-recommended")
    body = shown(nasty, "latex")
    document = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\\tiny\n{body}\n\\end{{document}}"
    (tmp_path / "table.tex").write_text(document, encoding="utf-8")
    done = subprocess.run([pdflatex, "-interaction=nonstopmode", "-halt-on-error", "table.tex"], cwd=tmp_path,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "table.pdf").exists() and body.count(r"\\") == 1 + 3 + 1


def test_tex_leaves_no_special_character_bare() -> None:
    assert latex("50% & _x_ ±") == r"50\% \& \_x\_ $\pm$"


def test_a_column_that_must_stay_stays(few: Path) -> None:
    runs = load_runs(few)
    (sheet,) = sheets(compare(runs, METRIC, "none"), runs, METRIC)
    kept, _, hidden = fitting(sheet, 10)
    assert [sheet.columns[index].header for index in kept] == [
        "dropout",
        "n",
        "test",
        "against baseline",
        "df",
    ] and "valid" in hidden


def test_every_style_renders(few: Path) -> None:
    assert all(shown(few, style) for style in STYLES)


def test_settings_whose_last_part_says_little_are_named_in_full(few: Path, change: Change) -> None:
    def settings(record: dict[str, Any]) -> None:
        seeded = record["seed"]
        record["config"]["trainer"]["window"] += seeded
        record["config"]["twin"] = {"loss": "mse", "weight": 0.1 * (1 + seeded), "masks": "own", "both": False}
        record["config"]["seeds"] = {"init": seeded, "data": seeded, "masks": seeded}
        record["config"]["trainer"]["random_window"] = True
        record["run_id"] += str(seeded)

    change(few, settings)
    runs = load_runs(few)
    (sheet,) = sheets(compare(runs), runs, "test_perplexity")
    headers = [column.header for column in sheet.columns]
    assert {"window", "twin.weight", "seeds.init", "seeds.data", "seeds.masks"} <= set(headers)
    assert not {"weight", "init", "data", "masks"} & set(headers)


def test_the_settings_of_a_twin_share_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, twin in enumerate(([], ["twin=fraternal"], ["twin=pi"], ["twin=r_drop", "twin.weight=2"])):
        write_run(tmp_path, ["dropout=variational", *twin], 0, 100.0 + number)
    monkeypatch.setenv("COLUMNS", "80")
    lines = shown(tmp_path, "rich", None).splitlines()
    header, first, second, _, last = lines[(at := [line[:7] for line in lines].index("dropout")) : at + 5]
    assert "valid" in header and header.split()[:3] == ["dropout", "twin", "n"]
    assert "none" in first and "mse 0.15" in second and "kl 2" in last
    assert any("twin: loss, weight" in line for line in lines)
