"""The gated recurrent unit as it was first published (Cho et al. 2014): reset before the product, as in Keras then."""

from __future__ import annotations

import torch
from torch import Tensor

from rnndrop.dropout.masks import LayerMasks
from rnndrop.recurrent.gru import mixed


def late(from_input: Tensor, from_state: Tensor, read: Tensor) -> Tensor:
    """What the product of the candidate takes of h, (B, H), from the inputs of r and z (B, 2, H): r · h'."""
    return torch.sigmoid(from_input[:, 0] + from_state[:, 0]) * read


def step(
    from_input: Tensor, from_state: Tensor, memory: tuple[Tensor, ...], masks: LayerMasks
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step, as that of `rnndrop.recurrent.gru`, but n = m_update · tanh(W x + U (r · h')).

    The mask on `recurrent` of the candidate acts on r · h', as in the code of Gal & Ghahramani 2016.
    """
    return mixed(from_input, from_state, from_state[:, 2], memory, masks)
