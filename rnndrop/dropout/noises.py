"""The distributions that a mask is drawn from; each has the mean 1, or 0 where it is added.

Light: torch is imported where it draws. One of the user's own is a row in a file of theirs, which
`dropout.LOCATION.noise=PACKAGE.MODULE:NAME` names (`rnndrop.own`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rnndrop import own
from rnndrop.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Draw = Callable[[Sequence[int], float, "torch.Generator", "torch.dtype"], "Tensor"]


def _odds(p: float) -> float:
    return p / (1 - p)


@dataclass(frozen=True)
class Noise:
    """A distribution: `draw(shape, p, generator, dtype)` draws from it at rate p, on the generator's device.

    `variance` is that of an entry at rate p. `holes`: an entry is 0 or the scale of those that are kept, so that
    something else may fill the hole. `added`: it is added to weights, its mean 0 and p its standard deviation.
    `learned`: p is where a rate or deviation begins that training changes (`rnndrop.dropout.learned`).
    """

    name: str
    draw: Draw
    variance: Callable[[float], float] = _odds
    holes: bool = False
    added: bool = False
    learned: bool = False
    source: str = ""  # of the user's own, the sha256 of its file


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
    mask = (gamma * (length / gamma.sum(axis, keepdim=True))).to(dtype)
    return mask.clamp_min_(torch.finfo(dtype).tiny).to(generator.device)  # a zero would empty a memory: it has no holes


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

GROUP = "rnndrop.noises"

_own: dict[str, Noise] = {}  # the user's, by the name that settings have
_UNREAD = Noise("", _gaussian)


def planned(name: str) -> Noise:
    """What is known of a noise before it draws: the user's own is taken for one that multiplies and makes no holes.

    Whether it is added, its file says (`rnndrop.dropout.plan.check_own`).
    """
    return _UNREAD if own.is_own(name) else NOISES[name]


def noise_named(name: str) -> Noise:
    """The noise that a rule names; the user's own is imported once. Raises RequestError."""
    if not own.is_own(name):
        if name not in NOISES:
            raise own.no_such("noise", name, NOISES, GROUP)
        return NOISES[name]
    return _own.get(name) or imported("noise", name)


def imported(setting: str, name: str) -> Noise:
    """A noise of the user's own, named by `setting`, from its file as that is now. Raises RequestError.

    What was imported before stays unless the file has changed.
    """
    row, file, source = own.imported(setting, name, Noise)
    if (known := _own.get(name)) is None or known.source != source:
        _check_row(setting, name, file, row)
        _own[name] = replace(row, name=name, source=source)
    return _own[name]


def _check_row(setting: str, name: str, file: Path, row: Noise) -> None:
    """Raise RequestError where a noise of the user's own does not draw as `Noise` says."""
    import torch

    def drawn(*shape: int) -> Tensor:
        return row.draw(shape, 0.25, torch.Generator().manual_seed(0), torch.float64)

    try:
        mask, *both = drawn(2, 1, 3), drawn(256, 256), drawn(256, 256)
        wrong = _wrong(row, mask) or _differs(row, *both)
    except (Exception, SystemExit) as error:
        raise own.raised(setting, name, file, error) from None
    if wrong:
        raise RequestError(f"{setting}={name}: in {file}: {wrong}.")


def _wrong(row: Noise, mask: object) -> str:
    import torch

    if row.holes or row.learned:
        return "a noise of your own has neither holes nor a learned rate"
    if not isinstance(mask, torch.Tensor):
        return f"draw returns a {type(mask).__name__}, not a tensor"
    if (tuple(mask.shape), mask.dtype) != ((2, 1, 3), torch.float64):
        return f"asked for (2, 1, 3) of torch.float64, draw returns {tuple(mask.shape)} of {mask.dtype}"
    return ""


def _differs(row: Noise, one: Tensor, other: Tensor) -> str:
    import torch

    if not torch.equal(one, other):
        return "draw takes its chance from elsewhere than the generator: two draws of one seed differ"
    mean, due = float(one.mean()), 0.0 if row.added else 1.0
    if not abs(mean - due) <= 10 * float(one.std()) / one.numel() ** 0.5 + 1e-6:
        return f"the mean of its draws must be {due:g}, as evaluation takes no mask, and at p=0.25 it is {mean:.3g}"
    return ""
