"""`rnndrop sweep`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.live import Live
from rich.table import Table

from rnndrop.progress import Progress
from rnndrop.sweep import Job, plan_jobs, run_jobs

from .progress import console, time_left
from .run import result_line


def sweep(overrides: Sequence[str], as_json: bool, force: bool) -> int:
    """Run a grid; print a line a run, or the records as a JSON list; return the exit code."""
    with console.status("checking every run"):
        jobs = plan_jobs(overrides)
    console.print(f"{len(jobs)} runs")
    progress: dict[str, Progress] = {}
    with Live(console=console, transient=True, auto_refresh=False) as live:

        def watch(now: Progress) -> None:
            progress["now"] = now
            if console.is_terminal:
                live.update(_table(jobs, now), refresh=True)

        for job in run_jobs(jobs, watch, force):
            assert job.record is not None
            if not as_json:
                print(f"{' '.join(job.overrides) or 'defaults'}: {result_line(job.record)}", flush=True)
    records = [job.record for job in jobs if job.record]
    if as_json:
        print(json.dumps([asdict(record) for record in records], indent=1))
    return 0 if all(record.status == "finished" for record in records) else 1


def _table(jobs: Sequence[Job], now: Progress) -> Table:
    """Every run with its state; the first one without a record is the running one."""
    table = Table("run", "state", box=None)
    running = next((job for job in jobs if job.record is None), None)
    for job in jobs:
        state = job.record.status if job.record else "waiting"
        if job is running:
            state = f"epoch {now.epoch}/{now.epochs}  train {now.train_perplexity:.1f}  {time_left(now)}"
        elif job.record and job.record.status == "finished":
            state = f"valid {job.record.metrics['valid_perplexity']:.1f}"
        table.add_row(" ".join(job.overrides) or "defaults", state)
    return table
