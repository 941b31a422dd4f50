"""Where a measurement stands is told as it reads, under names that say what; it changes nothing that is measured."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

import rnndrop
from cli.board import Board, _now
from cli.progress import measured
from cli.watch import _runs, screen
from rnndrop.runs.reevaluate import evaluate
from rnndrop.store.heartbeat import Heartbeat
from rnndrop.store.heartbeat import read as read_beat
from rnndrop.store.progress import RunObserver
from rnndrop.store.records import run_folder
from rnndrop.sweeps.scheduler import Event, jobs_of
from rnndrop.sweeps.workers import Telling
from tests.conftest import SMALL, Command
from tests.reviews import SMALL as RATED
from tests.reviews import write
from tests.terminals import on_a_terminal

Told = list[tuple[str, float]]
RUN = [*SMALL, "evaluation.batch_size=1", "evaluation.window=50"]


def check(told: Told, names: list[str]) -> None:
    """Each reading goes from nothing to all of it, and they come in this order."""
    for _, group in groupby(told, lambda each: each[0]):
        shares = [share for _, share in group]
        assert shares[-1] == 1 and all(0 <= share <= 1 for share in shares)
    assert [name for name, _ in groupby(told, lambda each: each[0])] == names
    assert len(told) > 2 * len(names)  # and not from the one to the other at once


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (["evaluation.mc.samples=3"], ["mc valid", "mc test"]),
        (["evaluation.mc.samples=3", "evaluation.mc.power=0"], ["mc valid", "mc test"]),
        (["evaluation=cache"], ["cache valid", "cache test"]),
        (["evaluation=dynamic"], ["dynamic train", "dynamic valid", "dynamic test"]),
        (["evaluation=temperature"], ["temperature tuned on valid", "temperature valid", "temperature test"]),
    ],
)
@pytest.mark.parametrize("plan", [["dropout=variational"], ["dropout=dropconnect"]])
def test_every_mode_tells(tmp_path: Path, asked: list[str], names: list[str], plan: list[str]) -> None:
    """Of a plan on weights too, whose samples are passes of their own."""
    record = rnndrop.run([*RUN, *plan, f"output={tmp_path}"])
    folder, told = run_folder(str(tmp_path), record.run_id, 0), Told()
    heard = evaluate(folder, asked, lambda what, share: told.append((what, share))).metrics
    check(told, names)
    told.clear()
    assert evaluate(folder, asked).metrics == heard and not told


def test_a_run_tells_after_its_training(tmp_path: Path) -> None:
    """The scores of its best weights; a finished run of which more is asked tells that."""

    class Heard(RunObserver):
        def __init__(self) -> None:
            self.told = Told()

        def measuring(self, what: str, fraction: float) -> None:
            self.told.append((what, fraction))

    observer, request = Heard(), [*RUN, "dropout=variational", f"output={tmp_path}"]
    rnndrop.run(request, observer)
    check(observer.told, ["valid", "test", "train"])
    observer.told.clear()
    rnndrop.run([*request, "evaluation.mc.samples=2"], observer)
    check(observer.told, ["mc valid", "mc test"])


def test_ratings_tell_their_passes(tmp_path: Path) -> None:
    request = [*RATED, f"data.file={write(tmp_path / 'reviews')}", "dropout=naive", f"output={tmp_path}"]
    record, told = rnndrop.run(request), Told()
    evaluate(run_folder(str(tmp_path), record.run_id, 0), ["evaluation.mc.samples=3"], lambda *now: told.append(now))
    check(told, ["mc valid", "mc test"])


def test_watch_and_a_sweep_show_it(tmp_path: Path) -> None:
    """With the epochs behind it, or without any where a finished run is only measured."""
    (job,) = jobs_of([[*SMALL, f"output={tmp_path}"]])
    job.folder.mkdir(parents=True)
    with Heartbeat(job.folder) as beating:
        beating.measuring("mc test", 0.434)
        beating._write()
        beat = read_beat(job.folder)
        assert beat and (beat["measuring"], beat["measured"]) == ("mc test", 0.434)
        (line,) = [str(line) for line in screen(_runs(str(tmp_path))) if "measuring" in str(line)]
    assert line.endswith("measuring mc test: 43 %")
    said: list[dict[str, Any]] = []
    Telling(said.append).measuring("mc test", 0.434)
    job.state, job.progress = "running", said[0]
    board = Board([job], ())
    board.take(Event(job, "progress", said[0]))
    assert _now(job) == "measuring mc test: 43 %" and "43 %" in str(board.screen(100, 20)) and board.left is None


def test_what_another_has_written_cannot_draw(tmp_path: Path) -> None:
    assert "\x1b" not in measured({"measuring": "\x1b[2J", "measured": 0.5})


def at_once() -> None:
    """In a process of the command: no line waits."""
    from rnndrop.cli import progress

    progress.MEASURED_EVERY = 0.0


def test_eval_says_where_it_stands(rnndrop: Command) -> None:
    """On stderr; in lines that are not many where there is no terminal, and none of a measurement of a moment."""
    record = json.loads(rnndrop("run", *SMALL, "dropout=variational", "--json").stdout)
    done = rnndrop("eval", record["run_id"], "--mc", "3")
    assert done.returncode == 0 and "measuring" not in done.stderr + done.stdout
    done = rnndrop("eval", record["run_id"], "--mc", "3", before=f"{__name__}:at_once")
    assert "measuring mc test: 0 %\n" in done.stderr and "measuring" not in done.stdout
    code, said = on_a_terminal(rnndrop, ["eval", record["run_id"], "--mc", "3"])
    assert code == 0 and b"MC (3 samples)" in said
