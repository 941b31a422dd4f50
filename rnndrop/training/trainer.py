"""Training: contiguous BPTT windows with carried state, one set of masks a window, best weights on valid."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnndrop.config.schema import TrainerSettings
from rnndrop.data import batching
from rnndrop.dropout.noise import draw_masks
from rnndrop.dropout.plan import Plan
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import nll_sum
from rnndrop.store.checkpoint import Checkpoint
from rnndrop.store.progress import Progress, Watcher
from rnndrop.training.bptt import random_length
from rnndrop.training.optimizer import Update
from rnndrop.training.regularizers import activation_penalty
from rnndrop.training.stages import Stage

EXPLODED = 3.0  # a mean loss above this many times ln V (a uniform guess) will not come back
BEFORE_VALID = 0.999  # the fraction of an epoch whose windows are done and whose valid perplexity is not
_FACTS = ("step", "row", "loss_sum", "count", "epoch_seconds", "seconds", "history")


class DivergedError(ArithmeticError):
    """The loss became NaN or exploded."""

    def __init__(self, step: int, loss: float, unit: str = "nats a token") -> None:
        super().__init__(f"the loss of step {step} is {loss:g} {unit}")
        self.step = step


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
        self.stage = Stage(model, settings)
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.row = 0  # where the next window begins
        self.loss_sum, self.count, self.epoch_seconds = 0.0, 0, 0.0
        self.memory = self.model.initial_state(self.inputs.shape[1])

    @property
    def paths(self) -> list[str]:
        """Which path of the engine each layer takes."""
        throwaway = torch.Generator(self.generator.device).manual_seed(0)
        return self.model.paths(draw_masks(self.plan, self.model.sizes, 2, 2, throwaway))

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest valid perplexity, counted from 1."""
        return 1 + int(np.argmin(self._valid_perplexities))

    @property
    def tokens_seen(self) -> int:
        """How many targets the model has been trained on."""
        return sum(row["tokens"] for row in self.history)

    def run(self, valid: Callable[[], float], watch: Watcher) -> None:
        """Train to the last epoch, or until `patience` runs out. Raises DivergedError.

        Whenever `watch` or `valid` is called the state is whole: they may take a checkpoint, or raise and leave.
        """
        while not self.finished:
            self._windows(watch)
            with self.stage.evaluated():
                self._close_epoch(valid())
            self.stage.choose(self._valid_perplexities, self.best)
            self._begin_epoch()
            row = self.history[-1]
            watch(self._progress(row["epoch"], 1.0, row["train_perplexity"], row["tokens_per_second"]))

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.stage.finished(self._valid_perplexities)

    @property
    def _valid_perplexities(self) -> list[float]:
        return [row["valid_perplexity"] for row in self.history]

    def _windows(self, watch: Watcher) -> None:
        """Train on what is left of the epoch."""
        epoch = len(self.history) + 1
        self.update.set_epoch(epoch)
        while self.row < len(self.inputs):
            start = time.perf_counter()
            base = self.settings.window
            length = random_length(base, self.generator) if self.settings.random_window else base
            window = slice(self.row, self.row + length)
            inputs, targets = self.inputs[window].long(), self.targets[window].long()
            loss, tokens, self.memory = self._window(inputs, targets, self.memory, length / base)
            self.row += length
            self.loss_sum, self.count = self.loss_sum + loss, self.count + tokens
            self.epoch_seconds += time.perf_counter() - start
            fraction = min(self.row / len(self.inputs), BEFORE_VALID)
            watch(self._progress(epoch, fraction, self._train_perplexity, self.count / self.epoch_seconds))

    def _close_epoch(self, valid_perplexity: float) -> None:
        self.seconds += self.epoch_seconds
        self.history.append(
            {
                "epoch": len(self.history) + 1,
                "train_perplexity": self._train_perplexity,
                "learning_rate": self.update.learning_rate,
                "tokens": self.count,
                "seconds": self.epoch_seconds,
                "tokens_per_second": self.count / self.epoch_seconds,
                "valid_perplexity": valid_perplexity,
                "averaged": self.stage.average is not None,
            }
        )
        if self.best_epoch == len(self.history):
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    @property
    def _train_perplexity(self) -> float:
        return math.exp(self.loss_sum / self.count)

    def _window(self, inputs: Tensor, targets: Tensor, state: Any, scale: float) -> tuple[float, int, Any]:
        """One step, at `scale` times the learning rate, on a window (T, B).

        Returns the summed loss in nats, without penalties, the number of targets, and the state for the next window.
        """
        self.step += 1
        steps, batch = inputs.shape
        masks = draw_masks(self.plan, self.model.sizes, steps, batch, self.generator)
        top, state = self.model.top(inputs, state, masks)
        loss = nll_sum(self.model.seen(top, masks), *self.model.decoder_weights(masks), targets)
        tokens = int((targets != batching.IGNORED).sum())
        mean = loss.item() / tokens
        if not mean <= EXPLODED * math.log(self.model.sizes.vocabulary):
            raise DivergedError(self.step, mean)
        objective = loss
        if self.settings.ar or self.settings.tar:
            objective = loss + tokens * activation_penalty(top, masks.output, self.settings.ar, self.settings.tar)
        (objective / (tokens if self.settings.loss == "mean" else batch)).backward()  # type: ignore[no-untyped-call]
        self.update(scale)
        self.stage.updated()
        # Without its graph, which holds the whole window. Cloned, so that a state taken up from a checkpoint lies in
        # memory as this one does: sums may depend on it.
        return loss.item(), tokens, tuple(tuple(part.detach().clone() for part in memory) for memory in state)

    def _progress(self, epoch: int, fraction: float, train: float, rate: float) -> Progress:
        epochs = self.settings.epochs + self.settings.finetune_epochs
        return Progress(epoch, epochs, fraction, train, rate, self.history, self.step)

    def state(self) -> Checkpoint:
        """Everything that the rest of the training depends on."""
        groups = {
            "model": self.model.state_dict(),
            "best": self.best,
            "update": self.update.state_dict(),
            "stage": self.stage.state_dict(),
            "memory": {f"{i}/{j}": part for i, layer in enumerate(self.memory) for j, part in enumerate(layer)},
            "random": {"masks": self.generator.get_state()},
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
        self.model.load_state_dict(groups["model"])
        self.update.load_state_dict(groups["update"])
        self.stage.load_state_dict(groups["stage"])
        self.generator.set_state(groups["random"]["masks"])
        device = self.generator.device
        self.best = {name: tensor.to(device) for name, tensor in groups["best"].items()}
        parts = sorted(groups["memory"].items())  # named layer/part
        self.memory = tuple(
            tuple(tensor.to(device) for name, tensor in parts if name.startswith(f"{i}/"))
            for i in range(len(self.memory))
        )
        for name in _FACTS:
            setattr(self, name, checkpoint.facts[name])
