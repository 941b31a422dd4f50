"""Every command of docs/guide/sweeps.md, in its order, in one folder; with less to compute."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT, SMALL, Command

GUIDE = (ROOT / "docs" / "guide" / "sweeps.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]
SETTINGS = ("run", "sweep", "ablate", "variance", "tune", "doctor")  # the commands that take them


@pytest.mark.slow
def test_every_command_of_the_guide(rnndrop: Command, tmp_path: Path) -> None:
    commands = [shlex.split(line)[1:] for line in COMMANDS if line.startswith("rnndrop ")]
    assert {command[0] for command in commands} == {*SETTINGS, "watch", "show", "--install-completion"}
    for command in commands:
        name, *arguments = command
        if name in SETTINGS:
            arguments += SMALL
        if name == "tune":
            arguments[arguments.index("--trials") + 1] = "2"
        if name == "show":
            arguments = [next(tmp_path.rglob("record.json")).parent.parent.name]
        if "hydra/launcher=submitit_slurm" in arguments:  # tests/sweeps/test_slurm.py runs it, where it can
            arguments.append("--dry-run")
        if name == "--install-completion":
            continue  # writes to the home folder
        done = rnndrop(name, *arguments, timeout=300)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    statuses = [json.loads(path.read_text())["status"] for path in tmp_path.rglob("record.json")]
    assert set(statuses) == {"finished"} and len(statuses) >= 9 + 6 * 3 + 2
