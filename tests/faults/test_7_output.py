"""Somebody else's record runs nothing in a browser and steers no terminal; what is shared gives nothing away."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.report.page import write_page
from tests.conftest import TINY, Command
from tests.edited import as_json
from tests.pages import opened
from tests.report.test_page import METRIC
from tests.terminals import on_a_terminal

RUNS = "<img src=x onerror=document.documentElement.dataset.ran=1>&amp;"
STEERS = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e"
BREAKS = "[/red][bold]"


@pytest.fixture
def hostile(few: Path) -> Callable[[str], Path]:
    """Records whose keys, values, labels, hosts, errors and folders hold a text."""

    def make(text: str) -> Path:
        paths = sorted(few.rglob("record.json"))
        for number, path in enumerate(paths):
            tree: dict[str, Any] = json.loads(path.read_text())
            tree["config"]["label"] = f"{text}{number}"
            tree["config"]["trainer"][text] = f"{text}{number % 3}"
            tree["config"]["data"]["name"] = text
            tree["config"]["dropout"]["name"] += text
            tree["config"]["dropout"][text] = {"kind": text, "p": 0.5, text: text}
            tree["overrides"] = [f"dropout={text}", f"{text}={text}"]
            tree["environment"]["host"] = tree["environment"]["device_name"] = text
            tree["data"]["name"] = text
            tree["metrics"][text] = 1.5
            if number % 5 == 4:
                tree |= {"status": "failed", "error": f"Traceback\n{text}"}
            path.write_text(as_json(tree))
            beat = {"host": text, "pid": 1, text: text, "epoch": 1, "epochs": 2, "train": 1.0, "tokens_per_second": 1.0}
            if number % 5 == 3:
                (path.parent / "heartbeat.json").write_text(json.dumps(beat))
        shutil.copytree(paths[0].parent, few / text.replace("/", "⁄") / "seed-7")
        return few

    return make


def test_7_2_nothing_of_a_record_runs_in_the_page(
    hostile: Callable[[str], Path], tmp_path: Path, chromium: Any
) -> None:  # fmt: skip
    runs = load_runs(hostile(RUNS))
    path = tmp_path / "page.html"
    write_page(path, compare(runs, METRIC), runs, METRIC)
    browser = opened(chromium, path)
    for cell in browser.find_elements("css selector", "td.open")[:3]:
        cell.click()
    box = browser.find_element("css selector", ".dt-search input")
    box.send_keys("img")
    assert browser.execute_script("return document.documentElement.dataset.ran") is None
    assert browser.execute_script("return document.images.length") == 0
    assert RUNS in browser.execute_script("return document.body.textContent")
    log = [entry["message"] for entry in browser.get_log("browser")]
    assert log == []


def test_7_2_the_policy_lets_no_other_script_run(few: Path, tmp_path: Path, chromium: Any) -> None:
    runs = load_runs(few)
    path = tmp_path / "page.html"
    write_page(path, compare(runs, METRIC), runs, METRIC)
    text = path.read_text()
    assert "unsafe-inline" not in text.partition("<style")[0]
    attack = '<script>document.documentElement.dataset.ran=1</script><img src="data:," onerror="dataset.ran=1">'
    path.write_text(text.replace("<header>", f"<header>{attack}", 1))
    browser = opened(chromium, path)
    assert browser.execute_script("return document.documentElement.dataset.ran") is None


@pytest.mark.parametrize("style", ["md", "html"])
def test_7_2_keys_are_no_markup_in_tables(hostile: Callable[[str], Path], rnndrop: Command, style: str) -> None:
    shown = rnndrop("report", str(hostile(RUNS)), "--format", style).stdout
    assert "onerror" in shown and "<img" not in shown


COMMANDS = [
    *(["report", "{}", "--format", style] for style in ("rich", "md", "latex", "html", "csv")),
    ["report", "{}", "--baseline", "none", "--only-changed"],
    ["show", "{id}", "--output", "{}"],
    ["watch", "{}", "--once"],
    ["plot", "curves", "{}"],
    ["plot", "forest", "{}"],
]


@pytest.mark.parametrize("text", [STEERS, BREAKS])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:4]))
def test_7_3_nothing_of_a_record_steers_the_terminal(
    hostile: Callable[[str], Path], rnndrop: Command, command: list[str], text: str
) -> None:
    folder = hostile(text)
    (name,) = {path.parent.name for path in list(folder.glob("*/seed-0"))[:1]}
    filled = [part.format(folder, id=name) for part in command]
    code, said = on_a_terminal(rnndrop, filled)
    assert code in (0, 1, 2)
    shown = said.decode("utf-8", "replace")
    assert "Traceback (most recent" not in shown, shown
    assert "\x1b[2J" not in shown and "\x1b]" not in shown and "\x07" not in shown
    assert "\x9b" not in shown and "\u202e" not in shown


def test_7_3_a_plans_name_is_no_markup(rnndrop: Command) -> None:
    done = rnndrop("sweep", "dropout.name='[/a]'", "seed=0,1", "--dry-run")
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_7_5_cells_are_no_formulae(hostile: Callable[[str], Path], rnndrop: Command) -> None:
    evil = '=HYPERLINK("http://here")'
    shown = rnndrop("report", str(hostile(evil)), "--format", "csv").stdout
    cells = [cell for row in csv.reader(io.StringIO(shown)) for cell in row]
    assert any(evil in cell for cell in cells) and not any(cell.startswith(("=", "+", "@")) for cell in cells)


def test_7_5_folders_and_secrets_stay_out_of_what_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnndrop import run
    from rnndrop.config.compose import compose
    from rnndrop.errors import RequestError
    from rnndrop.report.committed import tidy

    monkeypatch.setenv("SECRET", "hush")
    for key in ("label", "data.name", "dropout.name", "seed", "+label"):
        with pytest.raises(RequestError, match="environment variable"):
            compose([f"{key}=${{oc.env:SECRET}}"])
    assert compose(["output=${oc.env:SECRET}/runs"]).output == "hush/runs"

    file = tmp_path / "private" / "c.txt"
    file.parent.mkdir()
    file.write_text("one two three\n" * 400)
    run(["data=text", f"data.file='{file}'", *TINY[1:], "trainer.epochs=1", f"output={tmp_path / 'runs'}"])
    shared = tidy(load_runs(tmp_path / "runs")).to_csv()
    assert "c.txt" in shared and "private" not in shared
