"""Language modelling: contiguous BPTT windows with carried state, one set of masks a window; scored by perplexity."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rnndrop.config.cells import cell_named
from rnndrop.config.modules import arguments
from rnndrop.config.schema import Config, DataSettings, TrainerSettings
from rnndrop.config.tasks import OF_A_LANGUAGE_MODEL
from rnndrop.data import batching
from rnndrop.data.corpus import Corpus
from rnndrop.data.unk import unk_shares, unk_warning
from rnndrop.data.vocabulary import UNK
from rnndrop.dropout.masks import draw_masks
from rnndrop.dropout.plan import Plan
from rnndrop.dropout.words import WordNoise, noised
from rnndrop.errors import RequestError
from rnndrop.evaluation.dynamic import measure_dynamic
from rnndrop.evaluation.monte_carlo import monte_carlo
from rnndrop.evaluation.neural_cache import measure_cache
from rnndrop.evaluation.perplexity import perplexity, stream_nll
from rnndrop.evaluation.temperature import measure_temperature
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.models.own import OwnModel, own_model
from rnndrop.models.own import check as check_own
from rnndrop.ops.nll import nll_sum, token_nll
from rnndrop.stats import Estimate
from rnndrop.tasks.base import Scored, Task
from rnndrop.training.predicted import predicted
from rnndrop.training.regularizers import activation_penalty, divergence
from rnndrop.training.seeding import generator
from rnndrop.training.trainer import Step
from rnndrop.training.twin import FirstPass, Twin
from rnndrop.training.window_length import random_length

EXPLODED = 3.0  # a mean loss above this many times ln V (a uniform guess) will not come back
TRAIN_SAMPLE = 100_000  # training tokens on which the final, deterministic train perplexity is measured

log = logging.getLogger("rnndrop")


class Windows:
    """The training stream (N,) in windows of `batch_size` columns, with the state carried from one to the next.

    `words` noises what is read where the plan has rules for it; `lengths` draws those of random windows, if they have a
    seed of their own; `offset` says for each epoch, counted from 1, where its first window begins.
    """

    unit, averages = "nats per token", True

    def __init__(
        self,
        model: LanguageModel,
        plan: Plan,
        settings: TrainerSettings,
        tokens: np.ndarray,
        generator: torch.Generator,
        words: WordNoise | None = None,
        twin: Twin | None = None,
        lengths: torch.Generator | None = None,
        offset: Callable[[int], int] = lambda epoch: 0,
    ) -> None:
        self.model, self.plan, self.settings, self.generator, self.twin = model, plan, settings, generator, twin
        self.inputs, self.targets = (
            torch.from_numpy(part).to(generator.device) for part in batching.columns(tokens, settings.batch_size)
        )  # each (L, B)
        self.words, self.count = words, len(tokens) - 1
        self.lengths, self.offset, self.first = lengths or generator, offset, 0
        self.exploded = EXPLODED * math.log(model.sizes.vocabulary)

    @property
    def rows(self) -> int:
        """Steps of a column in this epoch."""
        return len(self.inputs) - self.first

    def begin(self, epoch: int) -> None:
        """Begin with the zero state."""
        self.epoch, self.first = epoch, min(self.offset(epoch), len(self.inputs) - 1)
        self.memory = self.model.initial_state(self.inputs.shape[1])

    def take(self, row: int) -> Step:
        """The window that begins at `row`; of a mean loss the learning rate goes with its length."""
        settings, base = self.settings, self.settings.window
        length = random_length(base, self.lengths) if settings.random_window else base
        there = slice(self.first + row, self.first + row + length)
        text = self.inputs[there].long(), self.targets[there].long()  # each (T, B)
        plan = self.plan.after(epoch := self.epoch - 1 + row / self.rows)
        predict = partial(predicted, self.model, plan, self.memory)
        inputs, targets = noised(self.words, plan, *text, self.generator, predict)
        model, (steps, batch) = self.model, inputs.shape
        masks = draw_masks(plan, model.sizes, steps, batch, self.generator, model.dtype, model.held)
        with model.drawing(self.generator):
            top, state = model.top(inputs, self.memory, masks)
        seen, decoder = model.seen(top, masks), model.decoder_weights(masks)
        if adversary := settings.adversarial_softmax:
            objective = nll_sum(seen, *decoder, targets, adversary, model.decoder_rows(masks).detach())
            loss = token_nll(seen, *decoder, targets).sum()
        else:
            loss = objective = nll_sum(seen, *decoder, targets)
        if self.twin is not None:
            first = FirstPass(inputs, targets, self.memory, masks, seen, decoder)
            objective = self.twin.objective(objective, first, *text, epoch)
        tokens = int((targets != batching.IGNORED).sum())
        if any(penalties := (settings.ar, settings.tar, settings.norm_stabiliser)):
            objective = objective + tokens * activation_penalty(top, masks.output, *penalties)
        if model.noise:
            objective = objective + tokens / self.count * divergence(model, self.plan, masks)
        objective = objective / (tokens if settings.loss == "mean" else batch)
        # Without its graph, which holds the whole window. Cloned, so that a state taken up from a checkpoint lies in
        # memory as this one does: sums may depend on it.
        self.memory = tuple(tuple(part.detach().clone() for part in memory) for memory in state)
        scale = length / base if settings.loss == "mean" else 1.0  # a sum over time has grown with the window itself
        return Step(objective, loss.item(), tokens, tokens, length, scale)

    def score(self, loss: float) -> float:
        """Perplexity."""
        return math.exp(loss)

    def state_dict(self) -> dict[str, Tensor]:
        """The state, named layer/part, and where other generators than that of the masks stand."""
        state = {f"{i}/{j}": part for i, layer in enumerate(self.memory) for j, part in enumerate(layer)}
        return state | {f"{name}/random": each.get_state() for name, each in self._others.items()}

    @property
    def _others(self) -> dict[str, torch.Generator]:
        twin = {} if self.twin is None else {"twin": self.twin.generator}
        return twin | ({} if self.lengths is self.generator else {"lengths": self.lengths})

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` returned."""
        for name, each in self._others.items():
            each.set_state(tensors[f"{name}/random"].cpu())
        self.memory = tuple(
            tuple(tensors[f"{i}/{j}"] for j in range(sum(name.startswith(f"{i}/") for name in tensors)))
            for i in range(len(self.memory))
        )


