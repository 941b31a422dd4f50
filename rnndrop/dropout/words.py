"""Noise on the words that are read: holes at location `token`, and what stands in them.

Rates and replacements follow from the training text (Xie et al. 2017, *Data Noising as Smoothing in Neural Network
Language Models*, arXiv:1703.02573). c(v) counts a type, N1+(v,·) the types that follow it, N1+(·,v) those before it.

    a word x becomes z ~ q with chance p, or with absolute discounting p · N1+(x,·) / c(x)

    fill       q                      and
    unk        the type <unk>         (Bowman et al. 2016, arXiv:1511.06349)
    blank      a vector of its own    no type of the vocabulary; the model learns it
    unigram    c(z)
    kn         N1+(·,z)               discounted; the word to be predicted is replaced too, by a draw of its own
    model      p(z | x before it)     what the model itself predicts there, having read the text as it is (Bengio et al.
                                      2015, arXiv:1506.03099; at once for all steps: Duckworth et al. 2019,
                                      arXiv:1906.04331); the first word of a window stays
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rnndrop.dropout.noises import NO_DOUBLES
from rnndrop.dropout.plan import Plan
from rnndrop.dropout.rule import Rule

UNK = "<unk>"


Predict = Callable[[Tensor, torch.Generator], Tensor]
"""From inputs (T, B) to a draw of what a model predicts after each, (T, B)."""


def noised(
    words: WordNoise | None, plan: Plan, inputs: Tensor, targets: Tensor, generator: torch.Generator, predict: Predict
) -> tuple[Tensor, Tensor]:
    """Inputs and targets (T, B) under the rules of a plan for words, one after the other; without any, as they are."""
    for rule in plan.at("token"):
        assert words is not None
        inputs, targets = words.under(rule, inputs, targets, generator, predict)
    return inputs, targets


class WordNoise:
    """The counts of a training text, (N,) ids of a `vocabulary`, and the noise that they make of what is read."""

    def __init__(self, train: np.ndarray, vocabulary: list[str], device: torch.device) -> None:
        size = len(vocabulary)
        pairs = np.unique(train[:-1].astype(np.int64) * size + train[1:])
        self._counts = np.bincount(train, minlength=size)
        self._followers = np.bincount(pairs // size, minlength=size)  # N1+(v,·)
        self._histories = np.bincount(pairs % size, minlength=size)  # N1+(·,v)
        self._blank = size
        self._unk = vocabulary.index(UNK) if UNK in vocabulary else -1
        self._device = device

    def under(
        self, rule: Rule, inputs: Tensor, targets: Tensor, generator: torch.Generator, predict: Predict | None = None
    ) -> tuple[Tensor, Tensor]:
        """Inputs and targets (T, B) under a rule; a target below 0 is padding, and stays.

        Fill "unk" needs it in the vocabulary; of "blank" the input is V.
        """
        known = inputs.clamp(max=self._blank - 1)  # a blank of a rule before stays
        rates = self._rates(rule)[known]
        if rule.schedule == "uniform":  # of a mask that the batch shares, one share for all
            batch = inputs.shape[1] if "batch" in rule.varies else 1
            rates = rates * torch.rand((1, batch), generator=generator, device=self._device)
        holes = (self._uniform(rule, known, generator) < rates) & (inputs < self._blank)
        if rule.fill == "model":
            assert predict is not None
            stands = torch.cat([inputs[:1], predict(inputs, generator)[:-1]])
        else:
            stands = self._drawn(rule, known, generator)
        read = torch.where(holes, stands, inputs)
        if rule.fill == "kn":
            targets = torch.where(holes & (targets >= 0), self._drawn(rule, known, generator), targets)
        return read, targets

    def _rates(self, rule: Rule) -> Tensor:
        """The chance (V,) that a word of each type is replaced."""
        if not (rule.discounted or rule.fill == "kn"):
            return torch.full((len(self._counts),), rule.p, device=self._device)
        rates = rule.p * self._followers / np.maximum(self._counts, 1)
        return torch.from_numpy(rates).float().to(self._device)

    def _uniform(self, rule: Rule, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """A number from 0 to 1 for each word (T, B), the same where the rule does not vary."""
        steps, batch = inputs.shape
        lengths = {"time": steps, "batch": batch, "type": self._blank}
        u = torch.rand(rule.shape(lengths), generator=generator, device=self._device)  # (T|1, B|1, V|1)
        if "type" not in rule.varies:
            return u.squeeze(2).expand(steps, batch)
        time = torch.arange(steps, device=self._device).unsqueeze(1) if "time" in rule.varies else 0
        sequence = torch.arange(batch, device=self._device) if "batch" in rule.varies else 0
        return u[time, sequence, inputs]

    def _drawn(self, rule: Rule, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """What stands in holes (T, B)."""
        if rule.fill in ("unk", "blank"):
            return torch.full_like(inputs, self._blank if rule.fill == "blank" else self._unk)
        weights = np.cumsum(self._counts if rule.fill == "unigram" else self._histories).astype(np.float64)
        at = torch.device("cpu") if self._device.type in NO_DOUBLES else self._device
        bounds = torch.from_numpy(weights / weights[-1]).to(at)
        u = self._uniform(rule, inputs, generator).to(at).double()
        return torch.searchsorted(bounds, u.contiguous(), right=True).to(self._device)
