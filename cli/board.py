"""Where a sweep stands: one bar for all runs and the runs at work, one plain line, and what came of it in the end."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Collection, Sequence

from rich.text import Text

from rnndrop.display.digits import number
from rnndrop.paths import OUTPUT
from rnndrop.store.records import begun
from rnndrop.sweeps.scheduler import ENDED, Event, Job

from .progress import duration, measured, middle_cut

BAR = 24  # columns, where there are that many
REDRAW = 0.2  # seconds between two pictures
ROWS = 12  # the most runs at work that are shown


class Outcome:
    """What a sweep does to its jobs: `counts` until now, and in the end with what to type next."""

    def __init__(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
        self.jobs = jobs
        self.before = {job for job in jobs if job.state in settled or job.state == "trial"}  # a trial is taken over

    def counts(self) -> str:
        """`12 runs: 8 ran now (7 finished, 1 failed), 4 were finished already.`"""
        ended = [job for job in self.jobs if job not in self.before and job.state in ENDED]
        unmet = sum(job.state == "finished" and bool(job.problem) for job in ended)  # a measurement of a finished run
        now = Counter(job.state for job in ended) - Counter(finished=unmet)
        before = Counter(job.state for job in self.before)
        left = len(self.jobs) - now.total() - before.total() - unmet
        parts = (
            [f"{now.total():,} ran now" + (f" ({_each(now)})" if now else "")] if now or not (before or unmet) else []
        )
        parts += [f"{count:,} {'was' if count == 1 else 'were'} {state} already" for state, count in before.items()]
        parts += [f"{unmet:,} had finished and could not be measured as asked"] if unmet else []
        parts += [f"{left:,} {'is' if left == 1 else 'are'} left"] if left else []
        return f"{len(self.jobs):,} run{'' if len(self.jobs) == 1 else 's'}: {', '.join(parts)}."

    def ended(self, advise: bool = True) -> str:
        """The last line of a sweep; `advise`: what to type next also where all is well."""
        bad = [job for job in self.jobs if job.state in ("failed", "diverged")]
        output = self.jobs[0].config.output if self.jobs else ""
        if bad:
            first = bad[0].folder
            where = "" if output == OUTPUT else f" --output {shlex.quote(output)}"
            next_ = f" Next: rnndrop show {first.parent.name[:8]}/{first.name}{where} says why; {again(bad)}."
        elif any(job.state != "finished" for job in self.jobs):
            next_ = " Next: the same command runs what is left."
        else:
            folder = "" if output == OUTPUT else f" {shlex.quote('./' * output.startswith('-') + output)}"
            next_ = f" Next: rnndrop report{folder}" if advise else ""
        return self.counts() + next_


def again(failed: Sequence[Job]) -> str:
    """What runs jobs that failed again: without being asked those that did not come as far as their data."""
    asked = " with --retry-failed" if any(job.record is None or begun(job.record) for job in failed) else ""
    return f"the same command{asked} runs {'it' if len(failed) == 1 else 'them'} again"


class Board:
    """Where the jobs of a sweep that are to run stand, told of each event."""

    def __init__(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
        self.jobs = jobs
        self.todo = [job for job in jobs if job.state not in settled]
        self._epochs = sum(job.config.trainer.epochs for job in self.todo)
        self._first: dict[Job, float] = {}  # the epochs that a job had when this sweep first heard of it
        self._started = time.monotonic()
        self._drawn = 0.0

    @property
    def old(self) -> bool:
        """Whether it is time for a new picture."""
        return time.monotonic() - self._drawn >= REDRAW

    def take(self, event: Event) -> None:
        """Take note of where a job begins: one that goes on has epochs behind it."""
        if event.kind == "progress":
            self._first.setdefault(event.job, _epochs(event.job))

    @property
    def left(self) -> float | None:
        """Seconds until all have ended, at the pace of this sweep so far; None before there is any."""
        done = [(_done(job), self._first.get(job, 0.0)) for job in self.todo]
        gained = sum(max(0.0, now - first) for now, first in done)
        if not gained:
            return None
        return (self._epochs - sum(now for now, _ in done)) / gained * (time.monotonic() - self._started)

    @property
    def line(self) -> str:
        """All of it in one line: `37 of 120 runs · 2 running · 1 failed · about 0:12:30 left`."""
        counts = Counter(job.state for job in self.todo)
        done = sum(counts[state] for state in ENDED)
        waiting = len(self.todo) - done - counts["running"]
        parts = [f"{done:,} of {len(self.todo):,} runs"]
        parts += [
            f"{counts[state]:,} {state}" for state in ("failed", "diverged", "unreadable", "running") if counts[state]
        ]
        parts += [f"{waiting:,} waiting"] if waiting else []
        already = len(self.jobs) - len(self.todo)
        parts += [f"{already:,} done before"] if already else []
        parts += [f"about {duration(self.left)} left"] if self.left is not None else []
        return " · ".join(parts)

    def screen(self, width: int, height: int) -> Text:
        """The runs at work, as many as fit, and below them the bar."""
        self._drawn = time.monotonic()
        working = [job for job in self.todo if job.state == "running"]
        shown = working[: max(1, min(ROWS, height - 4))]
        longest = max((len(job.name) for job in shown), default=0)
        name = min(longest, max(10, width - 54))
        lines = [Text(f"{middle_cut(job.name, name):<{name}}  {_now(job)}"[: width - 1]) for job in shown]
        if len(working) > len(shown):
            lines.append(Text(f"and {len(working) - len(shown)} more at work", style="dim"))
        share = sum(map(_done, self.todo)) / (self._epochs or 1)
        line = f" {share:>4.0%}  {self.line}"
        size = max(6, min(BAR, width - len(line) - 1))
        full = round(share * size)
        bar = Text.assemble(("━" * full, "green"), ("━" * (size - full), "dim"), line[: width - size - 1])
        return Text("\n").join([*lines, bar])


def _epochs(job: Job) -> float:
    now = job.progress
    return float(now["epoch"] - 1 + now["fraction"]) if "epoch" in now else 0.0  # it has none where it is only measured


def _done(job: Job) -> float:
    """How many of its epochs a job needs no more."""
    epochs = job.config.trainer.epochs
    return float(epochs) if job.state in ENDED else min(_epochs(job), epochs)


def _now(job: Job) -> str:
    """Where a job at work is."""
    now = job.progress
    if not now:
        return "starting"
    if "measuring" in now:
        return measured(now)
    valid = f"valid {number(now['valid'][-1])}" if now.get("valid") else ""
    left = f"{duration(now['left'])} left" if now.get("left") is not None else ""
    return f"{now['epoch']:>3}/{now['epochs']:<3}  train {number(now['train']):>7}  {valid:<13}  {left}".rstrip()


def _each(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in counts.items())
