"""`rnndrop watch`."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from rnndrop.display.digits import number
from rnndrop.display.foreign import plain
from rnndrop.errors import RequestError
from rnndrop.store.records import run_folders
from rnndrop.store.status import Standing, standings, task

from . import output
from .progress import sparkline

STYLES = {
    "running": "cyan",
    "failed": "red",
    "diverged": "red",
    "damaged": "red",
    "unreadable": "red",
    "finished": "green",
}


def watch(path: str, once: bool, as_json: bool, every: float) -> int:
    """Show where the runs below `path` stand: live on a terminal, once elsewhere; return the exit code."""
    if not Path(path).is_dir():
        raise RequestError(f"No folder {path}: nothing has run yet. Name another: rnndrop watch FOLDER")
    if as_json:
        print(json.dumps([_row(run) for run in standings(run_folders(path))], indent=1))
        return 0
    console = output.console()
    if once or not sys.stdout.isatty():
        console.print(_table(path))
        return 0
    with Live(_table(path), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(_table(path), refresh=True)


def _row(run: Standing) -> dict[str, Any]:
    """What is known of a run, as JSON."""
    now = {key: run.beat.get(key) for key in ("epoch", "epochs", "fraction", "tokens_per_second", "host", "pid", "age")}
    config = run.record.config if run.record else {}
    return {
        "run": run.name,
        "state": run.state,
        "problem": run.problem or None,
        "dropout": config.get("dropout", {}).get("name"),
        "folder": str(run.folder),
        f"valid_{'perplexities' if task(run).metric == 'perplexity' else task(run).metric}": run.valid,
        "now": now if run.beat else None,
    }


def _table(path: str) -> Table:
    """Running ones first, then what failed, then the rest; those that are new are only counted."""
    runs = standings(run_folders(path))
    order = ["running", "unreadable", "damaged", "failed", "diverged", "resumable", "finished"]
    table = Table("run", "state", "epoch", "valid", "best", "tok/s", "host", box=None, header_style="bold")
    for run in sorted((run for run in runs if run.state in order), key=lambda run: order.index(run.state)):
        beat = run.beat if run.state == "running" else {}
        epoch = f"{beat['epoch']}/{beat['epochs']}" if "epoch" in beat else str(len(run.valid) or "")
        rate = f"{beat['tokens_per_second']:.0f}" if "epoch" in beat else ""
        best = number(min(run.valid)) if run.valid else ""
        row = [plain(run.name), run.state, epoch, sparkline(run.valid), best, rate, str(beat.get("host", ""))]
        table.add_row(*row, style=STYLES.get(run.state))
    counts = Counter(run.state for run in runs)
    lines = [" · ".join(f"{count} {state}" for state, count in counts.items()) or "no runs yet"]
    lines += [f"{run.name}: {run.problem}" for run in runs if run.problem]
    table.caption = Text("\n".join(lines))
    return table
