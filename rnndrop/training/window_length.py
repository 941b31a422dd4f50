"""Random BPTT lengths (Merity et al. 2017, section 5; main.py of salesforce/awd-lstm-lm)."""

from __future__ import annotations

import torch

SHORT = 0.05  # how often the base is half the window
SPREAD = 5.0  # standard deviation of the length, tokens
SHORTEST = 5  # tokens


def random_length(window: int, generator: torch.Generator) -> int:
    """Draw the length of one window, tokens: max(5, ⌊N(base, 5)⌋), base = `window` or, one time in twenty, half of it.

    Where the loss is a mean, the caller scales the learning rate by length/window, so that a token counts the same in
    every window but the last of an epoch, which the text cuts.
    """
    chance = torch.rand(1, generator=generator, device=generator.device).item()
    deviation = torch.randn(1, generator=generator, device=generator.device).item()
    base = window / 2 if chance < SHORT else window
    return max(SHORTEST, int(base + SPREAD * deviation))
