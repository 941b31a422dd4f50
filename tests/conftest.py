"""What the tests share: a tiny run, the command in a real subprocess, the real corpora where they are present."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # test processes share the machine

ROOT = Path(__file__).parent.parent
TINY = [
    "data.train_tokens=3000",
    "model.hidden=12",
    "trainer.epochs=2",
    "trainer.device=cpu",
    "trainer.threads=1",
]
"""A run of about a second; the corpus is `synthetic`."""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def rnndrop(tmp_path: Path) -> Command:
    """Run the installed command in an empty folder and return the completed process."""
    program = Path(sys.executable).parent / "rnndrop"

    def run(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "120"}
        return subprocess.run(
            [program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=timeout, env=environment
        )

    return run


@pytest.fixture(scope="session")
def ptb() -> Path:
    """The folder of the real Penn Treebank; the test is skipped where it is absent."""
    for folder in (Path(os.environ.get("RNNDROP_DATA", "")) / "ptb", ROOT.parent / "shared" / "data" / "ptb"):
        if (folder / "ptb.train.txt").exists():
            return folder
    pytest.skip("the Penn Treebank is absent: set RNNDROP_DATA to the folder that holds ptb/")
