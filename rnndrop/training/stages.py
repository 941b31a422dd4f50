"""The stages of a training: plain, then perhaps averaging its weights (NT-ASGD), then perhaps fine-tuning.

Merity, Keskar & Socher 2017 (arXiv:1708.02182), as in their released code, salesforce/awd-lstm-lm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from rnndrop.config.schema import TrainerSettings
from rnndrop.training.average import Average


def worsened(valid: Sequence[float], interval: int) -> bool:
    """The trigger of NT-ASGD, asked once an epoch: is the last value above the best of all but `interval` before it?

    The rule of main.py, of which its author says that the paper (on arXiv) has a typo: with `before` the values of
    the earlier epochs, valid > min(before[:-interval]).
    """
    *before, last = valid
    return len(before) > interval and last > min(before[:-interval])


def exhausted(settings: TrainerSettings, valid: Sequence[float]) -> bool:
    """Whether the epochs or the patience are used up, `valid` being the perplexity of each epoch so far."""
    since_best = len(valid) - 1 - valid.index(min(valid)) if valid else 0
    return len(valid) >= settings.epochs or bool(settings.patience and since_best >= settings.patience)


class Stage:
    """Where a training stands. `choose` moves it on after an epoch, `average` is that of the weights once there is one.

    Fine-tuning begins with the best weights and averages from its first update. It ends after its epochs or where
    NT-ASGD would trigger on them, as in finetune.py. The learning rate and an optimizer's moments go on as they are,
    where that code begins anew: with SGD and a constant rate, which is what it has, there is no difference.
    """

    def __init__(self, model: nn.Module, settings: TrainerSettings) -> None:
        self.model, self.settings = model, settings
        self.average: Average | None = None
        self.finetuned_from: int | None = None  # the epochs before fine-tuning

    def finished(self, valid: Sequence[float]) -> bool:
        """Whether nothing is left to train after epochs of these valid perplexities."""
        if self.finetuned_from is None:
            return exhausted(self.settings, valid) and not self.settings.finetune_epochs
        own, interval = valid[self.finetuned_from :], self.settings.nonmono
        return len(own) >= self.settings.finetune_epochs or bool(interval and own and worsened(own, interval))

    def choose(self, valid: Sequence[float], best: Mapping[str, Tensor]) -> None:
        """After an epoch: begin to fine-tune from the weights `best`, or to average, if it is time."""
        settings = self.settings
        if self.finetuned_from is None and settings.finetune_epochs and exhausted(settings, valid):
            self.finetuned_from = len(valid)
            self.model.load_state_dict(best)
            self._begin_average()
        elif self.average is None and settings.nonmono and worsened(valid, settings.nonmono):
            self._begin_average()

    def _begin_average(self) -> Average:
        self.average = Average(list(self.model.parameters()))
        return self.average

    def evaluated(self) -> AbstractContextManager[None]:
        """Within, the model has the weights that are evaluated: the averaged ones, once there are any."""
        return self.average.in_place() if self.average else nullcontext()

    def updated(self) -> None:
        """Tell the stage of an update of the weights."""
        if self.average:
            self.average.add()

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint needs; empty for a plain training."""
        state = self.average.state_dict() if self.average else {}
        return state if self.finetuned_from is None else {**state, "finetuned_from": torch.tensor(self.finetuned_from)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` returned."""
        if tensors:
            self._begin_average().load_state_dict(tensors)
        if "finetuned_from" in tensors:
            self.finetuned_from = int(tensors["finetuned_from"])
