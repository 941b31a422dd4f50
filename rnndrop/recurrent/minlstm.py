"""minLSTM (Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, arXiv:2410.01201, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rnndrop.recurrent.weights import Terms


def terms(gates: Tensor, diagonals: Tensor) -> Terms:
    """A linear step from the gates' inputs (…, 3, H) of x(t) alone.

        f, i = sigmoid(W x)       h̃ = m_update · W_h x
        h = f / (f + i) · h' + i / (f + i) · h̃

    Of the quotients, which make the scale of h independent of time (section 3.2.3 of version 1), the first is
    sigmoid(log f - log i).
    """
    f, i, candidate = gates.unbind(-2)
    keep = torch.sigmoid(logsigmoid(f) - logsigmoid(i))
    return Terms(keep, (1 - keep) * candidate)
