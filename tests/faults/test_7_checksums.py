"""What was changed on the disk is named and never used: by a flipped bit, another seed's file, or a hand."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.errors import RequestError
from rnndrop.report.frames import load_runs
from rnndrop.runs.reevaluate import evaluate
from rnndrop.store import records
from rnndrop.store.files import DamagedRecordError
from rnndrop.store.nll_blocks import read_stretches
from rnndrop.store.ownership import folder_of
from rnndrop.store.records import read_record
from tests.conftest import TINY, Command
from tests.edited import as_json


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds. To be copied."""
    asked = [*TINY, "trainer.epochs=1", f"output={tmp_path_factory.mktemp('runs')}"]
    for seed in (0, 1):
        rnndrop.run([*asked, f"seed={seed}"])
    return [folder_of(compose([*asked, f"seed={seed}"])) for seed in (0, 1)]


@pytest.fixture
def folder(made: list[Path], tmp_path: Path) -> Path:
    """A finished run, to be changed at will."""
    return Path(shutil.copytree(made[0], tmp_path / made[0].parent.name / "seed-0"))


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("bit", [8 * 2000, 8 * 40_001 + 3, 8 * 100_000 + 7])
def test_7_6_weights_with_a_flipped_bit_are_not_used(folder: Path, bit: int) -> None:
    before = read_record(folder)
    flip(folder / records.WEIGHTS, bit)
    with pytest.raises(RequestError, match="do not match its record"):
        evaluate(folder, ["evaluation=cache"])
    assert read_record(folder) == before


def test_7_6_another_seeds_files_are_not_used(folder: Path, made: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    assert read_stretches(folder) is not None
    for name in (records.WEIGHTS, records.TEST_NLL):
        shutil.copy(made[1] / name, folder / name)
    with pytest.raises(RequestError, match="do not match its record"):
        evaluate(folder, ["evaluation=cache"])
    assert read_stretches(folder) is None and "not that of its record" in caplog.text


@pytest.mark.parametrize("value", [973, -5, float("nan"), None, "2"])
def test_7_6_an_edited_number_is_named(folder: Path, rnndrop: Command, value: object) -> None:
    tree = json.loads((folder / records.RECORD).read_text())
    tree["metrics"]["test_perplexity"] = value
    (folder / records.RECORD).write_text(json.dumps(tree))
    with pytest.raises(DamagedRecordError):
        read_record(folder)
    done = rnndrop("report", str(folder.parent), "--strict")
    assert done.returncode == 2 and str(folder) in done.stderr


def test_7_6_flipped_bits_of_a_record_are_named(folder: Path) -> None:
    path, whole = folder / records.RECORD, (folder / records.RECORD).read_bytes()
    record = read_record(folder)
    for bit in range(0, 8 * len(whole), 8 * len(whole) // 60):
        flip(path, bit)
        with suppress(DamagedRecordError):
            assert read_record(folder) == record  # white space, say
        path.write_bytes(whole)


def test_7_6_an_evaluation_renews_the_checksum(folder: Path) -> None:
    files = read_record(folder).files  # type: ignore[union-attr]
    assert files.keys() == {records.CONFIG, records.HISTORY, records.TEST_NLL, records.WEIGHTS}
    evaluate(folder, ["evaluation=cache"])
    record = read_record(folder)
    assert record and record.metrics["test_perplexity_cache"] and record.files == files


def test_7_6_records_of_before_are_read(folder: Path) -> None:
    tree = json.loads((folder / records.RECORD).read_text())
    del tree["files"]
    (folder / records.RECORD).write_text(as_json(tree))
    assert len(load_runs(folder.parent)) == 1
    assert evaluate(folder, ["evaluation=cache"]).metrics["test_perplexity_cache"]


def test_7_6_doctor_verifies_a_folder(folder: Path, made: list[Path], rnndrop: Command, tmp_path: Path) -> None:
    assert rnndrop("doctor", str(folder.parent)).stdout == "1 sound\n"
    for name, harm in (("a", lambda run: flip(run / records.WEIGHTS, 9999)),
                       ("b", lambda run: (run / records.HISTORY).unlink()),
                       ("c", lambda run: (run / records.RECORD).write_text("{"))):  # fmt: skip
        harm(Path(shutil.copytree(made[0], tmp_path / name / folder.parent.name / "seed-0")))
    done = rnndrop("doctor", str(tmp_path))
    assert done.returncode == 1 and done.stdout.endswith("3 damaged · 1 sound\n")
    for name in (records.WEIGHTS, records.HISTORY, records.RECORD):
        assert f": {name}" in done.stdout
    states = [verdict["state"] for verdict in json.loads(rnndrop("doctor", str(tmp_path), "--json").stdout)]
    assert sorted(states) == ["damaged", "damaged", "damaged", "sound"]
    assert rnndrop("doctor", str(tmp_path / "nowhere")).returncode == 2
