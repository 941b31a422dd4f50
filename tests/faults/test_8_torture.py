"""The short form of `scripts/torture.py`: whatever happens to a run, its folder tells the truth afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.calls import compiler

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TORTURE = Path(__file__).parents[2] / "scripts/torture.py"


@pytest.mark.parametrize("parts", [["kills", "crashes", "faults"], ["corruption", "command lines"]], ids=" ".join)
def test_8_nothing_is_lost_and_nothing_is_silently_false(parts: list[str]) -> None:
    """One process for the parts that have calls to the system fail, and one for the others."""
    if "faults" in parts and not compiler():
        pytest.skip("no C compiler here, or no LD_PRELOAD: calls to the system cannot be made to fail")
    done = subprocess.run(
        [sys.executable, str(TORTURE), *parts, "--short"], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in done.stdout.splitlines()[2:]]
    for part in parts:
        found = [row for row in rows if row[1] == part]
        assert len(found) >= 5 and all(wrong == "0" for *_, wrong in found), done.stdout
    assert {row[1] for row in rows} == set(parts)
