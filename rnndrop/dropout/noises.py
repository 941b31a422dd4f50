"""The distributions that a mask is drawn from; each has the mean 1, or 0 where it is added.

Light: torch is imported where it draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Draw = Callable[[Sequence[int], float, "torch.Generator", "torch.dtype"], "Tensor"]


@dataclass(frozen=True)
class Noise:
    """A distribution: `draw(shape, p, generator, dtype)` draws from it at rate p, on the generator's device.

    `variance` is that of an entry at rate p. `holes`: an entry is 0 or the scale of those that are kept, so that
    something else may fill the hole. `added`: it is added to weights, its mean 0 and p its standard deviation.
    `learned`: p is where a rate or deviation begins that training changes (`rnndrop.dropout.learned`).
    """

    name: str
    draw: Draw
    variance: Callable[[float], float]
    holes: bool = False
    added: bool = False
    learned: bool = False


def drawn_rate(p: float) -> float:
    """The chance, other than 0 and 1, with which a draw of chance p comes out: p as `_levels` rounds it.

    Scales and expectations are those of this rate. It is p within a thousandth of p and of 1-p, unless one of them is
    below 2^-22.
    """
    level, bits = _levels(p)
    return level / (1 << bits)


def _levels(p: float) -> tuple[int, int]:
    """How many of the 2^bits values of a random integer stand for chance p, and bits: 16, or 32 near 0 and 1."""
    bits = 16 if 2**-7 <= p <= 1 - 2**-7 else 32
    return min(max(round(p * (1 << bits)), 1), (1 << bits) - 1), bits


def ones(shape: Sequence[int], p: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """1 with chance `drawn_rate(p)`, else 0.

    On a CPU one random word of 64 bits serves four elements, near 0 and 1 two: several times as fast as torch's
    `bernoulli_`.
    """
    import torch

    if generator.device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=generator.device).bernoulli_(drawn_rate(p), generator=generator)
    level, bits = _levels(p)
    count = math.prod(shape)
    words = torch.empty(-(-count * bits // 64), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    integers = words.view(torch.int16 if bits == 16 else torch.int32)[:count]
    return torch.lt(integers, level - (1 << bits - 1), out=torch.empty(count, dtype=dtype)).view(shape)


def _bernoulli(shape: Sequence[int], p: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """0 with chance p, else 1/(1-p): inverted dropout."""
    return ones(shape, 1 - p, generator, dtype).div_(drawn_rate(1 - p))


def _gaussian(shape: Sequence[int], p: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """N(1, p/(1-p)) (Srivastava et al. 2014, section 10)."""
    import torch

    mask = torch.empty(shape, dtype=dtype, device=generator.device)
    return mask.normal_(1.0, _odds(p) ** 0.5, generator=generator)


def _dirichlet(shape: Sequence[int], p: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """k · Dirichlet(α) over the last axis that varies, of length k: entries whose sum is k, with the variance p/(1-p).

    α = q(k-1)/((1-q)k) - 1/k at the keep rate q = 1-p (lamb, `dropout.py`). Where none is above 0, or it is so large
    that nothing would vary, the mask is 1.
    """
    import torch

    axis = max((axis for axis, length in enumerate(shape) if length > 1), default=0)
    length = shape[axis]
    alpha = (length - 1) / (_odds(p) * length) - 1 / length
    if not 0 < alpha < 1e12:
        return torch.ones(shape, dtype=dtype, device=generator.device)
    draws = on_doubles(generator)
    concentrations = torch.full(shape, alpha, dtype=torch.float64, device=draws.device)
    gamma = torch._standard_gamma(concentrations, generator=draws).clamp_min_(torch.finfo(torch.float64).tiny)
    return (gamma * (length / gamma.sum(axis, keepdim=True))).to(dtype).to(generator.device)


NO_DOUBLES = ("mps",)  # devices without float64


def on_doubles(generator: torch.Generator) -> torch.Generator:
    """A generator that draws float64: this one, or where its device has none one of the CPU, which it seeds."""
    import torch

    if generator.device.type not in NO_DOUBLES:
        return generator
    seed = torch.randint(2**31, (), generator=generator, device=generator.device)
    return torch.Generator().manual_seed(int(seed))


def _additive(shape: Sequence[int], p: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """N(0, p²) (Graves 2011, *Practical Variational Inference for Neural Networks*; 2013, section 3.1)."""
    import torch

    return torch.empty(shape, dtype=dtype, device=generator.device).normal_(0.0, p, generator=generator)


def _square(p: float) -> float:
    return p * p


def _odds(p: float) -> float:
    return p / (1 - p)


NOISES = {
    noise.name: noise
    for noise in (
        Noise("bernoulli", _bernoulli, _odds, holes=True),
        Noise("gaussian", _gaussian, _odds),
        Noise("dirichlet", _dirichlet, _odds),
        Noise("additive", _additive, _square, added=True),
        Noise("concrete", _bernoulli, _odds, learned=True),
        Noise("sparse", _additive, _square, added=True, learned=True),
        Noise("bayes", _additive, _square, added=True, learned=True),
    )
}
"""A new noise is one row here."""
