"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from rnndrop.errors import RequestError


def path_of(name: str) -> Path:
    """The path that a user wrote, with `~` expanded. Raises RequestError where there is no such home folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise RequestError(f"{name}: no home folder is known for it. Give the full path.") from None
