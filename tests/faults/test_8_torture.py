"""The short form of `scripts/torture.py`: whatever happens to a run, its folder tells the truth afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.calls import compiler

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TORTURE = Path(__file__).parents[2] / "scripts/torture.py"


def test_8_nothing_is_lost_and_nothing_is_silently_false() -> None:
    parts = {"kills", "crashes", "faults", "corruption", "command lines"}
    if not compiler():
        parts -= {"kills", "crashes", "faults"}
    done = subprocess.run(
        [sys.executable, str(TORTURE), *sorted(parts), "--short"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in done.stdout.splitlines()[2:]]
    assert {part for _, part, *_ in rows} == parts
    for part in parts:
        found = [wrong for _, which, _, wrong in rows if which == part]
        assert len(found) >= 5 and set(found) == {"0"}, done.stdout
    if "faults" not in parts:
        pytest.skip("no C compiler here, or no LD_PRELOAD: calls to the system cannot be made to fail")
