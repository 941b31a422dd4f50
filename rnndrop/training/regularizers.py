"""Activation regularisation, AR, and temporal activation regularisation, TAR (Merity, McCann & Socher 2017)."""

from __future__ import annotations

from torch import Tensor


def activation_penalty(top: Tensor, mask: Tensor | None, ar: float, tar: float) -> Tensor:
    """What is added to the loss a token, for the top layer's h (T, B, H) and its output mask (T|1, B|1, H|1).

        ar · mean((mask ⊙ h)²)  +  tar · mean((h(t+1) - h(t))²)

    AR takes h as the decoder sees it, TAR as the layer gives it. In a window of one step nothing changes: TAR is 0.
    """
    dropped = top if mask is None else top * mask
    penalty = ar * dropped.pow(2).mean()
    if tar and len(top) > 1:
        penalty = penalty + tar * (top[1:] - top[:-1]).pow(2).mean()
    return penalty
