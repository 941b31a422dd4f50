"""The wheel: its top level holds `rnndrop` alone, and it works from another folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

END = "----\n"
PROGRAM = f"""
import json, sys
import rnndrop
from rnndrop.cli.main import main

if __name__ == "__main__":
    print(rnndrop.__file__, file=sys.stderr)
    for number, arguments in enumerate(json.loads(sys.argv[1])):
        if number:
            print({END!r}, end="")
        sys.argv = ["rnndrop", *arguments]
        try:
            main()
        except SystemExit as end:
            assert not end.code, arguments
"""
"""Several commands, one after the other."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from what git tracks, so that nothing else can leak in."""
    source = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, source]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return built


def test_top_level_holds_rnndrop_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"rnndrop"}
    for folder, inside in (("conf", "*.yaml"), ("cli", "*.py"), ("rnndrop", "*.py")):
        packaged = "rnndrop" if folder == "rnndrop" else f"rnndrop/{folder}"
        ours = {f"{packaged}/{path.relative_to(ROOT / folder)}" for path in (ROOT / folder).rglob(inside)}
        assert ours <= set(names), ours - set(names)


def test_the_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(installed)

    commands = [
        ["ls", "dropout"],
        ["run", *TINY],
        ["sweep", *TINY, "dropout=none,locked"],
        ["report", "--format", "md"],
    ]
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", json.dumps(commands)], cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stderr.splitlines()[0]
    listed, ran, swept, reported = done.stdout.split(END)
    assert "variational" in listed and ran.startswith("✓") and swept.count("✓") == 2 and "locked" in reported
