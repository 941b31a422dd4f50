"""`rnndrop watch`."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.text import Text

from rnndrop.config.identity import shown_digits
from rnndrop.config.tasks import score
from rnndrop.display.digits import number
from rnndrop.display.foreign import plain
from rnndrop.errors import RequestError
from rnndrop.store.records import TICKET, pruned, run_folders
from rnndrop.store.status import Looker, Standing, standings, task
from rnndrop.sweeps.scheduler import differing

from . import output
from .progress import duration, measured, middle_cut, sparkline

STYLES = {  # the states, those that need attention first
    "unreadable": "bold red",
    "damaged": "bold red",
    "lost": "bold red",
    "failed": "bold red",
    "diverged": "red",
    "running": "cyan",
    "waiting": "blue",
    "interrupted": "magenta",
    "not begun": "",
    "pruned": "",
    "finished": "green",
}
TROUBLE = ("unreadable", "damaged", "lost", "failed", "diverged")
NUMBERS = 25  # columns of epoch, valid and time left
CURVE = 20


def watch(path: str, once: bool, as_json: bool, every: float) -> int:
    """Show where the runs below `path` stand, live on a terminal that draws, else once; return the exit code."""
    if not Path(path).is_dir():
        raise RequestError(f"No folder {path}: nothing has run yet. Name another: rnndrop watch FOLDER")
    if as_json:
        runs = standings(run_folders(path))
        print(json.dumps([_row(run, name) for run, name in zip(runs, _names(runs), strict=True)], indent=1))
        return 0
    console = output.console()
    if once or not sys.stdout.isatty() or console.is_dumb_terminal:
        width = console.width if console.is_terminal else None
        for line in screen(_runs(path), width):
            console.print(line, soft_wrap=True)
        return 0
    look = Looker()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                lines = screen(_runs(path, look), console.width, console.height - 1)
            except RequestError as problem:  # of a file system that may be there again soon
                lines = [Text(str(problem))]
            live.update(Text("\n").join(lines), refresh=True)
            time.sleep(every)


def _row(run: Standing, name: str) -> dict[str, Any]:
    """What is known of a run, as JSON."""
    seen = ("epoch", "epochs", "fraction", "tokens_per_second", "left", "measuring", "measured", "host", "pid", "age")
    config = run.record.config if run.record else {}
    return {
        "run": run.name,
        "state": run.state,
        "lost": run.lost,
        "problem": _reason(run) or None,
        "differs": name or None,
        "dropout": config.get("dropout", {}).get("name"),
        "folder": str(run.folder),
        f"valid_{'perplexities' if task(run).metric == 'perplexity' else task(run).metric}": run.valid,
        "now": {key: run.beat.get(key) for key in seen} if run.beat else None,
    }


def _runs(path: str, look: Callable[[Path], Standing] | None = None) -> list[tuple[str, Standing, str]]:
    """The runs with their states in words and how they differ, those that need attention first."""
    runs = standings(run_folders(path), look)
    found = [(_state(run), run, name) for run, name in zip(runs, _names(runs), strict=True)]
    order = list(STYLES)
    return sorted(found, key=lambda each: (order.index(each[0]), each[1].beat.get("left") or 0))


def _state(run: Standing) -> str:
    if run.lost:
        return "lost"
    if run.state in ("new", "resumable") and os.path.lexists(run.folder / TICKET):
        return "waiting"  # for a cluster
    if run.state in ("new", "resumable") and run.record and pruned(run.record):
        return "pruned"
    return {"new": "not begun", "resumable": "interrupted"}.get(run.state, run.state)


def _names(runs: Sequence[Standing]) -> list[str]:
    """How each run was started differently from the others; empty where that is not known."""
    asked = [[own for own in run.overrides or () if not own.startswith("output=")] for run in runs]
    known = [own for run, own in zip(runs, asked, strict=True) if run.overrides is not None]
    names = iter(differing(known) if known else ())
    return [plain(next(names)) if run.overrides is not None else "" for run in runs]


def _reason(run: Standing) -> str:
    """Why a run needs attention; empty where it does not."""
    if run.problem:
        return plain(run.problem)
    if run.lost:
        beat = run.beat
        return f"silent for {duration(beat['age'])} (process {beat['pid']} on {plain(beat['host'])})"
    lines = ((run.record and run.record.error) or "").strip().splitlines()
    return plain(lines[-1]) if lines and run.state != "running" else ""


def screen(
    runs: Sequence[tuple[str, Standing, str]], width: int | None = None, height: int | None = None
) -> list[Text]:
    """What `watch` shows, within so many columns and lines: counts, a line a run, and how many more there are."""
    top = [Text(line.replace("~", " ")) for line in textwrap.wrap(_counts(runs), width or 10_000)]
    if not runs:
        return top
    room = len(runs) if height is None else max(1, height - len(top) - 2)  # a heading, and the line of the others
    shown = _chosen(runs, room) if height is not None and len(runs) > room else list(runs)
    digits = shown_digits(run.key[0] for _, run, _ in runs)
    ids = [plain(f"{run.key[0][:digits]}/{run.key[1]}") for _, run, _ in shown]
    first, second = max(len(state) for state, _, _ in shown), max(map(len, ids))
    longest = max([len("what differs"), *(len(name) for _, _, name in shown)])
    third = longest if width is None else min(longest, max(10, (width - first - second - 6) // 2))
    rest = None if width is None else width - first - second - third - 6
    curve = rest is None or rest >= NUMBERS + 2 + CURVE
    epoch, valid, left = "epoch", "valid", "left"
    heading = f"{'':<{first}}  {'run':<{second}}  {'what differs':<{third}}  {epoch:>7}  {valid:>7}  {left:>7}"
    lines = [*top, Text(_cut(heading, width).rstrip(), style="bold")]
    for (state, run, name), identity in zip(shown, ids, strict=True):
        last = _reason(run) if state in TROUBLE else _numbers(state, run, curve)
        told = f"  {identity:<{second}}  {middle_cut(name, third):<{third}}  {_cut(last, rest)}".rstrip()
        lines.append(Text.assemble((f"{state:<{first}}", STYLES[state]), told))
    if len(shown) < len(runs):
        others = Counter(state for state, _, _ in runs) - Counter(state for state, _, _ in shown)
        more = " · ".join(f"{others[state]:,} {state}" for state in STYLES if others[state])
        lines.append(
            Text(
                _cut(f"and {others.total():,} more, which --once shows: {more}", width),
                style="dim",
            )
        )
    return lines


def _counts(runs: Sequence[tuple[str, Standing, str]]) -> str:
    """How many runs there are in which state, and when the last of those at work will be done."""
    if not runs:
        return "no runs yet"
    counts = Counter(state for state, _, _ in runs)
    order = ("running", "waiting", "finished", *TROUBLE[2:], "interrupted", "not begun", "pruned", *TROUBLE[:2])
    states = " · ".join(f"{counts[state]:,}~{state}" for state in order if counts[state])  # ~: no line ends there
    left = [run.beat["left"] for state, run, _ in runs if state == "running" and run.beat.get("left") is not None]
    ends = f" · those at work end in {duration(max(left))}" if left and len(left) == counts["running"] else ""
    return f"{len(runs):,} run{'s' if len(runs) > 1 else ''}: {states}{ends}"


def _chosen(runs: Sequence[tuple[str, Standing, str]], room: int) -> list[tuple[str, Standing, str]]:
    """The first runs that fit; those at work keep half of the room, however many are in trouble."""
    trouble = [each for each in runs if each[0] in TROUBLE]
    others = [each for each in runs if each[0] not in TROUBLE]
    working = sum(each[0] == "running" for each in others)
    trouble = trouble[: max(room - working, (room + 1) // 2)]
    return trouble + others[: room - len(trouble)]


def _numbers(state: str, run: Standing, curve: bool) -> str:
    """Epoch, the last valid score (the best of a finished run), time left, and the curve of valid scores so far."""
    beat, metrics = run.beat if state == "running" else {}, run.record.metrics if run.record else {}
    if state == "finished":
        epochs, best = str(metrics.get("epochs", "")), number(score(metrics, "valid"))
        return f"{epochs:>7}  {best:>7}"
    valid = beat.get("valid") or run.valid
    epoch = f"{beat['epoch']}/{beat['epochs']}" if "epoch" in beat else str(len(valid) or "")
    left = duration(beat["left"]) if beat.get("left") is not None else ""
    last = number(valid[-1]) if valid else ""
    more = measured(beat) if beat.get("measuring") else sparkline(valid, CURVE) if curve else ""
    return f"{epoch:>7}  {last:>7}  {left:>7}  {more}".rstrip()


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else f"{text[: max(0, width - 1)]}…"
