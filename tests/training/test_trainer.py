"""Training: windows with carried state, the last short one too; the two conventions of the loss."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from rnndrop.config.compose import compose
from rnndrop.dropout.plan import plan
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.store.progress import RunObserver
from rnndrop.tasks.language_model import Windows
from rnndrop.training.trainer import DivergedError, Step, Training

TOKENS = np.random.default_rng(0).integers(7, size=103)


def training(tokens: np.ndarray = TOKENS, **changes: Any) -> Training:
    model = LanguageModel(ModelSettings("lstm", 6, 1, None, False), 7)
    model.initialize(0.1, torch.Generator().manual_seed(0))
    base = {"epochs": 1, "batch_size": 4, "window": 10, "optimizer": "sgd", "clip": None, "learning_rate": 0.5}
    settings = compose([]).trainer.model_copy(update={**base, **changes})
    generator = torch.Generator().manual_seed(1)
    return Training(
        model, plan({}), settings, Windows(model, plan({}), settings, tokens, generator), generator, "perplexity"
    )


def test_every_token_after_the_first_counts() -> None:
    one = training()
    one.run(lambda: 1.0, RunObserver())
    assert one.history[0]["tokens"] == len(TOKENS) - 1
    assert one.step == 3  # 26 rows in windows of 10, 10 and 6


@pytest.mark.parametrize(
    ("loss", "targets", "diverged"),
    [(9.0, 1, False), (60.0, 1, True), (5.0 * 20, 20, False), (6.0 * 20, 20, True), (math.nan, 1, True)],
)
def test_one_surprise_is_no_divergence(loss: float, targets: int, diverged: bool) -> None:
    """Of seven types a mean above 3 ln 7 = 5.8 will not come back; a single target may cost as much."""
    one = training()
    taken = Step(0 * next(one.model.parameters()).sum(), loss, targets, targets, 1)
    one.steps.take = lambda row: taken  # type: ignore[method-assign]
    with pytest.raises(DivergedError) if diverged else nullcontext():
        one._step()


def test_state_is_carried_so_that_short_windows_see_the_past() -> None:
    """At learning rate ~0 the loss must not depend on the window: the state is carried, only gradients are cut."""
    losses = []
    for window in (3, 10, 26):
        one = training(window=window, learning_rate=1e-12)
        one.run(lambda: 1.0, RunObserver())
        losses.append(one.history[0]["train_perplexity"])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_sum_over_time_is_the_mean_times_the_window() -> None:
    """The gradient of Zaremba's and Gal's code: that of the sum over time of the mean over the batch."""
    full_windows = TOKENS[:101]  # 25 rows of 4
    summed = training(full_windows, loss="sum_time", window=5, learning_rate=0.01)
    mean = training(full_windows, loss="mean", window=5, learning_rate=0.05)
    for one in (summed, mean):
        one.run(lambda: 1.0, RunObserver())
    for name in summed.best:
        torch.testing.assert_close(summed.best[name], mean.best[name], rtol=1e-5, atol=1e-6)


def test_best_weights_are_those_of_the_best_epoch() -> None:
    one = training(epochs=4)
    seen: list[dict[str, torch.Tensor]] = []
    valid = iter([5.0, 3.0, 4.0, 6.0])

    def measure() -> float:
        seen.append({name: value.clone() for name, value in one.model.state_dict().items()})
        return next(valid)

    one.run(measure, RunObserver())
    assert one.best_epoch == 2
    assert all(torch.equal(one.best[name], seen[1][name]) for name in one.best)
