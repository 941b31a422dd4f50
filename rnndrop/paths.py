"""Paths as users write them, and what is in their files."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from rnndrop.errors import RequestError

OUTPUT = "results/runs"
"""The folder of the runs, unless another is given."""


def path_of(name: str) -> Path:
    """The path that a user wrote, with `~` expanded. Raises RequestError where there is no such home folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise RequestError(f"{name}: no home folder is known for it. Give the full path.") from None


def sha256_of(path: Path) -> str:
    """Of what a file holds now; while nothing changes there it is read once, for a grid asks for each of its runs.

    Raises OSError and ValueError.
    """
    stat = path.stat()
    return _sha256(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=4096)
def _sha256(path: Path, *stamps: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
