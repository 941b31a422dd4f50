"""Records: round trip, atomic writing, and what cannot be read says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rnndrop.store.files import DamagedRecordError, write_atomically
from rnndrop.store.records import Record, find_runs, prepare, read_record, run_folder
from tests.edited import as_json


def record(**changes: object) -> Record:
    fields = {
        "schema": 1,
        "run_id": "abc",
        "seed": 0,
        "status": "finished",
        "overrides": ["a=ü"],
        "config": {"b": 1},
        "metrics": {"valid_perplexity": 2.0, "test_perplexity": 3.0},
    }
    return Record(**{**fields, **changes})  # type: ignore[arg-type]


def save(folder: Path, text: str) -> Path:
    prepare(folder)
    write_atomically(folder / "record.json", text)
    return folder


def test_round_trip(tmp_path: Path) -> None:
    folder = save(run_folder(tmp_path, "abc", 0), record(error="what\nwent wrong").to_json())
    assert read_record(folder) == record(error="what\nwent wrong")
    assert list(find_runs(tmp_path)) == [folder]
    assert read_record(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", json.dumps({"schema": 1}), record(status="fine").to_json(), record(config=3).to_json()],
)
def test_a_damaged_record_is_named_as_such(tmp_path: Path, text: str) -> None:
    with pytest.raises(DamagedRecordError):
        read_record(save(tmp_path / "run", text))


def test_a_foreign_key_of_a_newer_schema_does_no_harm(tmp_path: Path) -> None:
    newer = as_json({**json.loads(record().to_json()), "later": 1})
    assert read_record(save(tmp_path / "run", newer)) == record()


def test_nan_is_refused_since_json_has_none() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        record(metrics={"valid_perplexity": float("nan")}).to_json()


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
