"""Language modelling: contiguous BPTT windows with carried state, one set of masks a window; scored by perplexity."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rnndrop import data
from rnndrop.config.schema import Config, DataSettings, TrainerSettings
from rnndrop.data import batching
from rnndrop.data.corpus import Corpus
from rnndrop.data.unk import unk_shares, unk_warning
from rnndrop.dropout.masks import draw_masks
from rnndrop.dropout.plan import Plan
from rnndrop.evaluation.dynamic import measure_dynamic
from rnndrop.evaluation.monte_carlo import monte_carlo
from rnndrop.evaluation.neural_cache import measure_cache
from rnndrop.evaluation.perplexity import perplexity, stream_nll
from rnndrop.evaluation.temperature import measure_temperature
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import nll_sum
from rnndrop.stats import Estimate
from rnndrop.tasks.base import Scored, Task
from rnndrop.training.regularizers import activation_penalty
from rnndrop.training.trainer import Step
from rnndrop.training.window_length import random_length

EXPLODED = 3.0  # a mean loss above this many times ln V (a uniform guess) will not come back
TRAIN_SAMPLE = 100_000  # training tokens on which the final, deterministic train perplexity is measured

log = logging.getLogger("rnndrop")


class Windows:
    """The training stream (N,) in windows of `batch_size` columns, with the state carried from one to the next."""

    metric, unit, averages = "perplexity", "nats per token", True

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
        )  # each (L, B)
        self.exploded = EXPLODED * math.log(model.sizes.vocabulary)

    @property
    def rows(self) -> int:
        """Steps of a column."""
        return len(self.inputs)

    def begin(self, epoch: int) -> None:
        """Begin with the zero state."""
        self.memory = self.model.initial_state(self.inputs.shape[1])

    def take(self, row: int) -> Step:
        """The window that begins at `row`; the learning rate goes with its length."""
        base = self.settings.window
        length = random_length(base, self.generator) if self.settings.random_window else base
        inputs, targets = (part[row : row + length].long() for part in (self.inputs, self.targets))  # (T, B)
        steps, batch = inputs.shape
        masks = draw_masks(self.plan, self.model.sizes, steps, batch, self.generator)
        top, state = self.model.top(inputs, self.memory, masks)
        loss = nll_sum(self.model.seen(top, masks), *self.model.decoder_weights(masks), targets)
        tokens = int((targets != batching.IGNORED).sum())
        objective = loss
        if self.settings.ar or self.settings.tar:
            objective = loss + tokens * activation_penalty(top, masks.output, self.settings.ar, self.settings.tar)
        objective = objective / (tokens if self.settings.loss == "mean" else batch)
        # Without its graph, which holds the whole window. Cloned, so that a state taken up from a checkpoint lies in
        # memory as this one does: sums may depend on it.
        self.memory = tuple(tuple(part.detach().clone() for part in memory) for memory in state)
        return Step(objective, loss.item(), tokens, tokens, length, length / base)

    def score(self, loss: float) -> float:
        """Perplexity."""
        return math.exp(loss)

    def state_dict(self) -> dict[str, Tensor]:
        """The state, named layer/part."""
        return {f"{i}/{j}": part for i, layer in enumerate(self.memory) for j, part in enumerate(layer)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` returned."""
        parts = sorted(tensors.items())
        self.memory = tuple(
            tuple(tensor for name, tensor in parts if name.startswith(f"{i}/")) for i in range(len(self.memory))
        )


class LanguageModelling(Task[Corpus, LanguageModel]):
    """Predict the next token."""

    name = "language_model"
    modes: ClassVar = {"cache": measure_cache, "dynamic": measure_dynamic, "temperature": measure_temperature}

    def load(self, settings: DataSettings) -> Corpus:
        """The corpus; says so where `<unk>` is much of it."""
        corpus: Corpus = data.load(settings)
        if warning := unk_warning(corpus.oov_rate):
            log.warning("%s: %s", corpus.name, warning)
        elif shares := unk_shares(corpus.oov_rate):
            log.info("%s: %s", corpus.name, shares)
        return corpus

    def check(self, corpus: Corpus, config: Config) -> None:
        """The training stream must fill a batch."""
        batching.check(corpus.train, config.trainer.batch_size)

    def model(self, settings: ModelSettings, corpus: Corpus) -> LanguageModel:
        """A score for every word type."""
        return LanguageModel(settings, len(corpus.vocabulary))

    def steps(self, model: LanguageModel, config: Config, corpus: Corpus, masks: torch.Generator) -> Windows:
        """Windows of the training stream."""
        return Windows(model, config.plan, config.trainer, corpus.train, masks)

    def few(self, corpus: Corpus, config: Config, steps: int) -> Corpus:
        """The first windows."""
        return replace(corpus, train=corpus.train[: steps * config.trainer.window * config.trainer.batch_size + 1])

    def score(self, model: LanguageModel, config: Config, corpus: Corpus, split: str) -> Scored:
        """Perplexity; of the training split on its beginning."""
        tokens = corpus.split(split)
        nll = stream_nll(model, config.plan, tokens[:TRAIN_SAMPLE] if split == "train" else tokens, config.evaluation)
        return Scored(perplexity(nll), nll)

    def sampled(
        self, model: LanguageModel, config: Config, corpus: Corpus, split: str, masks: torch.Generator
    ) -> Estimate:
        """Perplexity of the mean probabilities."""
        return monte_carlo(model, config.plan, corpus.split(split), config.evaluation, masks)


TASK = LanguageModelling()
