"""Noise on weights whose strength is learned: how it is drawn, where it begins, and what it adds to the loss.

Each posterior is over the weights W of one matrix; what is added to the loss of all N training tokens is its divergence
from a prior, in nats. What is learned is a parameter beside the weights:

- `concrete`: the rate p of a relaxed Bernoulli mask, as its logit (Gal, Hron & Kendall 2017, arXiv:1705.07832).
- `sparse`: ln σ² of W + σ ε under a log-uniform prior (Molchanov, Ashukha & Vetrov 2017, arXiv:1701.05369; for
  recurrent networks Lobacheva, Chirkova & Vetrov 2017, arXiv:1708.00077).
- `bayes`: ρ of W + ln(1 + e^ρ) ε under a mixture of two Gaussians (Fortunato, Blundell & Vinyals 2017,
  arXiv:1704.02798).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.1  # of the relaxed mask, as in the code of Gal et al.
LENGTH_SCALE = 1e-2  # of the prior on weights under `concrete`
PRUNED = 3.0  # ln α from which `sparse` leaves a weight out: noise of 4.5 times its size
MIXTURE = (0.25, math.exp(-1), math.exp(-7))  # share and deviation of the wide part, deviation of the narrow one
_K1, _K2, _K3 = 0.63576, 1.87320, 1.48695  # of Molchanov et al.'s fit of the divergence


def initial(noise: str, p: float, shape: Sequence[int]) -> Tensor:
    """The parameter that stands for the rate or deviation p; `shape` is that of a mask."""
    if noise == "concrete":
        return torch.tensor(math.log(p / (1 - p)))
    return torch.full(tuple(shape), 2 * math.log(p) if noise == "sparse" else math.log(math.expm1(p)))


def draw(
    noise: str, shape: Sequence[int], parameter: Tensor, generator: torch.Generator
) -> tuple[Tensor | None, Tensor | None]:
    """What multiplies weights, or what is added to them, of `shape`; differentiable in `parameter`."""
    like: dict[str, Any] = {"dtype": parameter.dtype, "device": parameter.device}
    if noise == "concrete":
        u = torch.empty(tuple(shape), **like).uniform_(1e-6, 1 - 1e-6, generator=generator)
        dropped = torch.sigmoid((parameter + torch.logit(u)) / TEMPERATURE)
        return (1 - dropped) / torch.sigmoid(-parameter), None
    return None, deviation(noise, parameter) * torch.empty(tuple(shape), **like).normal_(generator=generator)


def deviation(noise: str, parameter: Tensor) -> Tensor:
    """σ of the noise that is added."""
    return (parameter / 2).exp() if noise == "sparse" else F.softplus(parameter)


def divergence(noise: str, weight: Tensor, parameter: Tensor, shift: Tensor | None, draws: int) -> Tensor:
    """KL(posterior, prior) of a weight (G, H, I) or (V, H), in nats, without what does not depend on the parameters.

    `shift` is what was drawn (of `bayes`, whose divergence is estimated by this one sample), `draws` the number of
    entries of a mask.
    """
    if noise == "concrete":
        p = torch.sigmoid(parameter)
        entropy = F.softplus(parameter) - p * parameter  # -p ln p - (1-p) ln(1-p)
        return LENGTH_SCALE**2 / 2 * weight.square().sum() / (1 - p) - draws * entropy
    if noise == "sparse":
        log_alpha = ln_alpha(weight, parameter)
        fit = _K1 * torch.sigmoid(_K2 + _K3 * log_alpha) - F.softplus(-log_alpha) / 2 - _K1
        return -fit.sum()
    assert shift is not None
    sigma = deviation(noise, parameter).expand_as(weight)
    return (_log_normal(shift.expand_as(weight), sigma) - _log_prior(weight + shift)).sum()


def ln_alpha(weight: Tensor, log_variance: Tensor) -> Tensor:
    """ln(σ²/W²) of each weight."""
    return log_variance - 2 * torch.log(weight.abs() + 1e-8)


def pruned(weight: Tensor, log_variance: Tensor) -> Tensor:
    """The weights without those that are mostly noise."""
    return torch.where(ln_alpha(weight, log_variance) < PRUNED, weight, 0)


@torch.no_grad()
def summary(noise: str, weight: Tensor, parameter: Tensor) -> dict[str, float]:
    """What was learned, for a record: the rate `p`, or the mean `sigma` and, of `sparse`, the share that is `left`."""
    if noise == "concrete":
        return {"p": float(torch.sigmoid(parameter))}
    left = {"left": float((pruned(weight, parameter) != 0).cpu().double().mean())} if noise == "sparse" else {}
    return {"sigma": float(deviation(noise, parameter).cpu().double().mean())} | left


def _log_normal(x: Tensor, sigma: Tensor | float) -> Tensor:
    spread = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    return -(x / spread).square() / 2 - spread.log() - math.log(2 * math.pi) / 2


def _log_prior(weight: Tensor) -> Tensor:
    share, wide, narrow = MIXTURE
    return torch.logaddexp(
        math.log(share) + _log_normal(weight, wide), math.log(1 - share) + _log_normal(weight, narrow)
    )
