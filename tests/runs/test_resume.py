"""A run that is stopped at any moment goes on to the record it would have had: every metric, row and weight."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.config.identity import owner, run_id
from rnndrop.errors import RequestError
from rnndrop.ops.matmul import has_bf16
from rnndrop.runs.runner import run_one
from rnndrop.runs.signals import Interrupted
from rnndrop.store import checkpoint, heartbeat, records
from rnndrop.store.audit import audit
from rnndrop.store.lock import BusyError
from rnndrop.store.progress import Progress, RunObserver
from rnndrop.store.records import locked
from tests.conftest import TINY, Command
from tests.processes import running, wait_until


def essence(folder: Path) -> dict[str, Any]:
    """What must not depend on how often a run was stopped."""
    record = records.read_record(folder)
    assert record is not None
    history = [
        {key: value for key, value in row.items() if key not in records.HISTORY_TIMING}
        for row in records.read_history(folder)
    ]
    weights = hashlib.sha256((folder / records.WEIGHTS).read_bytes()).hexdigest()
    return {"status": record.status, "metrics": record.metrics, "history": history, "weights": weights}


def folder_of(overrides: list[str]) -> Path:
    config = compose(overrides)
    return records.run_folder(config.output, run_id(config), config.seed)


class StopAt(RunObserver):
    """Sends this process a signal after certain steps, once each."""

    def __init__(self, *steps: int, signum: int = signal.SIGTERM) -> None:
        self.steps, self.signum = set(steps), signum

    def progress(self, progress: Progress) -> None:
        if progress.step in self.steps:
            self.steps.remove(progress.step)
            os.kill(os.getpid(), self.signum)


PLANS = [
    ["dropout=variational", "trainer.checkpoint_seconds=0"],
    ["dropout=rnndrop", "model=gru", "trainer.checkpoint_seconds=0"],
    ["dropout=zoneout", "model=gru", "trainer.optimizer=sgd", "trainer.learning_rate=1", "trainer.decay=2"],
    ["dropout=awd", "trainer.optimizer=adamw", "trainer.weight_decay=1e-4", "model.tie_weights=true"],
    ["dropout=naive", "model=rnn", "trainer.patience=1", "trainer.learning_rate=0.05"],
    ["dropout=awd", "trainer.ar=2", "trainer.tar=1", "trainer.random_window=true", "trainer.checkpoint_seconds=0"],
    ["dropout=shared", "trainer.checkpoint_seconds=0"],
    ["dropout=concrete", "trainer.checkpoint_seconds=0"],
    ["dropout=sparse", "dropout.token.kind=blank", "dropout.token.p=0.2", "trainer.checkpoint_seconds=0"],
    ["dropout=drifting", "dropout.carry.kind=reset", "dropout.carry.p=0.3", "trainer.checkpoint_seconds=0"],
    ["dropout=awd", "trainer.random_window=true", "seeds.data=3", "trainer.checkpoint_seconds=0"],
    ["dropout=early", "dropout.input.until=1.5", "dropout.token.kind=kn", "dropout.token.p=0.2"],
    ["dropout=mixout", "dropout.layer.kind=stochastic_depth", "dropout.layer.p=0.3", "trainer.checkpoint_seconds=0"],
    ["twin=fraternal", "dropout=awd", "twin.share=[weight_hh]", "trainer.checkpoint_seconds=0"],
    ["twin=r_drop", "dropout=variational", "trainer.random_window=true", "trainer.checkpoint_seconds=0"],
]
IN_BF16 = [
    pytest.param(
        [f"dropout={name}", "trainer.precision=bf16", "trainer.device=cpu", "trainer.checkpoint_seconds=0"],
        marks=pytest.mark.skipif(not has_bf16(), reason="this processor has no bf16 products"),
    )
    for name in ("variational_untied", "zoneout")
]


@pytest.mark.parametrize("plan", [*PLANS, *IN_BF16], ids=lambda plan: plan[0])
def test_stopped_three_times_same_record(tmp_path: Path, plan: list[str]) -> None:
    whole, parts = ([*TINY, *plan, f"output={tmp_path / name}"] for name in ("whole", "parts"))
    rnndrop.run(whole)
    watch = StopAt(2, 5, 7)  # 3 · 35 rows of 20 columns: 5 windows an epoch, so one stop falls on its last
    for _ in range(3):
        with pytest.raises(Interrupted):
            rnndrop.run(parts, watch)
        record = records.read_record(folder_of(parts))
        assert record is not None and record.status == "interrupted"
    final = rnndrop.run(parts, watch)
    assert final.timing["resumed_from_steps"] == [2, 5, 7]
    assert essence(folder_of(parts)) == essence(folder_of(whole))
    assert not checkpoint.paths(folder_of(parts)) and heartbeat.read(folder_of(parts)) is None


def test_stopped_while_averaging_and_while_fine_tuning_same_record(tmp_path: Path) -> None:
    plan = ["trainer.learning_rate=0.05", "trainer.epochs=6", "trainer.nonmono=1"]  # it overfits from epoch 2 on
    whole, parts = (
        [*TINY, *plan, "trainer.finetune_epochs=2", f"output={tmp_path / name}"] for name in ("whole", "parts")
    )
    rnndrop.run(whole)
    averaged = [row["averaged"] for row in records.read_history(folder_of(whole))]
    assert averaged == [False] * 3 + [True] * 5
    watch = StopAt(17, 19, 32)  # 5 windows an epoch
    for _ in range(3):
        with pytest.raises(Interrupted):
            rnndrop.run(parts, watch)
    assert rnndrop.run(parts, watch).timing["resumed_from_steps"] == [17, 19, 32]
    assert essence(folder_of(parts)) == essence(folder_of(whole))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGUSR2])
def test_other_signals_leave_cleanly_too(tmp_path: Path, signum: int) -> None:
    overrides = [*TINY, f"output={tmp_path}"]
    before = signal.getsignal(signum)
    with pytest.raises(Interrupted):
        rnndrop.run(overrides, StopAt(3, signum=signum))
    assert signal.getsignal(signum) == before
    assert rnndrop.run(overrides).timing["resumed_from_steps"] == [3]


def interrupted(tmp_path: Path, step: int = 7) -> tuple[list[str], Path]:
    """A run that was stopped after `step`, with two checkpoints."""
    overrides = [*TINY, "dropout=variational", f"output={tmp_path / 'runs'}"]
    with pytest.raises(Interrupted):
        rnndrop.run(overrides, StopAt(step))
    folder = folder_of(overrides)
    assert [checkpoint.step_of(path) for path in checkpoint.paths(folder)] == [step, 5]
    return overrides, folder


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    overrides, folder = interrupted(tmp_path)
    newest = checkpoint.paths(folder)[0]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"truncated": content[:1000], "flipped": content, "empty": b""}[damage])
    record = rnndrop.run(overrides)
    assert record.timing["resumed_from_steps"] == [5]
    assert newest.name in caplog.text and "damaged" in caplog.text
    rnndrop.run([*overrides, f"output={tmp_path / 'whole'}"])
    assert essence(folder) == essence(tmp_path / "whole" / folder.relative_to(tmp_path / "runs"))


def test_all_checkpoints_damaged_starts_afresh(tmp_path: Path) -> None:
    overrides, folder = interrupted(tmp_path)
    for path in checkpoint.paths(folder):
        path.write_bytes(b"nothing")
    record = rnndrop.run(overrides)
    assert record.status == "finished" and record.timing["resumed_from_steps"] == []


def test_force_starts_afresh(tmp_path: Path) -> None:
    overrides, _ = interrupted(tmp_path)
    assert run_one(compose(overrides), overrides, force=True).timing["resumed_from_steps"] == []


def test_a_checkpoint_of_another_device_or_corpus_is_refused_and_kept(tmp_path: Path) -> None:
    overrides, folder = interrupted(tmp_path)
    found = checkpoint.load(folder, owner(compose(overrides)))
    assert found is not None
    checkpoint.save(folder, checkpoint.Checkpoint(8, found.tensors, {**found.facts, "device": "cuda"}))
    with pytest.raises(RequestError, match=r"trainer\.device=cuda"):
        rnndrop.run(overrides)
    checkpoint.save(folder, checkpoint.Checkpoint(9, found.tensors, {**found.facts, "data": "another"}))
    with pytest.raises(RequestError, match="the data has changed since its checkpoint"):
        rnndrop.run(overrides)
    assert checkpoint.paths(folder)


@pytest.mark.parametrize("content", ["", '{"schema": 1, "run', "[]", '{"schema": 0}', "null", "edited"])
def test_a_damaged_record_is_named_kept_aside_and_run_again(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = [*TINY, f"output={tmp_path}"]
    first = rnndrop.run(overrides)
    path = folder_of(overrides) / records.RECORD
    if content == "edited":
        tree = json.loads(path.read_text())
        tree["metrics"]["test_perplexity"] = "very good"
        content = json.dumps(tree)
    path.write_text(content)
    assert rnndrop.run(overrides).metrics == first.metrics
    assert str(path) in caplog.text
    assert path.with_name("record.json.damaged").read_text() == content


def test_a_record_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    overrides = [*TINY, f"output={tmp_path}"]
    rnndrop.run(overrides)
    path = folder_of(overrides) / records.RECORD
    path.write_text(later := '{"schema": 99, "runs": []}')
    with pytest.raises(RequestError, match="a newer rnndrop has written it"):
        rnndrop.run(overrides)
    assert path.read_text() == later and [verdict.state for verdict in audit(tmp_path)] == ["newer"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    overrides = [*TINY, f"output={tmp_path}"]
    folder = folder_of(overrides)
    records.prepare(folder)
    with locked(folder, wait=False), pytest.raises(BusyError):
        run_one(compose(overrides), overrides, wait=False)
    assert run_one(compose(overrides), overrides, wait=False).status == "finished"


def test_disk_full_during_a_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A limit on the size of files stands for a full disk: the checkpoint does not fit, the record does."""
    overrides = [*TINY, f"output={tmp_path}"]
    rnndrop.run([*overrides, f"output={tmp_path / 'roomy'}"])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        record = rnndrop.run(overrides)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert record.status == "finished", record.error
    assert "no checkpoint at step" in caplog.text and "Training goes on" in caplog.text
    folder = folder_of(overrides)
    assert essence(folder) == essence(tmp_path / "roomy" / folder.relative_to(tmp_path))
    assert not [path for path in folder.iterdir() if path.name.startswith(".checkpoint")]


@pytest.mark.e2e
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    command = ["run", *TINY, "trainer.epochs=2000", "trainer.checkpoint_seconds=0"]
    with running(command, tmp_path) as process:
        wait_until(lambda: list(tmp_path.rglob("checkpoint-*")))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and not out
    assert "The same command goes on" in err and "Traceback" not in err
    (path,) = tmp_path.rglob(records.RECORD)
    assert json.loads(path.read_text())["status"] == "interrupted"


def test_a_run_folder_that_cannot_be_written(rnndrop: Command, tmp_path: Path) -> None:
    folder = tmp_path / folder_of([*TINY])
    folder.parent.mkdir(parents=True)
    folder.write_text("a file, not a folder")
    done = rnndrop("run", *TINY)
    assert done.returncode == 2 and str(folder.name) in done.stderr and "Traceback" not in done.stderr


def test_logger_is_silent_by_itself() -> None:
    assert not logging.getLogger("rnndrop").handlers
