"""Asked to leave, however often and whenever, a run keeps what it needs; nothing is left behind that trains on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.runs.signals import Interrupted
from rnndrop.store import checkpoint, heartbeat, records
from rnndrop.store.ownership import folder_of
from rnndrop.store.progress import Progress
from tests.conftest import TINY
from tests.processes import running, wait_until
from tests.warm import Warm

LONG = ["data.train_tokens=20000", "model.hidden=32", "trainer.epochs=2000", "trainer.threads=1", "trainer.device=cpu"]
NO_CHECKPOINTS = ["trainer.checkpoint_seconds=null", "trainer.checkpoint_epochs=null"]


def at_work(runs: Path) -> list[Path]:
    """The runs that have begun to train."""
    beats = ((path.parent, heartbeat.read(path.parent)) for path in runs.glob("*/seed-*/heartbeat.json"))
    return [folder for folder, beat in beats if beat and beat.get("epoch")]


@pytest.mark.parametrize(
    ("signals", "real"), [([signal.SIGINT], True), ([signal.SIGINT, signal.SIGINT], False), ([signal.SIGHUP], False)]
)
def test_8_3_a_signal_to_a_sweep_and_its_workers_costs_nothing(
    tmp_path: Path, warm: Warm, signals: list[signal.Signals], real: bool
) -> None:
    grid = ["sweep", *LONG, *NO_CHECKPOINTS, "seed=0,1", "--jobs", "2", f"output={tmp_path / 'runs'}"]
    start = running if real else warm.running
    with start(grid, tmp_path) as process:
        wait_until(lambda: len(at_work(tmp_path / "runs")) == 2)
        for signum in signals:
            os.killpg(process.pid, signum)  # as a terminal does: to all of them
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "goes on from here" in said
    for seed in (0, 1):
        folder = folder_of(compose([*LONG, f"seed={seed}", f"output={tmp_path / 'runs'}"]))
        (newest, *_) = checkpoint.paths(folder)
        assert checkpoint.step_of(newest) > 0 and not (folder / heartbeat.HEARTBEAT).exists()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_8_7_a_signal_in_the_final_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
) -> None:
    asked = [*TINY, *NO_CHECKPOINTS, "evaluation.mc.samples=2"]
    whole = rnndrop.run([*asked, f"output={tmp_path / 'whole'}"])
    measure = rnndrop.tasks.base.Task.monte_carlo  # type: ignore[attr-defined]

    def leave(*arguments: object) -> dict[str, object]:
        os.kill(os.getpid(), signum)
        return measure(*arguments)  # type: ignore[no-any-return]

    monkeypatch.setattr("rnndrop.tasks.base.Task.monte_carlo", leave)
    with pytest.raises(Interrupted):
        rnndrop.run([*asked, f"output={tmp_path / 'runs'}"])
    monkeypatch.setattr("rnndrop.tasks.base.Task.monte_carlo", measure)
    monkeypatch.setattr("rnndrop.training.trainer.Training._step", lambda *_: pytest.fail("trained again"))
    record = rnndrop.run([*asked, f"output={tmp_path / 'runs'}"])
    assert record.metrics == whole.metrics and record.timing["resumed_from_steps"]


def test_8_7_a_second_signal_does_not_cost_the_checkpoint(tmp_path: Path) -> None:
    def leave(progress: Progress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    asked = [*TINY, *NO_CHECKPOINTS, f"output={tmp_path}"]
    with pytest.raises(Interrupted):
        rnndrop.run(asked, leave)
    (path,) = checkpoint.paths(folder_of(compose(asked)))
    assert checkpoint.step_of(path) == 3


def test_8_7_ignored_signals_stay_ignored(tmp_path: Path) -> None:
    """As `nohup` has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        record = rnndrop.run([*TINY, f"output={tmp_path}"], lambda _: os.kill(os.getpid(), signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert record.status == "finished"


@pytest.mark.e2e
def test_8_12_workers_of_a_sweep_that_died_at_once_leave(tmp_path: Path) -> None:
    grid = ["sweep", *LONG, "seed=0,1", "--jobs", "2", f"output={tmp_path / 'runs'}"]
    with running(grid, tmp_path) as process:
        wait_until(lambda: len(children(process.pid)) >= 2)
        workers = children(process.pid)
        process.kill()  # the sweep alone
        wait_until(lambda: not any(alive(worker) for worker in workers), 60)
    assert not any((run / records.RECORD).exists() and
                   json.loads((run / records.RECORD).read_text())["status"] == "finished"
                   for run in records.run_folders(tmp_path / "runs"))  # fmt: skip


def children(pid: int) -> list[int]:
    """The processes that `pid` has started, but for Python's resource tracker."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    if not path.exists():
        pytest.skip("no /proc here")
    found = [int(child) for child in path.read_text().split()]
    return [child for child in found if "resource_tracker" not in Path(f"/proc/{child}/cmdline").read_text()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
