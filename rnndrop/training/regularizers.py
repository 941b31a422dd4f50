"""What is added to the loss: penalties on the top layer's h, and the divergence of learned noise from its prior."""

from __future__ import annotations

import math

from torch import Tensor
from torch.linalg import vector_norm

from rnndrop.dropout import learned
from rnndrop.dropout.masks import Masks, WeightNoise
from rnndrop.dropout.noises import planned
from rnndrop.dropout.plan import Plan
from rnndrop.models.encoder import Encoder


def activation_penalty(top: Tensor, mask: Tensor | None, ar: float, tar: float, norm_stabiliser: float = 0.0) -> Tensor:
    """What is added to the loss a token, for the top layer's h (T, B, H) and its output mask (T|1, B|1, H|1).

        ar · mean((mask ⊙ h)²)  +  tar · mean((h(t+1) - h(t))²)  +  norm_stabiliser · mean((‖h(t+1)‖ - ‖h(t)‖)²)

    AR and TAR are of Merity, McCann & Socher (2017), whose means are over T, B and H. The norm stabiliser is of Krueger
    & Memisevic (2016, arXiv:1511.08400); its mean is over T and B. AR takes h as the decoder sees it, the others as the
    layer gives it. In a window of one step nothing changes: they are 0.
    """
    dropped = top if mask is None else top * mask
    penalty = ar * dropped.pow(2).mean()
    if tar and len(top) > 1:
        penalty = penalty + tar * (top[1:] - top[:-1]).pow(2).mean()
    if norm_stabiliser and len(top) > 1:
        penalty = penalty + norm_stabiliser * vector_norm(top, dim=2).diff(dim=0).pow(2).mean()
    return penalty


def divergence(model: Encoder, plan: Plan, masks: Masks) -> Tensor | float:
    """The divergence of all learned noise from its prior, in nats: of the whole training set (`dropout.learned`)."""
    total: Tensor | float = 0.0
    for rule in plan.active:
        if planned(rule.noise).learned:
            noise = [masks.weight_decoder] if rule.location == "weight_decoder" else [
                getattr(layer, rule.location) for layer in masks.layers
            ]  # fmt: skip
            for (name, weight), drawn in zip(model.matrices(rule.location).items(), noise, strict=True):
                assert isinstance(drawn, WeightNoise)
                part = drawn.scale if drawn.scale is not None else drawn.shift
                assert part is not None
                total = total + learned.divergence(
                    rule.noise, weight, model.held[name], drawn.shift, math.prod(part.shape)
                )
    return total
