from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

DEFAULTS = dict.fromkeys(("root", "train_tokens", "train", "valid", "test", "file", "split"))


@pytest.fixture
def settings() -> Callable[..., SimpleNamespace]:
    """Settings with everything left out but what a test names."""

    def make(name: str, **given: object) -> SimpleNamespace:
        return SimpleNamespace(**{**DEFAULTS, "level": "word", "min_count": 1, "name": name, **given})

    return make


@pytest.fixture(scope="session")
def published_folder() -> Callable[[str], Path]:
    """The subfolder of a published corpus in RNNDROP_DATA, or in shared/data beside the repository."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    root = Path(os.environ.get("RNNDROP_DATA", beside))

    def folder(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"there is no {root / name}; RNNDROP_DATA names another folder for published corpora")
        return root / name

    return folder
