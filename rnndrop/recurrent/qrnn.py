"""The quasi-recurrent network (Bradbury, Merity, Xiong & Socher 2017, arXiv:1611.01576) with filters of width 1."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.recurrent.weights import Terms


def terms(gates: Tensor, diagonals: Tensor) -> Terms:
    """A linear step from the gates' inputs (…, 3, H) of x(t) alone: fo-pooling.

        z = m_update · tanh(W x)      f, o = sigmoid(W x)
        c = f · c' + (1 - f) · z      h = o · c

    The memory is c; h is not carried on, so that `state` has no meaning. `zoneout` on `cell` is theirs,
    f = 1 - dropout(1 - f) without a scale. (In their code, torchqrnn, f is 1 - f.)
    """
    z, f, o = gates.unbind(-2)
    f = torch.sigmoid(f)
    return Terms(f, (1 - f) * torch.tanh(z), torch.sigmoid(o))
