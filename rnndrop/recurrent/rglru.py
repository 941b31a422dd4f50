"""The real-gated linear recurrent unit of Griffin (De, Smith et al. 2024, arXiv:2402.19427, section 2.4)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

from rnndrop.recurrent.weights import LayerWeights, Terms

_C = 8.0
_RANGE = 0.9, 0.999  # of sigmoid(Λ) at first
_LEAST = 1e-9  # of 1 - a², whose root has no derivative at 0


def terms(gates: Tensor, diagonals: Tensor) -> Terms:
    """A linear step from the gates' inputs (…, 3, H) of x(t) alone and the vector Λ (1, H).

        r, i = sigmoid(W x)       x̂ = W_x x
        a = sigmoid(Λ)^(8 r)
        h = a · h' + sqrt(1 - a²) · m_update · (i · x̂)

    x̂ is what enters the unit in their recurrent block, a linear layer of its input. There a convolution follows, which
    is not here, and W of r and i takes x̂: without the convolution that is one more matrix of x. Their W of r and i is
    block-diagonal, and their first step of a sequence is not scaled by the root.
    """
    r, i, candidate = gates.unbind(-2)
    log_a = _C * torch.sigmoid(r) * logsigmoid(diagonals[0])
    scale = (-torch.expm1(2 * log_a)).clamp_min(_LEAST).sqrt()
    return Terms(log_a.exp(), scale * torch.sigmoid(i) * candidate)


def initialize(weights: LayerWeights, generator: Generator) -> None:
    """Λ, such that sigmoid(Λ)² is drawn from U(0.9², 0.999²), as in the authors' code (recurrentgemma).

    The paper says so of sigmoid(Λ)^8, with which no step forgets more than a tenth of h: what came last is then for the
    convolution to see. Here that start ends at twice the perplexity (docs/guide/cells.md).
    """
    low, high = _RANGE
    weights.weight_hh.copy_(weights.weight_hh.uniform_(low**2, high**2, generator=generator).sqrt().logit())
