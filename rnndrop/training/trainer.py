"""Training: one loop for every task. A task says what a step is (`Steps`); the best weights on valid are kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rnndrop.config.schema import TrainerSettings
from rnndrop.dropout.masks import draw_masks
from rnndrop.dropout.plan import Plan
from rnndrop.models.encoder import Encoder
from rnndrop.store.checkpoint import Checkpoint
from rnndrop.store.progress import Progress, RunObserver
from rnndrop.training.optimizer import Update
from rnndrop.training.stages import Stage

FEWEST = 10  # targets: the mean of fewer may be large in a healthy training, as in the last window of an epoch
_FACTS = ("step", "row", "loss_sum", "count", "tokens", "epoch_seconds", "seconds", "history")


class DivergedError(ArithmeticError):
    """The loss became NaN or exploded."""

    def __init__(self, step: int, loss: float, unit: str) -> None:
        super().__init__(f"the loss of step {step} is {loss:g} {unit}")
        self.step = step


def number(value: Any, what: str) -> float:
    """What a task gives as a number, as one that JSON has: numpy's and a tensor's too. Raises TypeError."""
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{what} is {value!r}, and not a number") from None


class Step(NamedTuple):
    """A step of training, before its update of the weights."""

    objective: Tensor  # whose gradient it follows
    loss: float  # without penalties, summed over its targets
    targets: int
    tokens: int  # that were read
    rows: int  # of the epoch that it took
    scale: float = 1.0  # of the learning rate


class Steps(Protocol):
    """What a task trains on, step by step. One that is based on this class carries nothing from step to step."""

    unit: str  # of the loss of one target
    exploded: float  # a mean loss above this will not come back (see `exploded`)
    averages: bool  # whether the weights may be averaged, which the history then says

    @property
    def rows(self) -> int:
        """How many rows an epoch has."""
        ...

    def begin(self, epoch: int) -> None:
        """Begin an epoch, counted from 1, or go on with it."""
        return None

    def take(self, row: int) -> Step:
        """The step that begins at this row of the epoch."""
        ...

    def score(self, loss: float) -> float:
        """The task's score that a mean loss comes to."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What is carried from step to step, for a checkpoint."""
        return {}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` returned."""
        return None


def exploded(steps: Steps, loss: float, targets: int) -> bool:
    """Whether a loss, summed over so many targets, will not come back. One of few counts as that of `FEWEST`."""
    return not loss <= steps.exploded * max(targets, FEWEST)


class Training:
    """The state of one training; `run` takes it to its end.

    `generator` draws the masks and whatever else `steps` draw, on the device of the model. `metric` names the task's
    score: `train_<metric>`.
    """

    def __init__(
        self,
        model: Encoder,
        plan: Plan,
        settings: TrainerSettings,
        steps: Steps,
        generator: torch.Generator,
        metric: str,
    ) -> None:
        self.model, self.plan, self.settings, self.steps, self.generator = model, plan, settings, steps, generator
        self.metric = metric
        self.update = Update(model, settings)
        self.stage = Stage(model, settings)
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.row = 0  # where the next step begins
        self.loss_sum, self.count, self.tokens, self.epoch_seconds = 0.0, 0, 0, 0.0
        self._drawn = self.generator.get_state()  # as the epoch finds it
        self.steps.begin(len(self.history) + 1)

    @property
    def paths(self) -> list[str]:
        """Which path of the engine each layer takes."""
        throwaway = torch.Generator(self.generator.device).manual_seed(0)
        return self.model.paths(draw_masks(self.plan, self.model.sizes, 2, 2, throwaway, held=self.model.held))

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest valid score, counted from 1."""
        return 1 + int(np.argmin(self._valid))

    @property
    def tokens_seen(self) -> int:
        """How many tokens the model has been trained on."""
        return sum(row["tokens"] for row in self.history)

    def run(self, valid: Callable[[], float], observer: RunObserver) -> None:
        """Train to the last epoch, or until `patience` runs out; `valid` scores the model as it stands.

        Whenever `observer` or `valid` is called the state is whole: they may take a checkpoint, or raise and leave.
        Raises DivergedError.
        """
        while not self.finished:
            self.model.train()
            self._epoch(observer)
            self.model.eval()
            with self.stage.evaluated():
                self._close_epoch(valid())
            self.stage.choose(self._valid, self.best)
            self._begin_epoch()
            row = self.history[-1]
            train = row[f"train_{self.metric}"]
            observer.evaluated(self._progress(row["epoch"], 1.0, train, row["tokens_per_second"]))

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.stage.finished(self._valid)

    @property
    def _valid(self) -> list[float]:
        return [row[f"valid_{self.metric}"] for row in self.history]

    def _epoch(self, observer: RunObserver) -> None:
        """Train on what is left of the epoch."""
        epoch, rows = len(self.history) + 1, self.steps.rows
        self.update.set_epoch(epoch)
        while self.row < rows:
            start = time.perf_counter()
            self._step()
            self.epoch_seconds += time.perf_counter() - start
            fraction = min(self.row / rows, 1.0)
            observer.progress(self._progress(epoch, fraction, self._train, self.tokens / self.epoch_seconds))

    def _step(self) -> None:
        self.step += 1
        taken = self.steps.take(self.row)
        loss, targets = number(taken.loss, "the loss of a step"), int(taken.targets)
        if exploded(self.steps, loss, targets):
            raise DivergedError(self.step, loss / targets, self.steps.unit)
        taken.objective.backward()  # type: ignore[no-untyped-call]
        self.update(taken.scale)
        self.stage.updated()
        self.row += int(taken.rows)
        self.loss_sum, self.count = self.loss_sum + loss, self.count + targets
        self.tokens += int(taken.tokens)

    def _close_epoch(self, valid: float) -> None:
        self.check({"train": self._train, "valid": valid})
        self.seconds += self.epoch_seconds
        row = {
            "epoch": len(self.history) + 1,
            f"train_{self.metric}": self._train,
            "learning_rate": self.update.learning_rate,
            "tokens": self.tokens,
            "seconds": self.epoch_seconds,
            "tokens_per_second": self.tokens / self.epoch_seconds,
            f"valid_{self.metric}": valid,
        }
        self.history.append(row | ({"averaged": self.stage.average is not None} if self.steps.averages else {}))
        if self.best_epoch == len(self.history):
            now = self.model.state_dict()  # contiguous, as a file of weights needs them
            self.best = {name: each.detach().clone(memory_format=torch.contiguous_format) for name, each in now.items()}

    def check(self, scores: Mapping[str, float]) -> None:
        """Raise DivergedError where a split's score is not finite: no record holds it."""
        for split, value in scores.items():
            if not math.isfinite(value):
                raise DivergedError(self.step, value, f"on the {split} split ({self.metric})")

    @property
    def _train(self) -> float:
        """The score of the epoch so far, with dropout and as the weights change."""
        return number(self.steps.score(self.loss_sum / self.count), "the score of a training loss")

    def _progress(self, epoch: int, fraction: float, train: float, rate: float) -> Progress:
        epochs = self.settings.epochs + self.settings.finetune_epochs
        return Progress(epoch, epochs, fraction, train, rate, self.history, self.step, self.metric)

    def state(self) -> Checkpoint:
        """Everything that the rest of the training depends on."""
        groups = {
            "model": self.model.state_dict(),
            "best": self.best,
            "update": self.update.state_dict(),
            "stage": self.stage.state_dict(),
            "memory": self.steps.state_dict(),
            "random": {"masks": self.generator.get_state(), "epoch": self._drawn},
        }
        tensors = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
        return Checkpoint(self.step, tensors, {name: getattr(self, name) for name in _FACTS})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from `checkpoint`, as if this training had come there by itself."""
        names = ("model", "best", "update", "stage", "memory", "random")
        groups: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        for name, tensor in checkpoint.tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = tensor
        facts = {"tokens": checkpoint.facts["count"], **checkpoint.facts}  # one of before may leave it out
        for name in _FACTS:
            setattr(self, name, facts[name])
        self.model.load_state_dict(groups["model"])
        self.update.load_state_dict(groups["update"])
        self.stage.load_state_dict(groups["stage"])
        device = self.generator.device
        self.best = {name: tensor.to(device) for name, tensor in groups["best"].items()}
        drawn = groups["random"]
        self._drawn = drawn.get("epoch", self._drawn)  # one of before may leave it out
        self.generator.set_state(self._drawn)
        self.steps.begin(len(self.history) + 1)
        self.steps.load_state_dict({name: tensor.to(device) for name, tensor in groups["memory"].items()})
        self.generator.set_state(drawn["masks"])  # last: an epoch's beginning may draw
