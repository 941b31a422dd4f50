"""minGRU (Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, arXiv:2410.01201, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.recurrent.weights import Terms


def terms(gates: Tensor, diagonals: Tensor) -> Terms:
    """A linear step from the gates' inputs (…, 2, H) of x(t) alone.

        z = sigmoid(W_z x)        h̃ = m_update · W_h x
        h = (1 - z) · h' + z · h̃

    The equations of the section: h̃ has no bound. The form in logarithms of their appendix, with g(h̃) > 0, is another
    one, which a scan without logarithms does not need.
    """
    z, candidate = gates.unbind(-2)
    z = torch.sigmoid(z)
    return Terms(1 - z, z * candidate)
