"""What the tests share: a tiny run, the command in a process, the real corpora where they are present."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pages import browser, chromium
from tests.warm import ROOT, Warm

os.environ.setdefault("OMP_NUM_THREADS", "1")  # test processes share the machine

TINY = [
    "data.train_tokens=3000",
    "model.hidden=12",
    "trainer.epochs=2",
    "trainer.device=cpu",
    "trainer.threads=1",
]
"""A run of a fifth of a second; the corpus is `synthetic`."""
SMALL = [*TINY[1:], "data=text", f"data.file={ROOT / 'tests' / 'words.txt'}", "trainer.epochs=1"]
"""A shorter one: 4,000 words of 30, each likely after the one before it."""

__all__ = ["ROOT", "browser", "chromium"]

Command = Callable[..., subprocess.CompletedProcess[str]]


E2E = {"browser", "disk", "image", "slurm", "warm", "wheel"}
"""The fixtures of what is no part of the process of the tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need more than this process, and begin with the longest: then no worker waits at the end."""
    for item in items:
        if E2E & set(getattr(item, "fixturenames", ())):
            item.add_marker("e2e")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_xdist_auto_num_workers() -> int:
    """As many workers as there are processors, and one, for there are tests that wait: of clusters, locks, signals."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """The process from which the command is forked."""
    with Warm() as process:
        yield process


@pytest.fixture
def rnndrop(tmp_path: Path, warm: Warm) -> Command:
    """Run the command in an empty folder and return the completed process, a fork of a warm one.

    It takes what `Warm.call` takes: the timeout, streams, and variables of the environment.
    """

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return warm.call(arguments, tmp_path, **{"COLUMNS": "120", **options})

    return run


@pytest.fixture(scope="session")
def ptb() -> Path:
    """The folder of the real Penn Treebank; the test is skipped where it is absent."""
    for folder in (Path(os.environ.get("RNNDROP_DATA", "")) / "ptb", ROOT.parent / "shared" / "data" / "ptb"):
        if (folder / "ptb.train.txt").exists():
            return folder
    pytest.skip("the Penn Treebank is absent: set RNNDROP_DATA to the folder that holds ptb/")
