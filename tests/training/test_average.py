"""The running average equals that of torch.optim.ASGD, and is gone from the weights when it was looked at."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnndrop.training.average import Average


def gradients(steps: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 2, generator=generator, dtype=torch.float64) for _ in range(steps)]


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_as_torchs_asgd(steps: int) -> None:
    ours, theirs = (nn.Parameter(torch.ones(3, 2, dtype=torch.float64)) for _ in range(2))
    average, asgd = Average([ours]), torch.optim.ASGD([theirs], lr=0.25, t0=0, lambd=0.0)
    sgd, path = torch.optim.SGD([ours], lr=0.25), []
    for gradient in gradients(steps):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        sgd.step()
        asgd.step()
        average.add()
        path.append(ours.detach().clone())
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(average.means[0], asgd.state[theirs]["ax"], rtol=1e-6, atol=1e-7)  # float32 weights
    torch.testing.assert_close(average.means[0], torch.stack(path[1:] or path).mean(0))


def test_the_weights_come_back_bit_for_bit_even_from_a_failure() -> None:
    weight = nn.Parameter(torch.tensor([0.1, 0.2]))
    average = Average([weight])
    average.means[0].zero_()
    with pytest.raises(KeyboardInterrupt), average.in_place():
        assert not weight.any()
        raise KeyboardInterrupt
    assert torch.equal(weight, torch.tensor([0.1, 0.2])) and weight.requires_grad


def test_state_goes_round() -> None:
    weight = nn.Parameter(torch.zeros(2))
    one, other = Average([weight]), Average([weight])
    for value in (1.0, 2.0, 4.0):
        weight.data.fill_(value)
        one.add()
    other.load_state_dict(one.state_dict())
    for average in (one, other):
        average.add()
    assert other.updates == 4 and torch.equal(one.means[0], other.means[0])
