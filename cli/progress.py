"""Progress on stderr: a live line on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from rnndrop.config.metrics import METRICS
from rnndrop.config.schema import Config
from rnndrop.config.tasks import score, task_of
from rnndrop.display.digits import count, number
from rnndrop.display.foreign import plain
from rnndrop.runs.signals import Interrupted
from rnndrop.store.progress import Outline, RunObserver
from rnndrop.store.progress import Progress as TrainingProgress

from . import output

console = output.console("stderr")
BLOCKS = "▁▂▃▄▅▆▇█"
MEASURED_EVERY = 15.0  # seconds between two lines on a measurement, where there is no terminal


def headline(config: Config) -> Text:
    """The plan that is about to run, folded beside its name."""
    name, about = config.dropout.name, str(config.plan)
    if about == "no dropout":
        return Text(name, style="bold")
    head = f"{name}  "
    lines = textwrap.wrap(head + about, console.width, subsequent_indent=" " * len(head), break_on_hyphens=False)
    return Text.assemble((name, "bold"), "\n".join(lines)[len(name) :])


def outline(config: Config, found: Outline) -> str:
    """What a run works with, in two lines: the corpus and its floor; the model, its size, and what computes it."""
    data, model = found.data, config.model
    floors = [number(data[name]) for name in ("floor_perplexity", "floor_perplexity_valid") if data.get(name)]
    corpus = [
        config.data.name,
        *([f"{data['vocab_size']:,} types"] if data.get("vocab_size") else []),
        *([f"{data['train_tokens']:,} training tokens"] if data.get("train_tokens") else []),
        *([f"floor {' test, '.join(floors)} valid"] if len(floors) == 2 else []),
    ]
    parts = [
        f"{model.module or model.cell} {model.layers}×{model.hidden}",
        f"{count(found.parameters)} parameters",
        f"{config.trainer.epochs} epochs",
        found.machine,
        *([config.trainer.precision] if config.trainer.precision != "float32" else []),
        f"seed {config.seed}",
    ]
    return "\n".join(" · ".join(line) for line in (corpus, parts))


def tell_idle(configs: Iterable[Config]) -> None:
    """Say what of these runs does nothing, each once."""
    for line in dict.fromkeys(line for config in configs for line in config.without_effect):
        console.print(line, soft_wrap=True)


def scored(value: float, config: Mapping[str, Any]) -> str:
    """A task's score, and what follows from it: of characters `2.378 (1.250 bits)`."""
    task = task_of(config)
    found = [(each.header, each.of(value, config)) for each in METRICS.values() if each.task == task.name and each.of]
    more = [f"{number(each)} {name}" for name, each in found if each is not None]
    return number(value) + (f" ({', '.join(more)})" if more else "")


def epoch_line(progress: TrainingProgress, config: Mapping[str, Any]) -> str:
    """The last finished epoch of a run of `config` in one line."""
    row = progress.history[-1]
    train, valid = score(row, "train"), score(row, "valid")
    arrow = "↓" if valid < min([math.inf, *(score(past, "valid") for past in progress.history[:-1])]) else "↑"
    return (
        f"epoch {row['epoch']:>2}/{progress.epochs}  train {scored(train, config)}  "
        f"valid {scored(valid, config)} {arrow}  {row['tokens_per_second'] / 1000:.1f}k tok/s"
    )


def time_left(progress: TrainingProgress) -> str:
    """An estimate from the mean time of the epochs so far."""
    return "" if progress.left is None else f"{duration(progress.left)} left"


def duration(seconds: float) -> str:
    """`0:07:30`."""
    return str(timedelta(seconds=round(min(max(seconds, 0), 1e10))))  # whoever wrote it


