"""Invented records, made once for a session by scripts/synthetic_records.py, and folders to break."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.edited import as_json

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def invent() -> ModuleType:
    spec = importlib.util.spec_from_file_location("synthetic_records", ROOT / "scripts" / "synthetic_records.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def hundred(invent: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 runs: 20 plans of 5 seeds, a few of them diverged. To be read only."""
    folder = tmp_path_factory.mktemp("invented")
    invent.write(str(folder), 100)
    return folder


@pytest.fixture
def few(hundred: Path, tmp_path: Path) -> Path:
    """Three plans (none, naive, variational) of 5 finished seeds, to be changed at will."""
    folder = tmp_path / "runs"
    for path in hundred.glob("*/seed-*/record.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if len(record["overrides"]) == 1 and record["config"]["dropout"]["name"] in ("none", "naive", "variational"):
            shutil.copytree(path.parent, folder / path.parent.relative_to(hundred))
    return folder


@pytest.fixture
def change() -> Callable[..., None]:
    """Rewrite the records of a folder for which `when` holds: `change(folder, edit, when)`."""

    def rewrite(
        folder: Path, edit: Callable[[dict[str, Any]], Any], when: Callable[[Any], bool] = lambda _: True
    ) -> None:
        for path in folder.rglob("record.json"):
            record = json.loads(path.read_text(encoding="utf-8"))
            if when(record):
                edit(record)
                path.write_text(as_json(record), encoding="utf-8")

    return rewrite
