"""`rnndrop.sweep` and `rnndrop.decide`: what the commands of these names do, for a program or a notebook."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from rnndrop.decisions.document import Decision
from rnndrop.decisions.race import Rule
from rnndrop.store.records import Record
from rnndrop.sweeps.contest import Lasting, contest
from rnndrop.sweeps.deciding import Deciding
from rnndrop.sweeps.launchers import executor, schedules, split_launcher
from rnndrop.sweeps.scheduler import ENDED, Event, Executor, Job, check_readable, plan_jobs, run_jobs, settled_statuses

Watch = Callable[[Event], None]
"""Is told what happens to the jobs: see `rnndrop.sweeps.scheduler.Event`."""


def sweep(
    overrides: Sequence[str],
    jobs: int = 1,
    retry_failed: bool = False,
    force: bool = False,
    gpus: int | None = None,
    progress: bool = True,
) -> list[Record]:
    """Run every combination: `rnndrop.sweep(["dropout=none,naive", "seed=range(3)"], jobs=2)`. Raises RequestError.

    `jobs` run at a time, each in a process of its own, on the first `gpus` GPUs (None: all). The records come in the
    order of the grid, with those of runs that had finished before; failed and diverged ones are among them. `progress`:
    a bar in a notebook or on a terminal. Interrupted, the runs write a checkpoint, and the same call goes on.
    """
    launcher, rest = split_launcher(overrides)
    planned, settled = plan_jobs(rest), settled_statuses(retry_failed, force)
    check_readable(planned)
    workers = executor(launcher, jobs, gpus=gpus)
    todo = [job for job in planned if job.state not in settled]
    with _bar(progress, "sweep", len(todo)) as told:
        _carry_out(todo, workers, settled, told, lambda: False)
    check_readable(planned)
    return [job.record for job in planned if job.record]


def decide(
    overrides: Sequence[str],
    margin: float = 0.01,
    alpha: float = 0.05,
    max_seeds: int = 20,
    jobs: int = 1,
    retry_failed: bool = False,
    gpus: int | None = None,
    progress: bool = True,
) -> Decision:
    """Train seed after seed until a plan is better, worse or equal within `margin`, as `rnndrop decide` does.

    `rnndrop.decide(["dropout=variational,naive"], jobs=2)`. Raises RequestError. The decision says in `verdict` what
    came of it, and in words as a `str`; "going on" where a run that it needs has failed.
    """
    launcher, rest = split_launcher(overrides)
    decided = contest(rest, Rule(alpha, math.log1p(margin) if margin > -1 else math.nan), max_seeds)
    check_readable([job for row in decided.jobs for job in row])
    deciding = Deciding(decided, settled_statuses(retry_failed, force=False), lambda look, number: None)
    workers = Lasting(executor(launcher, jobs, gpus=gpus))
    with _bar(progress, " against ".join(decided.names)) as told:
        try:
            for round_ in deciding.rounds(jobs if schedules(launcher) else workers.free):
                _carry_out(round_, workers, deciding.settled, told, deciding.enough)
        finally:
            workers.close()
    return decided.decision(deciding.race)


def _carry_out(
    jobs: Sequence[Job], workers: Executor, settled: frozenset[str], told: Watch, enough: Callable[[], bool]
) -> None:
    with closing(run_jobs(jobs, workers, settled)) as events:
        for event in events:
            told(event)
            if event.kind != "progress" and enough():
                return


@contextmanager
def _bar(wanted: bool, title: str, total: int | None = None) -> Iterator[Watch]:
    """Show in a notebook or on a terminal how many runs have ended; what this yields is to be told of the events."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    parts: dict[Job, float] = {}
    with Progress(*columns, console=console, disable=not (wanted and console.is_interactive)) as bar:
        task = bar.add_task(title, total=total)
        line = _line(f"{title}: starting") if wanted and console.is_jupyter else lambda text: None

        def told(event: Event) -> None:
            if event.kind == "progress":
                now = event.content
                if "epoch" in now:  # else it is only measured
                    parts[event.job] = (now["epoch"] - 1 + now["fraction"]) / now["epochs"]
            else:
                parts[event.job] = float(event.job.state in ENDED)
            done = sum(parts.values())
            bar.update(task, completed=done)
            line(f"{title}: {done:.1f} of {total} runs" if total else f"{title}: {done:.1f} runs")

        yield told


def _line(text: str) -> Callable[[str], None]:
    """A line of a notebook's output that can be changed: rich has a bar there only with ipywidgets."""
    from IPython.display import display

    handle = display({"text/plain": text}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    return lambda text: handle.update({"text/plain": text}, raw=True)
