"""`debug=one_batch` and `debug=profile`: a look at a training that leaves no run behind."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from rnndrop.config.compose import compose
from rnndrop.config.schema import Config, own_code
from rnndrop.runs import environment
from rnndrop.runs.loading import load_corpus
from rnndrop.tasks.base import checked
from rnndrop.training.optimizer import Update
from rnndrop.training.seeding import generator
from rnndrop.training.trainer import Step, exploded, number

STEPS = 1000  # on the batch, at most
LEARNED = 0.05  # of the first loss: below that the batch has been learned by heart
WARM, TIMED, TOP = 3, 10, 12  # steps before and while the clock runs; operators that are named


@dataclass(frozen=True)
class OneBatch:
    """What came of training on one batch of so many targets: its mean losses, in `unit`."""

    targets: int
    unit: str
    first: float
    last: float
    steps: int

    @property
    def learned(self) -> bool:
        """Whether the model has it by heart."""
        return self.last <= LEARNED * self.first


@dataclass(frozen=True)
class Profile:
    """Milliseconds of a training step of so many tokens: `phases`, and `operators` as (name, calls, ms of its own)."""

    tokens: float
    phases: dict[str, float]
    operators: list[tuple[str, float, float]]


class _Stepping:
    """The steps of a training's first epochs, phase by phase."""

    def __init__(self, config: Config, few: int) -> None:
        own_code(config)
        self.device = environment.device(config.trainer.device)
        environment.check_precision(config.trainer.precision, self.device, config.model.cell)
        corpus, _ = load_corpus(config.data)
        task = checked(config, corpus, self.device)
        model = task.build(config, corpus, self.device).train()
        self.update = Update(model, config.trainer)
        masks = generator(config.seed_of("masks"), "masks", self.device)
        self.steps = task.steps(model, config, task.few(corpus, config, few), masks)
        self.row = self.steps.rows
        self.spent = {"forward": 0.0, "backward": 0.0, "update": 0.0}  # seconds

    def step(self) -> Step:
        """One step."""
        if self.row >= self.steps.rows:
            self.row = 0
            self.steps.begin(1)
        start = self._now()
        taken = self.steps.take(self.row)
        forward = self._now()
        taken.objective.backward()  # type: ignore[no-untyped-call]
        backward = self._now()
        self.update(taken.scale)
        self.spent["forward"] += forward - start
        self.spent["backward"] += backward - forward
        self.spent["update"] += self._now() - backward
        self.row += taken.rows
        loss = number(taken.loss, "the loss of a step")
        return taken._replace(loss=loss, targets=int(taken.targets), tokens=int(taken.tokens), rows=int(taken.rows))

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def one_batch(config: Config) -> OneBatch:
    """Train on the first batch alone until it is learned, or for `STEPS`. Raises RequestError.

    Without dropout, which is there to prevent just that, but for what a model of the user's own has in it, and at the
    learning rate of the first epoch.
    """
    bare = compose([])
    config = config.model_copy(update={"dropout": bare.dropout, "twin": bare.twin})
    with environment.computing(config.trainer):
        stepping = _Stepping(config, 1)
        taken = stepping.step()
        first = taken.loss / taken.targets
        found = OneBatch(taken.targets, stepping.steps.unit, first, first, 1)
        while not (found.learned or found.steps == STEPS or exploded(stepping.steps, taken.loss, taken.targets)):
            taken = stepping.step()
            found = replace(found, last=taken.loss / taken.targets, steps=found.steps + 1)
    return found


def profiled(config: Config) -> Profile:
    """Time the phases of `TIMED` training steps, and then the operators in as many more. Raises RequestError."""
    with environment.computing(config.trainer):
        stepping = _Stepping(config, WARM + 2 * TIMED)
        for _ in range(WARM):
            stepping.step()
        stepping.spent = dict.fromkeys(stepping.spent, 0.0)
        tokens = sum(stepping.step().tokens for _ in range(TIMED))
        phases = {phase: 1000 * seconds / TIMED for phase, seconds in stepping.spent.items()}
        on_gpu = stepping.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        with _silent(), profile(activities=activities) as watching:
            for _ in range(TIMED):
                stepping.step()
    return Profile(tokens / TIMED, phases, _operators(watching, on_gpu))


def _operators(watching: Any, on_gpu: bool) -> list[tuple[str, float, float]]:
    """Those that took most, a step: time within an operator that it has called is not its own."""
    name = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    every = [(each.key, each.count / TIMED, getattr(each, name) / 1000 / TIMED) for each in watching.key_averages()]
    return sorted(every, key=lambda each: -each[2])[:TOP]


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing to stderr: the profiler's library says there that it starts and stops."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
