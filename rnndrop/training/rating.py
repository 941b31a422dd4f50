"""Training on rated chunks: shuffled batches, one set of masks a batch, best weights on valid.

The counterpart of `rnndrop.training.trainer`, which has its windows and carried state instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rnndrop.config.schema import TrainerSettings
from rnndrop.data import Reviews
from rnndrop.dropout.noise import draw_masks
from rnndrop.dropout.plan import Plan
from rnndrop.models.regressor import Regressor
from rnndrop.store.checkpoint import Checkpoint
from rnndrop.store.progress import Progress, Watcher
from rnndrop.training.optimizer import Update
from rnndrop.training.trainer import BEFORE_VALID, DivergedError

EXPLODED = 100.0  # a squared error above this many times the variance of the ratings will not come back
_FACTS = ("step", "row", "loss_sum", "count", "tokens", "epoch_seconds", "seconds", "history")


class RatingTraining:
    """The state of one training; `run` takes it to its end.

    `order` returns the order (N,) in which an epoch, counted from 1, takes the training chunks: it must depend on
    nothing else. `generator` draws the masks, on the device of the model. The loss is the mean squared error on the
    standardised rating; the last batch of an epoch may be smaller.
    """

    def __init__(
        self,
        model: Regressor,
        plan: Plan,
        settings: TrainerSettings,
        reviews: Reviews,
        generator: torch.Generator,
        order: Callable[[int], Tensor],
    ) -> None:
        self.model, self.plan, self.settings, self.generator, self.order = model, plan, settings, generator, order
        device, chunks = generator.device, reviews.train
        self.inputs = torch.tensor(chunks.tokens, device=device)  # (N, L)
        self.lengths = torch.tensor(chunks.lengths, device=device)
        targets = (chunks.ratings - reviews.mean) / reviews.std
        self.targets = torch.tensor(targets, device=device, dtype=model.embedding.dtype)
        self.unit = reviews.std  # of the rating, where the model's is 1
        self.update = Update(model, settings)
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.row = 0  # where the next batch begins in the epoch's order
        self.loss_sum, self.count, self.tokens, self.epoch_seconds = 0.0, 0, 0, 0.0

    @property
    def paths(self) -> list[str]:
        """Which path of the engine each layer takes."""
        throwaway = torch.Generator(self.generator.device).manual_seed(0)
        return self.model.paths(draw_masks(self.plan, self.model.sizes, 2, 2, throwaway))

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest valid RMSE, counted from 1."""
        return 1 + int(np.argmin([row["valid_rmse"] for row in self.history]))

    @property
    def tokens_seen(self) -> int:
        """How many tokens the model has read in training, without padding."""
        return sum(row["tokens"] for row in self.history)

    @property
    def finished(self) -> bool:
        """Whether the epochs or the patience are used up."""
        epoch, patience = len(self.history), self.settings.patience
        return epoch >= self.settings.epochs or bool(patience and epoch and epoch - self.best_epoch >= patience)

    def run(self, valid: Callable[[], float], watch: Watcher) -> None:
        """Train to the last epoch, or until `patience` runs out; `valid` returns the RMSE. Raises DivergedError.

        Whenever `watch` or `valid` is called the state is whole: they may take a checkpoint, or raise and leave.
        """
        while not self.finished:
            self._batches(watch)
            self._close_epoch(valid())
            row = self.history[-1]
            watch(self._progress(row["epoch"], 1.0, row["train_rmse"], row["tokens_per_second"]))

    def _batches(self, watch: Watcher) -> None:
        """Train on what is left of the epoch."""
        epoch = len(self.history) + 1
        self.update.set_epoch(epoch)
        order = self.order(epoch).to(self.generator.device)
        while self.row < len(order):
            start = time.perf_counter()
            rows = order[self.row : self.row + self.settings.batch_size]
            self._batch(rows)
            self.row += len(rows)
            self.epoch_seconds += time.perf_counter() - start
            fraction = min(self.row / len(order), BEFORE_VALID)
            watch(self._progress(epoch, fraction, self._train_rmse, self.tokens / self.epoch_seconds))

    def _batch(self, rows: Tensor) -> None:
        """One step on the chunks `rows` (B,)."""
        self.step += 1
        lengths = self.lengths[rows]
        tokens = self.inputs[rows, : int(lengths.max())].t()  # (T, B)
        masks = draw_masks(self.plan, self.model.sizes, len(tokens), len(rows), self.generator)
        loss = F.mse_loss(self.model.predict(tokens, lengths, masks), self.targets[rows])
        if not loss.item() <= EXPLODED:
            raise DivergedError(self.step, loss.item(), "variances of the rating")
        loss.backward()  # type: ignore[no-untyped-call]
        self.update()
        self.loss_sum += loss.item() * len(rows)
        self.count += len(rows)
        self.tokens += int(lengths.sum())

    def _close_epoch(self, valid_rmse: float) -> None:
        if not np.isfinite(valid_rmse):
            raise DivergedError(self.step, valid_rmse, "on the valid split (RMSE)")
        self.seconds += self.epoch_seconds
        self.history.append(
            {
                "epoch": len(self.history) + 1,
                "train_rmse": self._train_rmse,
                "learning_rate": self.update.learning_rate,
                "tokens": self.tokens,
                "seconds": self.epoch_seconds,
                "tokens_per_second": self.tokens / self.epoch_seconds,
                "valid_rmse": valid_rmse,
            }
        )
        if self.best_epoch == len(self.history):
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self._begin_epoch()

    @property
    def _train_rmse(self) -> float:
        """Over the epoch so far, with dropout and as the weights change, in units of the ratings."""
        return self.unit * float(np.sqrt(self.loss_sum / self.count))

    def _progress(self, epoch: int, fraction: float, train: float, rate: float) -> Progress:
        return Progress(epoch, self.settings.epochs, fraction, train, rate, self.history, self.step, "rmse")

    def state(self) -> Checkpoint:
        """Everything that the rest of the training depends on."""
        groups = {
            "model": self.model.state_dict(),
            "best": self.best,
            "update": self.update.state_dict(),
            "random": {"masks": self.generator.get_state()},
        }
        tensors = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
        return Checkpoint(self.step, tensors, {name: getattr(self, name) for name in _FACTS})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from `checkpoint`, as if this training had come there by itself."""
        groups: dict[str, dict[str, Tensor]] = {name: {} for name in ("model", "best", "update", "random")}
        for name, tensor in checkpoint.tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = tensor
        self.model.load_state_dict(groups["model"])
        self.update.load_state_dict(groups["update"])
        self.generator.set_state(groups["random"]["masks"])
        self.best = {name: tensor.to(self.generator.device) for name, tensor in groups["best"].items()}
        for name in _FACTS:
            setattr(self, name, checkpoint.facts[name])
