"""Many runs on one screen, and how a sweep ends."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from rnndrop.cli.board import Board, Outcome
from rnndrop.cli.watch import _runs, screen

from rnndrop.store.status import Looker
from rnndrop.sweeps.scheduler import Event, Job, failure, plan_jobs
from tests.conftest import TINY, Command
from tests.invented import write_run

BEAT = {"host": "node-7", "pid": 77, "epoch": 3, "epochs": 12, "fraction": 0.5, "train": 250.0,
        "tokens_per_second": 9000.0, "valid": [400.0, 300.0], "left": 95.0}  # fmt: skip


def beat(output: Path, name: str, age: float = 0, **more: Any) -> None:
    folder = output / name / "seed-0"
    folder.mkdir(parents=True)
    (folder / "heartbeat.json").write_text(json.dumps(BEAT | more))
    os.utime(folder / "heartbeat.json", (time.time() - age,) * 2)


def lines(output: Path, width: int = 80, height: int = 23) -> list[str]:
    return [line.plain for line in screen(_runs(str(output)), width, height)]


def test_a_screen_has_room_for_what_needs_attention(tmp_path: Path) -> None:
    for seed in range(5):
        write_run(tmp_path, ["dropout=none"], seed, 200)
    for seed in range(25):
        write_run(
            tmp_path, ["dropout=naive"], seed, status="failed", error="Traceback:\n ...\nOSError: no room", metrics={}
        )
    beat(tmp_path, "a" * 16, overrides=["dropout=locked", f"output={tmp_path}"])
    beat(tmp_path, "b" * 16, age=900, overrides=["dropout=awd"])
    shown = lines(tmp_path)
    assert len(shown) <= 23 and max(map(len, shown)) <= 80
    assert " ".join(shown[:2]) == "32 runs: 1 running · 5 finished · 1 lost · 25 failed · those at work end in 0:01:35"
    states = [line.split()[0] for line in shown[3:-1]]
    assert states[0] == "lost" and states[-1] == "running" and set(states[1:-1]) == {"failed"}
    assert "dropout=awd" in shown[3] and "silent for 0:15:00" in shown[3] and "OSError: no room" in shown[4]
    assert "aaaaaaaa/0   dropout=locked" in shown[-2] and "3/12    300.0  0:01:35" in shown[-2]
    assert f"{32 - len(states)} more, " in shown[-1] and "--once" in shown[-1]
    assert len(screen(_runs(str(tmp_path)))) == 32 + 2


def test_watch_reads_what_has_changed_and_nothing_else(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [], 0, 200)
    beat(tmp_path, "a" * 16)
    look = Looker()
    time.sleep(2.1)
    first = look(folder)
    assert look(folder) is first and look(tmp_path / ("a" * 16) / "seed-0").state == "running"
    (folder / "record.json").write_text("{")
    assert look(folder).state == "damaged"
    write_run(tmp_path / "more", [], 0, 100)
    (tmp_path / "more" / folder.relative_to(tmp_path) / "record.json").replace(folder / "record.json")
    assert look(folder).state == "finished"


def test_watch_takes_any_heartbeat(tmp_path: Path) -> None:
    beat(tmp_path, "a" * 16, left=1e300, overrides=["x\x1b[31m"], host="\x1b[2J")
    beat(tmp_path, "b" * 16, age=100, host="\x1b[2J")
    assert not any("\x1b" in line for line in lines(tmp_path))


def planned(tmp_path: Path, *states: str) -> list[Job]:
    jobs = plan_jobs([*TINY, f"seed=range({len(states)})", f"output={tmp_path}"])
    for job, state in zip(jobs, states, strict=True):
        job.state = state
    return jobs


def test_a_sweep_ends_with_what_happened_and_what_to_type(tmp_path: Path) -> None:
    jobs = planned(tmp_path, "finished", "new", "new", "new")
    outcome = Outcome(jobs, {"finished"})
    for job in jobs[1:]:
        job.state = "finished"
    assert outcome.ended() == (
        f"4 runs: 3 ran now (3 finished), 1 was finished already. Next: rnndrop report {tmp_path}"
    )
    jobs[2].state, jobs[3].state = "failed", "waiting"
    assert outcome.counts() == "4 runs: 2 ran now (1 finished, 1 failed), 1 was finished already, 1 is left."
    jobs[1].problem = "it has no weights"  # a measurement more of a finished run
    assert outcome.counts() == (
        "4 runs: 1 ran now (1 failed), 1 was finished already, 1 had finished and could not be measured as asked,"
        " 1 is left."
    )
    run = f"{jobs[2].folder.parent.name[:8]}/seed-2 --output {tmp_path}"
    assert f"rnndrop show {run} says why" in outcome.ended() and "--retry-failed" in outcome.ended()
    jobs[2].record = failure(jobs[2].config, jobs[2].overrides, "there is no such file")  # before it could begin
    assert outcome.ended().endswith("says why; the same command runs it again.")
    jobs[2].state = "waiting"
    assert outcome.ended().endswith("Next: the same command runs what is left.")


def test_the_bar_counts_all_runs_and_not_what_was_done_before(tmp_path: Path) -> None:
    jobs = planned(tmp_path, "finished", "finished", "running", "new")
    board = Board(jobs, {"finished"})
    epochs = jobs[2].config.trainer.epochs
    assert board.left is None and board.line == "0 of 2 runs · 1 running · 1 waiting · 2 done before"
    for fraction in (0.0, 0.5):
        jobs[2].progress = BEAT | {"epoch": 1, "epochs": epochs, "fraction": fraction}
        board.take(Event(jobs[2], "progress", jobs[2].progress))
    assert board.left is not None and "left" in board.line
    shown = board.screen(60, 24).plain.splitlines()
    assert len(shown) == 2 and "seed=2" in shown[0] and max(map(len, shown)) <= 60


def test_a_sweep_says_what_was_there_already(rnndrop: Command) -> None:
    first = rnndrop("sweep", *TINY, "seed=0")
    assert first.stderr.splitlines()[-1] == "1 run: 1 ran now (1 finished). Next: rnndrop report"
    assert "already" not in first.stdout
    again = rnndrop("sweep", *TINY, "seed=0,1")
    assert again.stderr.splitlines()[-1].startswith("2 runs: 1 ran now (1 finished), 1 was finished already. Next:")
    assert [line.endswith("(already finished)") for line in again.stdout.splitlines()] == [True, False]
