"""Rating reviews: shuffled batches of chunks, one set of masks a batch; scored by RMSE (Gal & Ghahramani 2016)."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from rnndrop.config.schema import Config
from rnndrop.data.reviews import Reviews
from rnndrop.dropout.masks import draw_masks
from rnndrop.evaluation import ratings
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.regressor import Regressor
from rnndrop.stats import Estimate
from rnndrop.tasks.base import Scored, Task
from rnndrop.training.regularizers import divergence
from rnndrop.training.seeding import generator
from rnndrop.training.trainer import Step, Steps


class Batches(Steps):
    """The training chunks in an order that the seed and the epoch decide; the last batch may be smaller.

    The loss is the mean squared error on the standardised rating: but for a constant, -ln of a Gaussian of variance
    1/2, to which the divergence of learned noise is added.
    """

    unit, averages = "variances of the rating", False
    exploded = 100.0  # a squared error above this many times the variance of the ratings will not come back

    def __init__(self, model: Regressor, config: Config, reviews: Reviews, masks: torch.Generator) -> None:
        self.model, self.config, self.generator = model, config, masks
        device, chunks = masks.device, reviews.train
        self.inputs = torch.tensor(chunks.tokens, device=device)  # (N, L)
        self.lengths = torch.tensor(chunks.lengths, device=device)
        targets = (chunks.ratings - reviews.mean) / reviews.std
        self.targets = torch.tensor(targets, device=device, dtype=model.dtype)
        self.deviation = reviews.std  # of the rating, where the model's is 1

    @property
    def rows(self) -> int:
        """Chunks."""
        return len(self.inputs)

    def begin(self, epoch: int) -> None:
        """Shuffle."""
        self.epoch = epoch
        shuffling = generator(self.config.seed_of("data"), f"order {epoch}", torch.device("cpu"))
        self.order = torch.randperm(self.rows, generator=shuffling).to(self.generator.device)

    def take(self, row: int) -> Step:
        """The chunks (B,) from `row` on in the epoch's order."""
        rows = self.order[row : row + self.config.trainer.batch_size]
        lengths = self.lengths[rows]
        tokens = self.inputs[rows, : int(lengths.max())].t()  # (T, B)
        plan = self.config.plan.after(self.epoch - 1 + row / self.rows)
        sizes, held = self.model.sizes, self.model.held
        masks = draw_masks(plan, sizes, len(tokens), len(rows), self.generator, held=held)
        loss = F.mse_loss(self.model.predict(tokens, lengths, masks), self.targets[rows])
        objective = loss + divergence(self.model, self.config.plan, masks) / self.rows
        return Step(objective, loss.item() * len(rows), len(rows), int(lengths.sum()), len(rows))

    def score(self, loss: float) -> float:
        """RMSE, in units of the ratings."""
        return self.deviation * math.sqrt(loss)


class Sentiment(Task[Reviews, Regressor]):
    """Predict a review's rating."""

    name = "sentiment"

    def model(self, settings: ModelSettings, reviews: Reviews) -> Regressor:
        """One number for a chunk."""
        return Regressor(settings, len(reviews.vocabulary))

    def steps(self, model: Regressor, config: Config, reviews: Reviews, masks: torch.Generator) -> Batches:
        """Batches of the training chunks."""
        return Batches(model, config, reviews, masks)

    def few(self, reviews: Reviews, config: Config, steps: int) -> Reviews:
        """Some batches of chunks, taken evenly."""
        return reviews.thinned(steps * config.trainer.batch_size)

    def score(self, model: Regressor, config: Config, reviews: Reviews, split: str) -> Scored:
        """RMSE."""
        rated = ratings.deterministic(model, config.plan, reviews, split, config.evaluation)
        return Scored(ratings.rmse(rated, reviews.split(split).ratings))

    def sampled(
        self, model: Regressor, config: Config, reviews: Reviews, split: str, masks: torch.Generator
    ) -> Estimate:
        """RMSE of the mean rating."""
        rated = ratings.monte_carlo(model, config.plan, reviews, split, config.evaluation, masks)
        return ratings.of_mean(rated, reviews.split(split).ratings)


TASK = Sentiment()
