"""A task: of a sequence of digits, how many are even; scored by the mean squared error."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rnndrop.config import metrics, tasks
from rnndrop.config.corpora import CorpusSpec
from rnndrop.config.schema import Config, DataSettings
from rnndrop.dropout.masks import draw_masks, evaluation_masks
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.regressor import Regressor
from rnndrop.stats import Estimate
from rnndrop.tasks.base import Scored, Task
from rnndrop.training.trainer import Step, Steps

ROW = tasks.TaskSpec("toy_even", __name__, idle=("trainer.window",))
METRIC = metrics.Metric("toy_error", "toy_even", "squared error")
CORPUS = CorpusSpec("toy_digits", "toy_even", __name__)
OPTION = "# @package _global_\n# Count the even digits.\ntask: toy_even\ndata:\n  name: toy_digits\n"
LENGTH = 6


@dataclass(frozen=True)
class Digits:
    name: str
    splits: dict[str, Tensor]  # each (N, LENGTH)

    @property
    def vocabulary(self) -> list[str]:
        return list("0123456789")

    def fingerprint(self) -> dict[str, Any]:
        content = b"".join(split.numpy().tobytes() for split in self.splits.values())
        sizes = {f"{name}_tokens": split.numel() for name, split in self.splits.items()}
        return {"name": self.name, "sha256": hashlib.sha256(content).hexdigest(), "vocab_size": 10, **sizes}


class Batches(Steps):
    unit, exploded, averages = "squares", 100.0, False

    def __init__(self, model: Regressor, config: Config, digits: Tensor, masks: torch.Generator) -> None:
        self.model, self.config, self.digits, self.masks = model, config, digits, masks

    @property
    def rows(self) -> int:
        return len(self.digits)

    def take(self, row: int) -> Step:
        digits = self.digits[row : row + self.config.trainer.batch_size]
        masks = draw_masks(self.config.plan, self.model.sizes, LENGTH, len(digits), self.masks)
        loss = F.mse_loss(predicted(self.model, digits, masks), even(digits))
        return Step(loss, loss.item() * len(digits), len(digits), digits.numel(), len(digits))

    def score(self, loss: float) -> float:
        return loss


def predicted(model: Regressor, digits: Tensor, masks: Any) -> Tensor:
    return model.predict(digits.t(), torch.full((len(digits),), LENGTH), masks)


def even(digits: Tensor) -> Tensor:
    return (digits % 2 == 0).float().mean(1)


class Even(Task[Digits, Regressor]):
    name = ROW.name

    def load(self, settings: DataSettings) -> Digits:
        return load(settings)

    def model(self, settings: ModelSettings, data: Digits) -> Regressor:
        return Regressor(settings, 10)

    def steps(self, model: Regressor, config: Config, data: Digits, masks: torch.Generator) -> Batches:
        return Batches(model, config, data.splits["train"], masks)

    def few(self, data: Digits, config: Config, steps: int) -> Digits:
        return replace(data, splits={**data.splits, "train": data.splits["train"][: steps * config.trainer.batch_size]})

    def score(self, model: Regressor, config: Config, data: Digits, split: str) -> Scored:
        masks = evaluation_masks(config.plan, model.sizes, torch.Generator())
        return Scored(self.error(model, data.splits[split], masks))

    def sampled(self, model: Regressor, config: Config, data: Digits, split: str, masks: torch.Generator) -> Estimate:
        digits = data.splits[split]
        drawn = draw_masks(config.plan, model.sizes, LENGTH, len(digits), masks)
        return Estimate(self.error(model, digits, drawn), float("nan"))

    @torch.no_grad()
    def error(self, model: Regressor, digits: Tensor, masks: Any) -> float:
        return F.mse_loss(predicted(model, digits, masks), even(digits)).item()


def load(settings: Any) -> Digits:
    generator = torch.Generator().manual_seed(0)
    sizes = {"train": 200, "valid": 50, "test": 50}
    return Digits(
        settings.name, {name: torch.randint(10, (size, LENGTH), generator=generator) for name, size in sizes.items()}
    )


TASK = Even()
