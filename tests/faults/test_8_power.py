"""What was announced outlives a power failure: a copy of the unsynced disk is what would be left on it.

The short form of what scripts/power_cuts.py does at length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnndrop import run
from rnndrop.store import checkpoint, records
from scripts.kills import essence, essences
from scripts.power_cuts import MOUNTS, cut, missing, mounted, new_image
from tests.conftest import TINY, Command
from tests.processes import wait_until
from tests.warm import Warm

QUICK = [*TINY, "evaluation.batch_size=200"]
MOUNT = MOUNTS[1]  # keeps less order than the default


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """The image of the disk that is mounted on `tmp_path / "disk"`."""
    if reason := missing():
        pytest.skip(f"a power failure is NOT tested here: {reason}")
    image = new_image(tmp_path / "image")
    with mounted(image, tmp_path / "disk", MOUNT):
        yield image


def check_copy(live: Path, copy: Path) -> None:
    """Every record is there, finished, the same as on the live disk, and with all of its files."""
    assert records.find_runs(live)
    for folder in records.find_runs(live):
        there = copy / folder.relative_to(live)
        assert (there / records.RECORD).read_bytes() == (folder / records.RECORD).read_bytes()
        record = records.read_record(there)
        assert record is not None and record.status == "finished" and len(record.files) == len(records.OUTPUTS)
        for name, digest in record.files.items():
            assert hashlib.sha256((there / name).read_bytes()).hexdigest() == digest, name


def test_8_16_a_run_that_said_that_it_had_finished(rnndrop: Command, warm: Warm, tmp_path: Path, image: Path) -> None:
    with warm.running(["run", *QUICK, f"output={tmp_path / 'disk'}"], tmp_path) as process:
        wait_until(lambda: "✓" in process.said()[0])
        copied = cut(image, tmp_path / "copied")
    with mounted(copied, tmp_path / "copy", MOUNT) as copy:
        check_copy(tmp_path / "disk", copy)
        examined = rnndrop("doctor", str(copy))
        assert examined.returncode == 0 and examined.stdout == "1 sound\n"
        again = rnndrop("run", *QUICK, f"output={copy}")
        assert again.returncode == 0 and "already finished" in again.stderr


def test_8_16_a_run_in_the_middle(warm: Warm, tmp_path: Path, image: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = [*QUICK, "trainer.epochs=12", "trainer.checkpoint_seconds=0.05"]
    with warm.running(["run", *whole, f"output={tmp_path / 'disk'}"], tmp_path):
        wait_until(lambda: len(list((tmp_path / "disk").rglob(checkpoint.PATTERN))) == 2)  # the first is on the disk
        copied = cut(image, tmp_path / "copied")
    with mounted(copied, tmp_path / "copy", MOUNT) as copy, caplog.at_level("INFO", "rnndrop"):
        assert not list(copy.rglob(records.RECORD))
        for output in (copy, tmp_path / "spared"):
            run([*whole, f"output={output}"])
        assert caplog.text.count("going on from step") == 1
        (mine,), (spared,) = records.find_runs(copy), records.find_runs(tmp_path / "spared")
        assert essence(mine) == essence(spared)


def test_8_16_a_sweep_that_said_that_it_had_finished(rnndrop: Command, warm: Warm, tmp_path: Path, image: Path) -> None:
    grid = ["sweep", *QUICK, "seed=range(3)", "--jobs", "2"]
    with warm.running([*grid, f"output={tmp_path / 'disk'}"], tmp_path) as process:
        wait_until(lambda: process.said()[0].count("✓") == 3)
        copied = cut(image, tmp_path / "copied")
    with mounted(copied, tmp_path / "copy", MOUNT) as copy:
        check_copy(tmp_path / "disk", copy)
        assert rnndrop("doctor", str(copy)).stdout == "3 sound\n"
        expected = essences(copy)
        again = rnndrop(*grid, f"output={copy}")
        assert again.returncode == 0 and "3 runs: 3 finished" in again.stderr
        assert essences(copy) == expected
