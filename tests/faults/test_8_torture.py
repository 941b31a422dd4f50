"""The short form of `scripts/torture.py`: whatever happens to a run, its folder tells the truth afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.calls import compiler

TORTURE = Path(__file__).parents[2] / "scripts/torture.py"


@pytest.mark.parametrize("part", ["kills", "crashes", "faults", "corruption", "command lines"])
def test_8_nothing_is_lost_and_nothing_is_silently_false(part: str) -> None:
    if part in ("kills", "crashes", "faults") and not compiler():
        pytest.skip("no C compiler here, or no LD_PRELOAD: calls to the system cannot be made to fail")
    done = subprocess.run(
        [sys.executable, str(TORTURE), part, "--short"], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()[2:]
    assert len(rows) >= 5 and all(row.endswith("| 0 |") for row in rows)
