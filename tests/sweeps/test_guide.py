"""Every command of the guides to sweeps and to many machines, in its order, in one folder; with less to compute."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT, SMALL, Command

SETTINGS = ("run", "sweep", "ablate", "variance", "tune", "doctor")  # the commands that take them
LESS = {"--trials": "2", "--mc": "2"}
ELSEWHERE = {"hydra/launcher=submitit_slurm", "hydra/launcher=ray"}  # test_slurm.py and test_ray.py, where they can


def commands(page: str) -> list[list[str]]:
    text = (ROOT / "docs" / "guide" / f"{page}.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("rnndrop ")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "names", "finished"),
    [
        ("sweeps", {*SETTINGS, "watch", "show", "--install-completion"}, 9 + 6 * 3 + 2),
        ("fleet", {"sweep", "watch", "export", "import", "report", "eval", "gc", "rm"}, 5),
    ],
)
def test_every_command_of_the_guide(
    rnndrop: Command, tmp_path: Path, page: str, names: set[str], finished: int
) -> None:
    assert {command[0] for command in commands(page)} == names
    for command in commands(page):
        name, *arguments = command
        if name in SETTINGS:
            arguments += SMALL
        arguments = [LESS.get(before, each) for before, each in zip(["", *arguments], arguments, strict=False)]
        if name == "show":
            arguments = [next(tmp_path.rglob("record.json")).parent.parent.name]
        if ELSEWHERE & {*arguments}:
            arguments.append("--dry-run")
        if name == "--install-completion":
            continue  # writes to the home folder
        code = 0
        if "--gpus" in arguments:
            arguments.remove("trainer.device=cpu")
            code = 0 if torch.cuda.device_count() >= 8 else 2
        done = rnndrop(name, *arguments, timeout=300)
        assert done.returncode == code, (command, done.stdout, done.stderr)
    statuses = [json.loads(path.read_text())["status"] for path in tmp_path.rglob("record.json")]
    assert set(statuses) == {"finished"} and len(statuses) >= finished
