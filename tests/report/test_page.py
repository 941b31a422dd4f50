"""The page in headless Chromium, which is one for all tests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.report.page import embedded, page_data, reproduce, write_page
from rnndrop.sweeps.search_file import PlanEntry, SearchFile
from tests.conftest import Command
from tests.invented import write_run
from tests.pages import opened

METRIC = "test_perplexity"
SORT = """
const done = arguments[0], head = [...document.querySelectorAll('th')].find(th => th.textContent === 'test');
const start = performance.now();
const report = () => done(performance.now() - start);
new MutationObserver((_, watch) => { watch.disconnect(); requestAnimationFrame(report); }).observe(
  document.querySelector('tbody'), {childList: true});
(head.querySelector('[role=button], .dt-column-order') ?? head).click();"""
"""Click on the header; the milliseconds until the rows stand in their new order."""
FILTER = """
const box = document.querySelector('.dt-search input'); box.value = 'naive';
box.dispatchEvent(new Event('input', {bubbles: true})); box.dispatchEvent(new Event('keyup'))"""
HOVER = "document.querySelectorAll('.plot').forEach(plot => Plotly.Fx.hover(plot, [{curveNumber: 0, pointNumber: 0}]))"
NAMES = "return [...document.querySelectorAll('tbody td.open')].map(td => td.textContent)"


def page(folder: Path, path: Path) -> Path:
    runs = load_runs(folder)
    write_page(path, compare(runs, METRIC, "none"), runs, METRIC)
    return path


def test_the_page_works_offline_without_an_error(hundred: Path, tmp_path: Path, chromium: Any) -> None:
    path = page(hundred, tmp_path / "report.html")
    opened(chromium, path)
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    own = [request for request in sent if request.get("documentURL") == path.as_uri()]
    asked = {request["request"]["url"].partition(":")[0] for request in own}
    assert asked <= {"file", "blob", "data"} and "file" in asked

    names = chromium.execute_script(NAMES)
    assert len(names) == 20 and names[0] == "variational"
    chromium.execute_async_script(SORT)
    chromium.execute_async_script(SORT)
    assert chromium.execute_script(NAMES)[-1] == "variational"
    chromium.execute_script(FILTER)
    time.sleep(0.6)
    assert len(found := chromium.execute_script(NAMES)) == 5 and all("naive" in name for name in found)


def test_a_curve_toggles_and_a_row_opens(hundred: Path, tmp_path: Path, chromium: Any) -> None:
    opened(chromium, page(hundred, tmp_path / "report.html"))
    count = "return document.querySelector('.curves .plot').data.length"
    before = chromium.execute_script(count)
    chromium.execute_script("document.querySelector('td input[type=checkbox]').click()")
    assert chromium.execute_script(count) == before - 2 * 5  # train and valid of five seeds
    chromium.execute_script("document.querySelector('td input[type=checkbox]').click()")
    assert chromium.execute_script(count) == before
    chromium.execute_script("document.querySelector('td.open').click()")
    detail = chromium.execute_script("return document.querySelector('.detail').textContent")
    assert "rnndrop sweep dropout=variational seed=0,1,2,3,4" in detail and "dropout.recurrent.p" in detail
    assert "torch 2.13.0" in detail and "seed-4" in detail


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_no_wider_than_the_window(
    hundred: Path, tmp_path: Path, chromium: Any, width: int, dark: bool
) -> None:
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    opened(chromium, page(hundred, tmp_path / "report.html"), width)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    paper = chromium.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 27)" if dark else "rgb(255, 255, 255)")
    assert chromium.get_log("browser") == []


def documents(rnndrop: Command, folder: Path) -> Path:
    """A page of two plans, with a decision about them, a plan whose spread was measured, and a search."""
    output = folder / "results/runs"
    for seed in range(20):
        for plan, value in (("none", 100), ("naive", 120)):
            write_run(output, [f"dropout={plan}"], seed, value + ((seed * 7) % 5) / 10 + seed % 2)
        if seed < 4:
            write_run(output, ["dropout=naive", "seeds.data=0", "seeds.masks=0"], seed, 100 + seed)
    assert "better" in rnndrop("decide", "dropout=none,naive").stdout
    plans = [PlanEntry(name, [], [], [], [None, 9.0, 8.0], None, [], None, []) for name in ("naive", "locked")]
    (output / "searches").mkdir()
    search = SearchFile(1, "1", "perplexity", {"rate_factor": {}}, 3, 0, [], plans)
    (output / "searches/1.json").write_text(search.to_json(), "utf-8")
    assert rnndrop("report", "--baseline", "none", "--html", "page.html").returncode == 0
    return folder / "page.html"


def test_decisions_spreads_and_searches_are_drawn(rnndrop: Command, tmp_path: Path, chromium: Any) -> None:
    path = documents(rnndrop, tmp_path)
    found = re.search(r'id="data">(.*?)</script>', path.read_text("utf-8"))
    data = json.loads(found[1] if found else "")
    (decision,) = data["decisions"]
    (course,) = decision["story"]["courses"]
    looks = decision["story"]["looks"]
    assert decision["lines"][0].startswith("✓ dropout=none is better than dropout=naive")
    assert course["label"] == "none against naive" and course["end"] == "better"
    assert course["seeds"] == list(range(1, looks + 1)) and course["low"][0] is None  # of one seed there is no interval
    assert all(value < decision["story"]["bound"] for value in course["differ"][:-1])
    assert course["deciding"] == course["differ"][-1] >= decision["story"]["bound"]
    ((plan,),) = [table["spread"] for table in data["tables"]]
    assert plan["label"] == "naive"
    assert [(row["source"], row["n"]) for row in plan["rows"]] == [("all seeds", 20), ("initial weights", 4)]
    assert data["searches"] == [{"name": "perplexity", "about": "rate_factor",
                                 "curves": {"naive": [None, 9, 8], "locked": [None, 9, 8]}}]  # fmt: skip

    opened(chromium, path, 1600)
    drawn = "return [...document.querySelectorAll('figure')].map(each => each.className)"
    assert chromium.execute_script(drawn) == ["curves", "forest", "spread", "decision", "search"]
    for name in ("decision", "search"):
        width = f"return document.querySelector('.{name} {{}}').getBoundingClientRect().width"
        assert chromium.execute_script(width.format("svg")) <= chromium.execute_script(width.format(".plot"))
        axis = chromium.execute_script(f"return document.querySelector('.{name} .plot').layout.xaxis")
        assert axis["dtick"] % 1 == 0 and axis["range"][0] == 0.5
    chromium.execute_script(HOVER)
    time.sleep(0.5)
    chromium.execute_script("document.getElementById('theme').click()")
    opened(chromium, path, 400)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= 400
    assert chromium.get_log("browser") == []


def test_a_page_of_runs_alone_has_no_figure_of_documents(few: Path) -> None:
    runs = load_runs(few)
    data = page_data(compare(runs, METRIC, "none"), runs, METRIC)
    assert (data["decisions"], data["searches"], data["tables"][0]["spread"]) == ([], [], [])


def test_a_run_named_script_does_no_harm(few: Path, change: Callable[..., None], tmp_path: Path, chromium: Any) -> None:
    evil = "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"
    change(few, lambda r: (r["config"]["dropout"].update(name=evil), r.update(overrides=[f"dropout={evil}"])),
           lambda r: r["config"]["dropout"]["name"] == "naive")  # fmt: skip
    opened(chromium, page(few, tmp_path / "report.html"))
    chromium.execute_script("document.querySelectorAll('td.open').forEach(td => td.click())")
    time.sleep(0.3)
    assert evil in chromium.execute_script(NAMES)
    assert chromium.execute_script("return window.harmed") is None and chromium.get_log("browser") == []


def test_five_hundred_rows_sort_at_once(invent: ModuleType, tmp_path: Path, chromium: Any) -> None:
    invent.write(str(tmp_path / "runs"), 500, seeds=1)
    opened(chromium, page(tmp_path / "runs", tmp_path / "report.html"))
    times = [chromium.execute_async_script(SORT) for _ in range(5)]
    assert sorted(times)[2] < 200, times


def test_data_cannot_end_their_script() -> None:
    text = embedded({"a": ["</script>", float("nan"), "&\u2028"]})
    assert "<" not in text and "&" not in text and json.loads(text) == {"a": ["</script>", None, "&\u2028"]}


def test_the_command_of_a_row() -> None:
    assert reproduce(["dropout=naive", "seed=3", "output=x"], [3]) == "rnndrop run dropout=naive seed=3"
    assert reproduce(["data.file=a b"], [1, 0]) == "rnndrop sweep 'data.file=a b' seed=0,1"


def test_zero_is_on_the_axis_of_differences_and_epochs_are_whole(few: Path, tmp_path: Path, chromium: Any) -> None:
    opened(chromium, page(few, tmp_path / "report.html"))
    layout = "return document.querySelector('.{} .plot').layout.xaxis.{}"
    low, high = chromium.execute_script(layout.format("forest", "range"))
    assert low < -27 and high > 0
    assert chromium.execute_script(layout.format("curves", "dtick")) % 1 == 0
    assert "against none" in chromium.execute_script("return document.querySelector('.forest figcaption').textContent")