def _offset(config: Config, epoch: int) -> int:
    """Where an epoch begins: a function of the seed, so that a checkpoint need not keep it."""
    draws = generator(config.seed_of("data"), f"offset {epoch}", torch.device("cpu"))
    return int(torch.randint(config.trainer.window, (), generator=draws))


class LanguageModelling(Task[Corpus, LanguageModel]):
    """Predict the next token."""

    name = "language_model"
    takes = OF_A_LANGUAGE_MODEL
    modes: ClassVar = {"cache": measure_cache, "dynamic": measure_dynamic, "temperature": measure_temperature}

    def load(self, settings: DataSettings) -> Corpus:
        """The corpus; says so where `<unk>` is much of it."""
        corpus = super().load(settings)
        if warning := unk_warning(corpus.oov_rate):
            log.warning("%s: %s", corpus.name, warning)
        elif shares := unk_shares(corpus.oov_rate):
            log.info("%s: %s", corpus.name, shares)
        return corpus

    def check(self, corpus: Corpus, config: Config, device: torch.device) -> None:
        """The training stream must fill a batch, a window fit into memory, and what stands in holes be there.

        A model of the user's own must do what is asked of it.
        """
        batching.check(corpus.train, config.trainer.batch_size)
        _check_window(-(-(len(corpus.train) - 1) // config.trainer.batch_size), config)
        if any(rule.fill == "unk" for rule in config.twin_plan.at("token")) and UNK not in corpus.vocabulary:
            raise RequestError(
                f"dropout.token: {corpus.name} has no {UNK} for holes. Take dropout.token.kind=blank or unigram."
            )

        if config.model.module is not None:
            check_own(self._own(config.model.module, config, corpus, device), config.model.module)

    def build(self, config: Config, corpus: Corpus, device: torch.device) -> LanguageModel:
        """Of the user's own it is as that begins, from the seed of the initial weights too."""
        if config.model.module is not None:
            return self._own(config.model.module, config, corpus, device)
        return super().build(config, corpus, device)

    def _own(self, name: str, config: Config, corpus: Corpus, device: torch.device) -> OwnModel:
        draws = generator(config.seed_of("init"), "weights", torch.device("cpu"))
        return own_model(name, len(corpus.vocabulary), arguments(config.model.model_dump()), draws, device)

    def model(self, settings: ModelSettings, corpus: Corpus) -> LanguageModel:
        """A score for every word type."""
        return LanguageModel(settings, len(corpus.vocabulary))

    def steps(self, model: LanguageModel, config: Config, corpus: Corpus, masks: torch.Generator) -> Windows:
        """Windows of the training stream."""
        words = WordNoise(corpus.train, corpus.vocabulary, masks.device) if config.twin_plan.at("token") else None
        twin = None
        if config.twin.loss is not None:
            adversary = config.trainer.adversarial_softmax
            draws = generator(config.seed_of("masks"), "twin", masks.device)
            twin = Twin(model, config.twin_plan, config.twin, draws, adversary, words)
        apart = config.seeds.data is not None or config.seeds.masks is not None  # else one generator draws both
        random = apart and config.trainer.random_window
        lengths = generator(config.seed_of("data"), "windows", masks.device) if random else None
        offset = partial(_offset, config) if config.trainer.random_offset else lambda epoch: 0
        return Windows(model, config.plan, config.trainer, corpus.train, masks, words, twin, lengths, offset)

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


def _check_window(rows: int, config: Config) -> None:
    """Raise RequestError for holes longer than a column, of so many rows, and for a window that no memory holds."""
    batch = config.trainer.batch_size
    for own in config.twin_plan.active:
        if own.block is not None and own.block > rows:
            raise RequestError(
                f"dropout.{own.location}.block={own.block}: no hole is longer than a column of the text, {rows:,} steps"
                f" with trainer.batch_size={batch}. Give at most that."
            )
    if config.model.module is not None or (config.trainer.device not in ("cpu", "mps") and torch.cuda.is_available()):
        return  # nobody knows; a GPU says itself that it has no room
    steps = min(config.trainer.window, rows)
    gates = len(cell_named(config.model.cell).gates)
    kept = 4 * steps * batch * config.model.layers * (gates + 1) * config.model.hidden  # bytes
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if kept > memory:
        raise RequestError(
            f"trainer.window={config.trainer.window}: {steps:,} steps of {batch} columns keep at least"
            f" {kept / 2**30:,.0f} GiB for their gradient, and this machine has {memory / 2**30:,.0f} GiB. Lower"
            " trainer.window or trainer.batch_size."
        )


TASK = LanguageModelling()
