"""Random numbers: one source for each purpose, so that what one draws changes nothing for the others."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, purpose: str, device: torch.device) -> torch.Generator:
    """A source of random numbers for one purpose, independent of the others."""
    digest = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))
