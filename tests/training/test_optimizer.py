"""The conventions that published numbers depend on: decay, schedule, the scale of the loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rnndrop.config.compose import compose
from rnndrop.config.schema import TrainerSettings
from rnndrop.training.optimizer import Update, learning_rate


def settings(**changes: Any) -> TrainerSettings:
    return compose([]).trainer.model_copy(update={"optimizer": "sgd", "learning_rate": 1.0, "clip": None, **changes})


def updated(**changes: Any) -> torch.Tensor:
    """One step from the weight 2 with the gradient (3, 4)."""
    layer = nn.Linear(2, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    update = Update(layer, settings(**changes))
    update.set_epoch(1)
    (layer.weight * torch.tensor([3.0, 4.0])).sum().backward()
    update()
    assert layer.weight.grad is None
    return layer.weight.detach().flatten()


def test_clipping_bounds_the_norm_of_the_whole_gradient() -> None:
    torch.testing.assert_close(updated(clip=1.0), torch.tensor([2 - 0.6, 2 - 0.8]), rtol=1e-5, atol=0)


def test_weight_decay_is_decoupled_and_not_scaled_unless_asked() -> None:
    plain = updated(learning_rate=0.1)
    torch.testing.assert_close(updated(learning_rate=0.1, weight_decay=0.01), plain - 0.01 * 2)
    torch.testing.assert_close(updated(learning_rate=0.1, weight_decay=0.01, scaled_decay=True), plain - 0.001 * 2)


def test_adamw_is_torchs() -> None:
    layer = nn.Linear(2, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    theirs = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.3)
    (layer.weight * torch.tensor([3.0, 4.0])).sum().backward()
    theirs.step()
    ours = updated(optimizer="adamw", learning_rate=0.1, weight_decay=0.3)
    torch.testing.assert_close(ours, layer.weight.detach().flatten(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("epoch", "rate"), [(1, 1.0), (5, 1.0), (6, 0.5), (7, 0.25), (13, 2.0**-8)])
def test_zaremba_schedule(epoch: int, rate: float) -> None:
    assert learning_rate(compose(["experiment=zaremba_small"]).trainer, epoch) == rate


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_gradient_of_rows_updates_as_a_dense_one(optimizer: str, clip: float | None) -> None:
    """Rows that a window does not read keep their value under SGD and move on with Adam's moments."""
    tokens = torch.tensor([[3, 1, 3], [1, 0, 0]])
    results = []
    for sparse in (False, True):
        generator = torch.Generator().manual_seed(0)
        model = nn.Embedding(6, 2, sparse=sparse)
        with torch.no_grad():
            model.weight.normal_(generator=generator)
        update = Update(model, settings(optimizer=optimizer, clip=clip))
        update.set_epoch(1)
        for window in tokens:
            (model(window) ** 3).sum().backward()
            update()
        results.append(model.weight.detach())
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-7)
