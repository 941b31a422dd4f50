"""One bad file is named and left out, whoever reads it, and the rest goes on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.report.frames import SkippedRecordWarning, load_runs
from rnndrop.store import checkpoint, files, heartbeat, records
from rnndrop.store.files import DamagedRecordError, read_file
from rnndrop.store.ownership import folder_of
from rnndrop.store.records import read_history
from rnndrop.store.status import standing
from rnndrop.sweeps import search_file, search_outcome
from rnndrop.sweeps.scheduler import plan_jobs
from rnndrop.sweeps.tuning import search
from tests.conftest import TINY
from tests.edited import as_json
from tests.invented import write_run

BAD: list[tuple[str, Any]] = [
    ("config.task", "chess"),
    ("config.dropout.recurrent.p", "0.5"),
    ("config.dropout", []),
    ("config.model.layers", None),
    ("metrics.best_epoch", 1.5),
    ("metrics.test_perplexity", True),
    ("metrics.mc", 3),
    ("overrides", 3),
    ("seed", "0"),
    ("seed", -1),
    ("run_id", ""),
    ("timing.train_seconds", {}),
    ("environment.git_dirty", "yes"),
    ("data.oov_rate", {"test": "much"}),
    ("files", ["weights.safetensors"]),
    ("error", 1),
]


@pytest.mark.parametrize(("key", "value"), BAD, ids=lambda part: str(part))
def test_8_10_a_record_with_a_part_of_another_type(tmp_path: Path, key: str, value: Any) -> None:
    bad, _ = (write_run(tmp_path, ["dropout=none"], seed, 100 + seed) for seed in (0, 1))
    tree = json.loads((bad / records.RECORD).read_text())
    *groups, last = key.split(".")
    part = tree
    for group in groups:
        part = part[group]
    part[last] = value
    (bad / records.RECORD).write_text(as_json(tree))
    with pytest.warns(SkippedRecordWarning, match=f"{bad}.*{key}"):
        assert list(load_runs(tmp_path)["seed"]) == [1]
    assert standing(bad).state == "damaged" and key in standing(bad).problem
    (job,) = plan_jobs(["dropout=none", f"output={tmp_path}"])
    assert job.state == "new"


def test_8_10_what_is_said_of_it_steers_no_terminal(tmp_path: Path) -> None:
    bad = write_run(tmp_path, ["dropout=none"], 0, 100, metrics={"\x1b[2J": "\x1b]0;owned\x07"})
    assert "\x1b" not in standing(bad).problem and "[2J" in standing(bad).problem


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "3",
        '{"host": 3, "pid": 1}',
        '{"pid": 1}',
        '{"host": "a", "pid": 1, "epoch": "1"}',
        '{"host": "a", "pid": 1, "epoch": 1}',
        "[" * 10**5,
    ],
)
def test_8_10_a_sign_of_life_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / heartbeat.HEARTBEAT).write_text(content)
    assert heartbeat.read(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [b"\0" * 100, b'{"epoch": 1', b"[]", b'{"epoch": "1"}', b'{"epoch": 1, "valid_perplexity": "x"}', b'{"a":' * 10**5],
)
def test_8_10_a_history_that_is_none(tmp_path: Path, content: bytes) -> None:
    folder = write_run(tmp_path, ["dropout=none"], 0, 100)
    (folder / records.HISTORY).write_bytes(content)
    with pytest.raises(DamagedRecordError, match="line 1 of history"):
        read_history(folder)
    assert standing(folder).valid == []


def test_8_10_another_runs_history_is_not_drawn(tmp_path: Path) -> None:
    asked = [*TINY, "trainer.epochs=1", f"output={tmp_path}"]
    rnndrop.run(asked)
    folder = folder_of(compose(asked))
    (folder / records.HISTORY).write_text('{"epoch": 1, "train_perplexity": 1.0, "valid_perplexity": 1.0}\n')
    with pytest.raises(DamagedRecordError, match="not that of its record"):
        read_history(folder)


@pytest.mark.parametrize("name", [records.RECORD, records.HISTORY, records.TEST_NLL, records.WEIGHTS])
def test_8_10_no_memory_is_filled_with_a_file_that_cannot_be(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path, ["dropout=none"], 0, 100)
    path = folder / name
    if name == records.WEIGHTS:
        path.write_bytes((2).to_bytes(8, "little") + b"{}")
    path.touch()
    os.truncate(path, 1 << 40)  # a hole: it takes no room
    with pytest.raises(DamagedRecordError, match="1099511627776 bytes"):
        read_file(path)


def test_8_10_a_length_that_is_none_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-00000001-0123456789abcdef.safetensors"
    path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    assert checkpoint.load(tmp_path, None) is None


def test_8_10_a_damaged_search_is_named(tmp_path: Path) -> None:
    asked = search([*TINY, "dropout=variational", "dropout.recurrent.p=0.2,0.3", f"output={tmp_path}"], 2, 0)
    found = search_outcome.write(asked)
    (path,) = search_file.paths(tmp_path)
    assert search_file.read(path) == found
    for text in ("[]", "{", found.to_json().replace('"schema": 1', '"schema": 2'), "\0" * 50):
        path.write_text(text)
        with pytest.raises(DamagedRecordError, match=r"not a whole search|newer"):
            search_file.read(path)


def test_8_a_beat_that_a_dead_process_has_left_goes(tmp_path: Path) -> None:
    asked = [*TINY, "trainer.epochs=1", f"output={tmp_path}"]
    rnndrop.run(asked)
    beat = folder_of(compose(asked)) / heartbeat.HEARTBEAT
    beat.write_text('{"host": "a", "pid": 1}')
    rnndrop.run(asked)
    assert beat.exists()  # someone may be at work
    os.utime(beat, (0, 0))
    rnndrop.run(asked)
    assert not beat.exists()


def test_8_a_configuration_that_cannot_be_shown_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write_atomically

    def failing(path: Path, content: str | bytes, durable: bool = True) -> None:
        if path.name == records.CONFIG:
            raise OSError(5, "Input/output error")
        write(path, content, durable)

    monkeypatch.setattr(files, "write_atomically", failing)
    record = rnndrop.run([*TINY, "trainer.epochs=1", f"output={tmp_path}"])
    assert record.status == "finished" and "cannot write config.yaml: Input/output error" in caplog.text