def progress_bar() -> Progress:
    """A bar for one run, on a terminal; its tasks have `numbers` beside it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(24, style="dim", complete_style="green", finished_style="green"),
        TextColumn("{task.fields[numbers]}"),
        console=console,
        transient=True,
        disable=not console.is_interactive,
    )


def measured(now: Mapping[str, Any]) -> str:
    """What is being read to measure a run, and how much of it has been: `measuring mc test: 43 %`."""
    return f"measuring {plain(now['measuring'])}: {100 * now['measured']:.0f} %"


class Measuring:
    """Shows what is being read to measure a run: in a bar on a terminal, elsewhere a line every so many seconds."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self.bar, self.task, self.told = bar, task, time.monotonic()

    def __call__(self, what: str, fraction: float) -> None:
        """Show it."""
        self.bar.update(self.task, completed=fraction, description=f"measuring {what}", numbers=f"{fraction:.0%}")
        if not console.is_interactive and time.monotonic() - self.told >= MEASURED_EVERY:
            self.told = time.monotonic()
            console.print(measured({"measuring": what, "measured": fraction}), soft_wrap=True)


def sparkline(values: Sequence[float], width: int = 20) -> str:
    """A row of values as blocks, the last `width` of them: ▇▅▃▂▁."""
    shown = [value for value in values if math.isfinite(value)][-width:]
    if not shown:
        return ""
    low, span = min(shown), max(shown) - min(shown)
    return "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1)) if span else 0] for value in shown)


def middle_cut(text: str, width: int) -> str:
    """Shortened in its middle: names often differ at their ends."""
    return text if len(text) <= width else f"{text[: width - width // 3 - 1]}…{text[-(width // 3) :]}"


@contextmanager
def resumable(force: bool = False, so_far: Callable[[], str] = str) -> Iterator[None]:
    """Turn an interrupt into a message that says how to go on, and exit code 130 (Typer would only say "Aborted").

    `force`: what was asked for starts afresh each time. `so_far`: what has come of it until then.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if force:
            again = "Finished runs are kept; with --force the same command starts from the beginning."
        else:
            here = "here" if isinstance(error, Interrupted) else "the last checkpoint, if there is one"
            again = f"The same command goes on from {here}."
        console.print(" ".join(("Interrupted.", *filter(None, [so_far()]), again)), soft_wrap=True)
        raise SystemExit(130) from None


@contextmanager
def each(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` every so many seconds, from a thread of its own."""
    over = Event()

    def repeat() -> None:
        while not over.wait(seconds):
            act()

    thread = Thread(target=repeat, name="each", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class RunDisplay(RunObserver):
    """Shows one run: use as a context manager, and as an observer of the run."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.settings = config.model_dump(mode="json")
        self.bar = progress_bar()
        self.task: TaskID | None = None
        self.measured: Measuring | None = None
        self.shown = 0

    def __enter__(self) -> RunDisplay:
        console.print(headline(self.config), soft_wrap=True)
        self.bar.start()
        self.task = self.bar.add_task("starting", total=1.0, numbers="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.stop()

    def started(self, outline_: Outline) -> None:
        """Say what the run works with."""
        console.print(outline(self.config, outline_), soft_wrap=True)

    def progress(self, progress: TrainingProgress) -> None:
        """Show where the training stands."""
        assert self.task is not None
        if len(progress.history) > self.shown:  # of a run that goes on
            self.evaluated(progress)
        rate = f"{progress.tokens_per_second / 1000:.1f}k tok/s"
        self.bar.update(
            self.task,
            completed=(progress.epoch - 1 + progress.fraction) / progress.epochs,
            description=f"epoch {progress.epoch:>2}/{progress.epochs}",
            numbers=f"train {number(progress.train)}  {rate}  {time_left(progress)}",
        )

    def evaluated(self, progress: TrainingProgress) -> None:
        """Say what the epoch came to."""
        self.shown = len(progress.history)
        console.print(epoch_line(progress, self.settings))

    def measuring(self, what: str, fraction: float) -> None:
        """Show how far the measurements after the training are."""
        assert self.task is not None
        self.measured = self.measured or Measuring(self.bar, self.task)
        self.measured(what, fraction)
