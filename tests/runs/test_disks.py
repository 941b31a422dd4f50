"""Real disks that are full or read-only: small file systems in memory, which take root to mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnndrop.store import records
from tests.conftest import TINY, Command

QUICK = [*TINY, "evaluation.batch_size=200"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a size that `remount` changes; unmounted at the end."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=760k", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("full and read-only disks are NOT tested here: mounting takes root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def test_no_room_for_a_checkpoint_but_for_the_record(rnndrop: Command, disk: Path) -> None:
    """The checkpoints of this run take 800 kB, its weights 200 kB."""
    done = rnndrop("run", *QUICK, f"output={disk}")
    assert done.returncode == 0, done.stderr
    assert "no checkpoint at step 5: No space left on device" in done.stderr and "Traceback" not in done.stderr


def test_no_room_for_the_weights_costs_that_run_alone_and_can_be_mended(rnndrop: Command, disk: Path) -> None:
    grid = [*QUICK, "model.hidden=4,12", f"output={disk}"]
    remount(disk, "size=300k")
    done = rnndrop("sweep", *grid)
    assert done.returncode == 1 and done.stdout.count("✓") == 1 and "No space left on device" in done.stdout
    assert sorted(record.status for run in records.find_runs(disk) if (record := records.read_record(run))) == [
        "failed",
        "finished",
    ]
    remount(disk, "size=4m")
    again = rnndrop("sweep", *grid)
    assert again.returncode == 0 and again.stdout.count("✓") == 2


def test_a_read_only_folder(rnndrop: Command, disk: Path) -> None:
    assert rnndrop("run", *QUICK, "model.hidden=4", f"output={disk}").returncode == 0
    remount(disk, "ro")
    known = rnndrop("sweep", *QUICK, "model.hidden=4", f"output={disk}")
    assert known.returncode == 0 and "✓" in known.stdout  # what has finished needs no writing
    done = rnndrop("run", *QUICK, "model.hidden=5", f"output={disk}")
    assert done.returncode == 2 and "Read-only" in done.stderr and "output=FOLDER" in done.stderr
    assert "Traceback" not in done.stderr
    swept = rnndrop("sweep", *QUICK, "model.hidden=5,6", f"output={disk}")
    assert swept.returncode == 1 and "Read-only" in swept.stderr + swept.stdout and "Traceback" not in swept.stderr
