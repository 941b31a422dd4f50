"""What the tests share: a tiny run, the command in a process, the real corpora where they are present."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.processes import RNNDROP
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

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """The process from which the command is forked."""
    with Warm() as process:
        yield process


@pytest.fixture
def rnndrop(tmp_path: Path, warm: Warm) -> Command:
    """Run the command in an empty folder and return the completed process, a fork of a warm one.

    `streams` are files that stand for standard streams, by number; other names are variables of the environment.
    """

    def run(
        *arguments: object, timeout: float = 120, streams: Mapping[int, str] | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        given = {**os.environ, "COLUMNS": "120", **environment}
        return warm.call(tuple(map(str, arguments)), tmp_path, given, timeout, streams or {})

    return run


@pytest.fixture
def installed(tmp_path: Path) -> Command:
    """The same with the installed command, in a process that the system starts: seconds, not a fraction of one."""

    def run(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RNNDROP, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=timeout,
            env={**os.environ, "COLUMNS": "120"},
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def ptb() -> Path:
    """The folder of the real Penn Treebank; the test is skipped where it is absent."""
    for folder in (Path(os.environ.get("RNNDROP_DATA", "")) / "ptb", ROOT.parent / "shared" / "data" / "ptb"):
        if (folder / "ptb.train.txt").exists():
            return folder
    pytest.skip("the Penn Treebank is absent: set RNNDROP_DATA to the folder that holds ptb/")
