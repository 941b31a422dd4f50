"""A noise: uniform around 1, with the variance of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnndrop.dropout.noises import Noise


def variance(p: float) -> float:
    return p / (1 - p)


def draw(shape: Sequence[int], p: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    half = (3 * variance(p)) ** 0.5
    return torch.empty(shape, dtype=dtype, device=generator.device).uniform_(1 - half, 1 + half, generator=generator)


ROW = Noise("toy_uniform", draw, variance)
