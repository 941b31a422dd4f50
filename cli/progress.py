"""Progress on stderr: a live line on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from rnndrop.config import Config
from rnndrop.progress import Progress as TrainingProgress
from rnndrop.task import score, task_by_metric, task_of_row

console = Console(stderr=True)
BLOCKS = "▁▂▃▄▅▆▇█"


def headline(config: Config) -> str:
    """What is about to run, in one line."""
    model = config.model
    return (
        f"{config.data.name} · {model.cell} {model.layers}×{model.hidden} · "
        f"{config.dropout.name}: {config.plan} · seed {config.seed}"
    )


def tell_idle(configs: Iterable[Config]) -> None:
    """Say which rules of these runs cannot act, each once."""
    for line in dict.fromkeys(line for config in configs for line in config.without_effect):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def epoch_line(progress: TrainingProgress) -> str:
    """The last finished epoch in one line."""
    row = progress.history[-1]
    train, valid, digits = score(row, "train"), score(row, "valid"), task_of_row(row).digits
    arrow = "↓" if valid < min([math.inf, *(score(past, "valid") for past in progress.history[:-1])]) else "↑"
    return (
        f"epoch {row['epoch']:>2}/{progress.epochs}  train {train:.{digits}f}  "
        f"valid {valid:.{digits}f} {arrow}  {row['tokens_per_second'] / 1000:.1f}k tok/s"
    )


def time_left(progress: TrainingProgress) -> str:
    """An estimate from the mean time of the epochs so far."""
    seconds = [row["seconds"] for row in progress.history]
    if not seconds:
        return ""
    left = (progress.epochs - progress.epoch + 1 - progress.fraction) * sum(seconds) / len(seconds)
    return f"{timedelta(seconds=round(left))} left"


def sparkline(values: Sequence[float], width: int = 20) -> str:
    """A row of values as blocks, the last `width` of them: ▇▅▃▂▁."""
    shown = [value for value in values if math.isfinite(value)][-width:]
    if not shown:
        return ""
    low, span = min(shown), max(shown) - min(shown)
    return "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1)) if span else 0] for value in shown)


@contextmanager
def resumable(force: bool = False) -> Iterator[None]:
    """Turn an interrupt into a message that says how to go on, and exit code 130 (Typer would only say "Aborted").

    `force`: what was asked for starts afresh each time.
    """
    try:
        yield
    except KeyboardInterrupt:
        if force:
            console.print("Interrupted. What had finished stays as it was; with --force all starts afresh.")
        else:
            console.print("Interrupted. The same command goes on from here.", markup=False, highlight=False)
        raise SystemExit(130) from None


class RunDisplay:
    """Shows one run: use as a context manager and hand `watch` to the run."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task: TaskID | None = None
        self.shown = 0

    def __enter__(self) -> RunDisplay:
        console.print(headline(self.config), markup=False, highlight=False)
        self.bar.start()
        self.task = self.bar.add_task("starting", total=1.0, numbers="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.stop()

    def watch(self, progress: TrainingProgress) -> None:
        """Show where the training stands."""
        assert self.task is not None
        if len(progress.history) > self.shown:
            self.shown = len(progress.history)
            console.print(epoch_line(progress), markup=False, highlight=False)
        rate = f"{progress.tokens_per_second / 1000:.1f}k tok/s"
        self.bar.update(
            self.task,
            completed=(progress.epoch - 1 + progress.fraction) / progress.epochs,
            description=f"epoch {progress.epoch:>2}/{progress.epochs}",
            numbers=f"train {progress.train:.{task_by_metric(progress.metric).digits}f}  {rate}  {time_left(progress)}",
        )
