"""NT-ASGD as the released code does it: when it triggers, what it evaluates, how fine-tuning begins and ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rnndrop.config.compose import compose
from rnndrop.data import batching
from rnndrop.dropout.masks import evaluation_masks
from rnndrop.dropout.plan import plan
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import nll_sum
from rnndrop.store.progress import RunObserver
from rnndrop.tasks.language_model import Windows
from rnndrop.training.stages import worsened
from rnndrop.training.trainer import Training

TOKENS = np.random.default_rng(0).integers(7, size=103)
BATCH, WINDOW, RATE = 4, 10, 0.5
WORSE_AT_5 = [9.0, 5.0, 6.0, 5.5, 6.5, 6.4, 4.0, 6.0]  # interval 2: above min(9, 5) in epoch 5


def released(valid: list[float], nonmono: int) -> int | None:
    """The epoch after which main.py of salesforce/awd-lstm-lm switches to ASGD, written out."""
    best_val_loss: list[float] = []
    for epoch, val_loss in enumerate(valid, 1):
        if len(best_val_loss) > nonmono and val_loss > min(best_val_loss[:-nonmono]):
            return epoch
        best_val_loss.append(val_loss)
    return None


@pytest.mark.parametrize("interval", [1, 2, 5])
def test_the_trigger_is_that_of_the_released_code(interval: int) -> None:
    random = np.random.default_rng(interval)
    fired = []
    for _ in range(200):
        valid = list(10 * np.exp(-np.arange(20) / 4) + random.normal(size=20))
        ours = next((n for n in range(1, 21) if worsened(valid[:n], interval)), None)
        assert ours == released(valid, interval)
        fired.append(ours)
    assert len(set(fired)) > 3


def test_the_newest_values_do_not_count() -> None:
    """The bug of comparing with the best of all earlier epochs: it would trigger at the first bad epoch."""
    assert (
        not worsened([5.0, 4.0, 3.0, 3.5], 2) and not worsened([5.0, 3.0, 4.0], 2) and worsened([3.0, 5.0, 4.0, 3.5], 2)
    )


def model() -> LanguageModel:
    one = LanguageModel(ModelSettings("lstm", 6, 1, None, False), 7).double()
    one.initialize(0.1, torch.Generator().manual_seed(0))
    return one


def trained(valid: list[float], **changes: Any) -> tuple[Training, list[dict[str, torch.Tensor]]]:
    """A training whose valid perplexities are given, and the weights that were evaluated in each epoch."""
    base = {"batch_size": BATCH, "window": WINDOW, "optimizer": "sgd", "clip": None, "learning_rate": RATE}
    settings = compose([]).trainer.model_copy(update={**base, **changes})
    own, generator = model(), torch.Generator().manual_seed(1)
    one = Training(
        own, plan({}), settings, Windows(own, plan({}), settings, TOKENS, generator), generator, "perplexity"
    )
    seen: list[dict[str, torch.Tensor]] = []
    numbers = iter(valid)

    def measure() -> float:
        seen.append({name: value.clone() for name, value in one.model.state_dict().items()})
        return next(numbers)

    one.run(measure, RunObserver())
    return one, seen


class ByHand:
    """The loop of the released code with torch's optimisers, one epoch a call; gives back the evaluated weights.

    torch's ASGD keeps its rate and the weight of an update as float32.
    """

    def __init__(self) -> None:
        self.model = model()
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(self.model.parameters(), lr=RATE)

    def average(self) -> None:
        self.optimizer = torch.optim.ASGD(self.model.parameters(), lr=RATE, t0=0, lambd=0.0)

    def epoch(self) -> dict[str, torch.Tensor]:
        inputs, targets = map(torch.from_numpy, batching.columns(TOKENS, BATCH))
        masks = evaluation_masks(plan({}), self.model.sizes, torch.Generator())
        state = self.model.initial_state(BATCH)
        for start in range(0, len(inputs), WINDOW):
            rows = slice(start, start + WINDOW)
            state = tuple(tuple(part.detach() for part in layer) for layer in state)
            features, state = self.model.features(inputs[rows], state, masks)
            loss = nll_sum(features, *self.model.decoder_weights(masks), targets[rows])
            self.optimizer.zero_grad()
            (loss / (targets[rows] >= 0).sum()).backward()
            embedding = self.model.embedding
            embedding.grad = embedding.grad.to_dense()  # ASGD of torch takes no sparse gradient
            self.optimizer.step()
        averaged = isinstance(self.optimizer, torch.optim.ASGD)
        return {
            name: (self.optimizer.state[weight]["ax"] if averaged else weight).detach().clone()
            for name, weight in self.model.named_parameters()
        }


def test_the_averaged_weights_are_evaluated_and_plain_ones_trained() -> None:
    ours, seen = trained(WORSE_AT_5, epochs=8, nonmono=2)
    assert [row["averaged"] for row in ours.history] == [False] * 5 + [True] * 3
    by_hand = ByHand()
    for epoch in range(8):
        if epoch == 5:
            by_hand.average()
        for name, weight in by_hand.epoch().items():
            torch.testing.assert_close(seen[epoch][name], weight, rtol=1e-6, atol=1e-8)
    for name, weight in by_hand.model.named_parameters():
        torch.testing.assert_close(ours.model.state_dict()[name], weight.detach(), rtol=1e-6, atol=1e-8)
    assert ours.best_epoch == 7 and all(torch.equal(ours.best[name], seen[6][name]) for name in ours.best)


def test_fine_tuning_begins_with_the_best_weights_and_averages_at_once() -> None:
    ours, seen = trained([5.0, 3.0, 4.0, 3.5, 2.5], epochs=3, finetune_epochs=2)
    assert [row["averaged"] for row in ours.history] == [False] * 3 + [True] * 2
    by_hand = ByHand()
    for _ in range(2):
        by_hand.epoch()
    by_hand.average()
    for epoch in (3, 4):
        for name, weight in by_hand.epoch().items():
            torch.testing.assert_close(seen[epoch][name], weight, rtol=1e-6, atol=1e-8)
    assert ours.best_epoch == 5


@pytest.mark.parametrize(("changes", "epochs"), [({}, 10), ({"nonmono": 2}, 7), ({"patience": 1, "nonmono": 2}, 7)])
def test_fine_tuning_ends_after_its_epochs_or_where_nt_asgd_would_trigger_on_them(
    changes: dict[str, Any], epochs: int
) -> None:
    valid = [3.0, 4.0, 4.5, 2.0, 1.9, 2.1, 2.2, 2.3, 2.2, 2.4]  # of fine-tuning the fourth, 2.2, is above 2.0
    if "patience" in changes:
        valid = [3.0, 4.0, *valid[3:]]
        epochs -= 1
    ours, _ = trained(valid, epochs=3, finetune_epochs=7, **changes)
    assert len(ours.history) == epochs


def test_without_either_nothing_is_averaged() -> None:
    ours, _ = trained(WORSE_AT_5, epochs=8)
    assert not any(row["averaged"] for row in ours.history) and ours.stage.state_dict() == {}
