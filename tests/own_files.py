"""A current folder with code of the user's own, of which nothing is left in this process afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rnndrop import own
from rnndrop.config import cells
from rnndrop.dropout import noises


def folder_with(sources: Mapping[str, str], place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write `sources`, by the names of their modules, into `place` and work there; for a fixture to yield from.

    Modules of the tests' own begin with `mine_`.
    """
    before = set(sys.modules)
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own, "_modules", {})
    monkeypatch.setattr(noises, "_own", {})
    monkeypatch.setattr(cells, "_own", {})
    for name, source in sources.items():
        (place / f"{name}.py").write_text(source, "utf-8")
    yield place
    for name in set(sys.modules) - before:
        if name.startswith("mine_"):
            del sys.modules[name]
