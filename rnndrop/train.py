"""Training: contiguous BPTT windows with carried state, one set of masks a window, best weights on valid."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnndrop.config import TrainerSettings
from rnndrop.data import batching
from rnndrop.dropout.noise import draw_masks
from rnndrop.dropout.plan import Plan
from rnndrop.loss import nll_sum
from rnndrop.model import LanguageModel
from rnndrop.optimize import Update

EXPLODED = 3.0  # a mean loss above this many times ln V (a uniform guess) will not come back


class DivergedError(ArithmeticError):
    """The loss became NaN or exploded."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"the loss of step {step} is {loss:g} nats a token")
        self.step = step


@dataclass(frozen=True)
class Progress:
    """Where a training stands, for whoever watches."""

    epoch: int
    epochs: int
    fraction: float  # of the epoch
    train_perplexity: float
    tokens_per_second: float
    history: list[dict[str, Any]]


Watcher = Callable[[Progress], None]


class Training:
    """The state of one training; `run` takes it to its end.

    `tokens` is the training stream (N,); `valid` returns the valid perplexity of the model as it stands.
    `generator` draws the masks, on the device of the model.
    """

    def __init__(
        self,
        model: LanguageModel,
        plan: Plan,
        settings: TrainerSettings,
        tokens: np.ndarray,
        generator: torch.Generator,
    ) -> None:
        self.model, self.plan, self.settings, self.generator = model, plan, settings, generator
        self.inputs, self.targets = (
            torch.from_numpy(part).to(generator.device) for part in batching.columns(tokens, settings.batch_size)
        )
        self.update = Update(model, settings)
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest valid perplexity, counted from 1."""
        return 1 + int(np.argmin([row["valid_perplexity"] for row in self.history]))

    @property
    def tokens_seen(self) -> int:
        """How many targets the model has been trained on."""
        return sum(row["tokens"] for row in self.history)

    def run(self, valid: Callable[[], float], watch: Watcher) -> None:
        """Train to the last epoch, or until `patience` runs out. Raises DivergedError."""
        while not self.finished:
            self._epoch(watch)
            row = self.history[-1]
            row["valid_perplexity"] = valid()
            if self.best_epoch == row["epoch"]:
                self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
            watch(self._progress(row["epoch"], 1.0, row["train_perplexity"], row["tokens_per_second"]))

    @property
    def finished(self) -> bool:
        """Whether the epochs or the patience are used up."""
        epoch, patience = len(self.history), self.settings.patience
        return epoch >= self.settings.epochs or bool(patience and epoch and epoch - self.best_epoch >= patience)

    def _epoch(self, watch: Watcher) -> None:
        epoch = len(self.history) + 1
        self.update.set_epoch(epoch)
        state = self.model.initial_state(self.inputs.shape[1])
        loss_sum, count, start = 0.0, 0, time.perf_counter()
        for row in range(0, len(self.inputs), self.settings.window):
            window = slice(row, row + self.settings.window)
            loss, tokens, state = self._window(self.inputs[window], self.targets[window], state)
            loss_sum, count = loss_sum + loss, count + tokens
            seconds = time.perf_counter() - start
            watch(self._progress(epoch, row / len(self.inputs), _perplexity(loss_sum / count), count / seconds))
        seconds = time.perf_counter() - start
        self.seconds += seconds
        self.history.append(
            {
                "epoch": epoch,
                "train_perplexity": _perplexity(loss_sum / count),
                "learning_rate": self.update.learning_rate,
                "tokens": count,
                "seconds": seconds,
                "tokens_per_second": count / seconds,
            }
        )

    def _window(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[float, int, Any]:
        """One step on a window (T, B): summed loss in nats, number of targets, the state for the next window."""
        self.step += 1
        steps, batch = inputs.shape
        masks = draw_masks(self.plan, self.model.sizes, steps, batch, self.generator)
        state = tuple(tuple(part.detach() for part in memory) for memory in state)
        features, state = self.model.features(inputs, state, masks)
        loss = nll_sum(features, *self.model.decoder_weights(masks), targets)
        tokens = int((targets != batching.IGNORED).sum())
        mean = loss.item() / tokens
        if not mean <= EXPLODED * math.log(self.model.sizes.vocabulary):
            raise DivergedError(self.step, mean)
        (loss / (tokens if self.settings.loss == "mean" else batch)).backward()  # type: ignore[no-untyped-call]
        self.update()
        return loss.item(), tokens, state

    def _progress(self, epoch: int, fraction: float, train: float, rate: float) -> Progress:
        return Progress(epoch, self.settings.epochs, fraction, train, rate, self.history)


def _perplexity(mean_nll: float) -> float:
    return math.exp(mean_nll)
