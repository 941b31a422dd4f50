"""The page in headless Chromium, which is one for all tests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.report.page import embedded, page_data, reproduce, write_page
from rnndrop.report.series import distinct
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
NAMES = "return [...document.querySelectorAll('tbody td.open .full')].map(name => name.textContent)"


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
    assert chromium.execute_script(count) == before - 3  # the mean of valid, its band, and train
    chromium.execute_script("document.querySelector('td input[type=checkbox]').click()")
    assert chromium.execute_script(count) == before
    chromium.execute_script("document.querySelector('td.open button').click()")
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


MARKED = """return Object.fromEntries(['best', 'better', 'worse'].map(mark => [mark,
    [...document.querySelectorAll(`td.${mark}`)].map(cell => [cell.textContent, getComputedStyle(cell).color])]))"""


def test_the_page_says_what_the_terminal_says(tmp_path: Path, chromium: Any) -> None:
    """What is not decided has no colour, what was not measured is last in either order, and a CSV has no host."""
    scores = {"none": (100, 101, 102), "naive": (90, 91, 92), "locked": (120, 121, 122), "awd": (80, 130)}
    for plan, found in scores.items():
        for seed, score in enumerate(found):
            sampled = {"mc": {"samples": 5}, "test_perplexity_mc": score - 1.0, "valid_perplexity_mc": score - 1.0}
            more = sampled if plan in ("naive", "locked") else {}
            write_run(tmp_path / "runs", [f"dropout={plan}"], seed, score, metrics=more)
    runs = load_runs(tmp_path / "runs")
    path, line = tmp_path / "page.html", "naive seed 0 is the best of 2 trials"
    write_page(path, compare(runs, METRIC, "none"), runs, METRIC, asked="runs --where a<b", said=[line])
    opened(chromium, path, 1600)
    assert chromium.get_log("browser") == []
    shown = chromium.execute_script("return document.body.innerText")
    assert line in shown and "11 runs of runs --where a<b" in shown
    marked = chromium.execute_script(MARKED)
    assert [text.split()[0] for text, _ in marked["best"]] == ["91.00"]
    (better, green), (worse, orange) = marked["better"][0], marked["worse"][0]
    assert better.startswith("−9.9 %") and worse.startswith("+19.8 %") and green != orange
    assert [len(marked[mark]) for mark in ("better", "worse")] == [1, 1]
    for _ in range(2):
        chromium.execute_async_script(SORT.replace("'test'", "'test MC'"))
        names = chromium.execute_script(NAMES)
        assert set(names[:2]) == {"naive", "locked"} and set(names[2:]) == {"none", "awd"}
    chromium.execute_script("document.querySelector('td.open button').click()")
    assert "undefined" not in chromium.execute_script("return document.querySelector('.detail').textContent")


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
    layout = "return document.querySelector('.{} .plot').layout.{}"
    low, high = chromium.execute_script(layout.format("forest", "xaxis.range"))
    assert low < -27 and high > 0
    (line,) = chromium.execute_script(layout.format("forest", "shapes"))
    assert line["x0"] == line["x1"] == 0
    assert chromium.execute_script(layout.format("curves", "xaxis.dtick")) % 1 == 0
    assert "against none" in chromium.execute_script("return document.querySelector('.forest figcaption').textContent")


EDGES = """return [...document.querySelectorAll(arguments[0])].map(cell => {
  const {left, right} = cell.getBoundingClientRect(); return [cell.textContent, left, right]})"""
FURTHER = "const button = document.querySelector('.further'); return button.hidden ? '' : button.textContent"
SCROLL = """const done = arguments[0], box = document.querySelector('.dt-layout-full');
box.scrollLeft = box.scrollWidth; setTimeout(done, 300)"""


def test_a_narrow_window_shows_what_matters_and_that_there_is_more(
    hundred: Path, tmp_path: Path, chromium: Any
) -> None:
    opened(chromium, page(hundred, tmp_path / "report.html"), 400)
    heads = chromium.execute_script(EDGES, "thead th")
    assert [text for text, _, _ in heads[:4]] == ["dropout", "n", "test", "against baseline"]
    cells = chromium.execute_script(EDGES, "tbody tr td:nth-child(-n+4)")
    assert len(cells) == 4 * 20 and all(0 <= left < right <= 400 for _, left, right in cells)
    assert all(right <= left + 1 for (_, _, right), (_, left, _) in pairwise(cells[:4]))
    beyond = sum(right > 400 for _, _, right in heads)
    assert beyond and chromium.execute_script(FURTHER) == f"{beyond} more columns ›"
    chromium.execute_async_script(SCROLL)
    name, *_, last = chromium.execute_script(EDGES, "tbody tr:first-child td")
    assert name[1] == cells[0][1] and last[2] <= 400
    assert chromium.execute_script(FURTHER) == ""
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= 400


def test_curves_are_means_with_a_band_and_fill_the_axis(few: Path, tmp_path: Path, chromium: Any) -> None:
    valid: list[list[float]] = []
    for path in few.glob("*/seed-*/history.jsonl"):
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        if "variational" in (path.parent / "record.json").read_text("utf-8"):
            valid.append([row["valid_perplexity"] for row in rows])
        for row in rows:
            row["train_perplexity"] = 1.0  # learned by heart at once
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    opened(chromium, page(few, tmp_path / "report.html"), 400)
    plot = "return document.querySelector('.curves .plot').{}"
    traces = chromium.execute_script(plot.format("data.map(({name, x, y}) => ({name, x, y}))"))
    assert [trace["name"] for trace in traces] == 3 * ["band", "valid", "train"]
    mean = [sum(values) / len(valid) for values in zip(*valid, strict=True)]
    assert traces[1]["y"] == pytest.approx(mean, rel=1e-4)
    half = len(mean)
    assert traces[0]["y"][0] > mean[0] > traces[0]["y"][-1] and len(traces[0]["y"]) == 2 * half
    low, _ = chromium.execute_script(plot.format("layout.yaxis.range"))
    assert low > 0.5 * min(mean)

    legend = "return document.querySelector('.curves {}').getBoundingClientRect().{}"
    assert chromium.execute_script(legend.format(".legend", "top")) >= chromium.execute_script(
        legend.format(".plot svg", "bottom")
    )
    chromium.execute_script("document.querySelector('.curves .legend button').click()")
    assert chromium.execute_script(plot.format("data.length")) == 2 * 3
    assert chromium.get_log("browser") == []


def lost(folder: Path) -> Path:
    """Three plans: one whose runs finished, one of which some did, one of which none did."""
    for seed in range(2):
        write_run(folder, ["dropout=none"], seed, 100 + seed)
    write_run(folder, ["dropout=naive"], 0, 110)
    write_run(folder, ["dropout=naive"], 1, status="diverged", metrics={}, error="the loss of step 4 is nan")
    for plan in ("naive", "zoneout"):
        write_run(
            folder, [f"dropout={plan}"], 2, status="failed", metrics={}, error="Traceback\n  a line\nOSError: full"
        )
    return page(folder, folder / "report.html")


def test_a_row_leads_to_the_reason_why_its_runs_did_not_finish(tmp_path: Path, chromium: Any) -> None:
    opened(chromium, lost(tmp_path))
    assert "3 did not finish" in chromium.execute_script("return document.querySelector('header').textContent")
    links = "return [...document.querySelectorAll('tbody td:nth-child(2) a')].map(link => link.textContent)"
    assert chromium.execute_script(links) == ["1/3 †"]
    chromium.execute_script("document.querySelector('tbody td:nth-child(2) a').click()")
    told = "return document.querySelector(':target').textContent"
    assert "diverged dropout=naive seed 1: the loss of step 4 is nan" in chromium.execute_script(told)
    chromium.execute_script("document.querySelectorAll('td.open button')[1].click()")
    chromium.execute_script("document.querySelectorAll('.detail a')[1].click()")
    reason = chromium.execute_script(told)
    assert "failed dropout=naive seed 2: OSError: full" in reason and "  a line" in reason and "rnndrop show" in reason
    every = chromium.execute_script("return document.querySelector('#failures').textContent")
    assert "dropout=zoneout seed 2" in every
    assert chromium.get_log("browser") == []


def test_details_begin_with_what_differs_from_the_defaults(tmp_path: Path, chromium: Any) -> None:
    write_run(tmp_path, ["model.hidden=100", "dropout=naive"], 0, 100)
    write_run(tmp_path, ["model.hidden=100"], 0, 110)
    opened(chromium, page(tmp_path, tmp_path / "report.html"))
    chromium.execute_script("document.querySelector('td.open button').click()")
    rows = "return [...document.querySelectorAll('.detail > :nth-child(2) tr')].map(row => row.textContent)"
    changed = chromium.execute_script(rows)
    assert "model.hidden100instead of 200" in changed and "dropout.namenaiveinstead of none" in changed
    assert not any("trainer." in row for row in changed)
    others = chromium.execute_script("return document.querySelector('.detail details').textContent")
    assert "trainer.epochs" in others and "model.hidden" not in others


KEPT = "return [...document.querySelectorAll('.axes path.kept')].length"
PRESS = """[...document.querySelectorAll('.axes g.value')].find(value => value.ariaLabel === arguments[0])
.dispatchEvent(new Event('click'))"""


def test_rates_are_drawn_by_location_and_side_by_side(hundred: Path, tmp_path: Path, chromium: Any) -> None:
    opened(chromium, page(hundred, tmp_path / "report.html"), 1000)
    names = chromium.execute_script("return [...document.querySelectorAll('.rates option')].map(each => each.value)")
    assert "recurrent" in names and "input" in names
    chromium.execute_script("""const select = document.querySelector('.rates select'); select.value = 'recurrent';
                               select.dispatchEvent(new Event('change'))""")
    data = chromium.execute_script("return document.querySelector('.rates .plot').data.map(({x}) => x)")
    assert [0, 0.1, 0.2, 0.3] in data

    assert chromium.execute_script(KEPT) == 20
    titles = chromium.execute_script(
        "return [...document.querySelectorAll('.axes .title')].map(each => each.textContent)"
    )
    assert {"input", "recurrent", "output"} < set(titles) and titles[-1] == "test perplexity"
    chromium.execute_script(PRESS, "input 0.3")
    assert chromium.execute_script(KEPT) < 20
    said = chromium.execute_script("return document.querySelector('.axes .said').textContent")
    assert said.startswith(f"{chromium.execute_script(KEPT)} of 20 rows; the best of them is ")
    chromium.execute_script(PRESS, "input 0.3")
    assert chromium.execute_script(KEPT) == 20
    assert chromium.get_log("browser") == []


def test_the_dark_page_is_dark_everywhere(hundred: Path, tmp_path: Path, chromium: Any) -> None:
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    opened(chromium, page(hundred, tmp_path / "report.html"), 1000)
    light = """return [...document.querySelectorAll('body *')].filter(each => {
        const parts = getComputedStyle(each).backgroundColor.match(/[\\d.]+/g).map(Number);
        return parts[3] !== 0 && Math.min(...parts.slice(0, 3)) > 90}).map(each => each.outerHTML.slice(0, 80))"""
    assert chromium.execute_script(light) == []
    dark = "return getComputedStyle(document.querySelector(arguments[0])).colorScheme"
    assert {chromium.execute_script(dark, name) for name in (".dt-search input", ".dt-layout-full")} == {"dark"}
    ink = "return getComputedStyle(document.querySelector('.curves .xtick text')).fill"
    assert chromium.execute_script(ink) == "rgb(232, 232, 232)"


def test_short_names_tell_rows_apart() -> None:
    nbsp = "\N{NO-BREAK SPACE}…"
    rates = [f"variational input.p={p} hidden.p={p} · twin.loss=mse" for p in (0.2, 0.4)]
    assert distinct([*rates, "none", "naive"]) == [
        f"variational input.p=0.2{nbsp}", f"variational input.p=0.4{nbsp}", "none", "naive"
    ]  # fmt: skip
    assert distinct(["input locked .2 · output locked .4", "input locked .2 · output locked .5"]) == [
        f"output locked .4{nbsp}", f"output locked .5{nbsp}"
    ]  # fmt: skip
    assert distinct(["none · lstm 2×200", "none · gru 2×200"]) == ["none · lstm 2×200", "none · gru 2×200"]
    assert distinct(["none", "none · hidden=100"]) == ["none", "none · hidden=100"]
    assert distinct([]) == [] and distinct(["naive input.p=0.5"]) == [f"naive{nbsp}"]
