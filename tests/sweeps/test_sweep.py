"""Sweeps through the command: nothing runs twice, one failure costs one run, and whatever is killed goes on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.store import records
from rnndrop.store.records import locked
from rnndrop.sweeps.scheduler import DEATHS, Event, Job, plan_jobs, run_jobs, settled_statuses
from scripts import kills
from tests.conftest import SMALL, TINY, Command
from tests.processes import running, wait_until
from tests.warm import ROOT, Running, Warm

# Nine fine values, one that diverges, two whose training raises an exception, and one of them twice.
TWELVE = [*SMALL, "trainer.init=.01,.02,.03,.04,.05,.06,.07,.08,.09,1e4,1e20,2e20,0.01"]


def statuses(folder: Path) -> Counter[str]:
    found = (records.read_record(run) for run in records.find_runs(folder))
    return Counter(record.status for record in found if record)


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("record.json")}


def test_twelve_jobs_of_which_two_raise_and_one_diverges(rnndrop: Command, tmp_path: Path) -> None:
    rnndrop = partial(rnndrop, before="tests.processes:break_training")
    first = rnndrop("sweep", *TWELVE, "--jobs", "2")
    assert first.returncode == 1, first.stderr
    assert "12 runs: 12 new" in first.stderr
    assert [first.stdout.count(mark) for mark in ("✓", "✗ failed", "✗ diverged")] == [9, 2, 1]
    assert statuses(tmp_path) == {"finished": 9, "failed": 2, "diverged": 1}
    found = [records.read_record(run) for run in records.find_runs(tmp_path)]
    causes = [record.error for record in found if record and record.error]
    assert sum("Traceback" in cause for cause in causes) == 2 and any("the loss of step" in cause for cause in causes)

    before = times(tmp_path)
    again = rnndrop("sweep", *TWELVE, "--jobs", "2")
    assert again.returncode == 1 and times(tmp_path) == before
    assert "9 finished" in again.stderr and "1 diverged" in again.stderr and "2 failed" in again.stderr
    plan = rnndrop("sweep", *TWELVE, "--retry-failed", "--dry-run", "--json")
    assert Counter(row["would"] for row in json.loads(plan.stdout)) == {"skip": 9, "run": 3}
    assert times(tmp_path) == before

    retried = rnndrop("sweep", *TWELVE, "--jobs", "2", "--retry-failed")
    assert retried.returncode == 1
    changed = [path for path, when in times(tmp_path).items() if when != before[path]]
    assert len(changed) == 3 and all("finished" not in path.read_text().partition("overrides")[0] for path in changed)

    hasty = rnndrop("sweep", *SMALL, "trainer.init=3e20,.11,.12,.13", "--fail-fast")
    assert hasty.returncode == 1 and hasty.stdout.count("✗ failed") == 1 and "✓" not in hasty.stdout


def test_force_runs_what_has_finished(rnndrop: Command, tmp_path: Path) -> None:
    assert rnndrop("sweep", *SMALL).returncode == 0
    before = times(tmp_path)
    assert rnndrop("sweep", *SMALL, "--force").returncode == 0
    assert before.keys() == times(tmp_path).keys() and before != times(tmp_path)


def sweep(*overrides: str) -> list[str]:
    return ["sweep", *TINY, "trainer.checkpoint_seconds=0", *overrides, "--jobs", "2"]


def checkpoints(folder: Path) -> int:
    return len(list(folder.rglob("checkpoint-*")))


@pytest.mark.parametrize(("signum", "real"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_leaves_all_resumable_and_says_how_to_go_on(
    tmp_path: Path, rnndrop: Command, warm: Warm, signum: int, real: bool
) -> None:
    grid = ["seed=range(3)", "trainer.epochs=3000"]
    start = running if real else warm.running
    with start(sweep(*grid), tmp_path) as process:
        wait_until(lambda: checkpoints(tmp_path) >= 2)
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "The same command goes on" in err and "Traceback" not in err
    plan = rnndrop("sweep", *TINY, *grid, "--dry-run", "--json")
    assert plan.returncode == 0, plan.stderr
    would = Counter(row["would"] for row in json.loads(plan.stdout))
    assert would["resume"] >= 1 and would["resume"] + would["run"] == 3
    assert not list(tmp_path.rglob("heartbeat.json"))


def test_workers_leave_when_their_sweep_is_killed(tmp_path: Path, warm: Warm) -> None:
    with warm.running(sweep("seed=range(2)", "trainer.epochs=5000"), tmp_path) as process:
        wait_until(lambda: len(list(tmp_path.rglob("heartbeat.json"))) == 2 and checkpoints(tmp_path) >= 2)
        workers = [json.loads(path.read_text())["pid"] for path in tmp_path.rglob("heartbeat.json")]
        process.kill()
        process.wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 60)
    assert statuses(tmp_path)["interrupted"] >= 1


def test_two_sweeps_over_one_folder_run_each_job_once(tmp_path: Path, warm: Warm) -> None:
    grid = ["seed=range(5)", "trainer.epochs=3"]
    with warm.running(sweep(*grid), tmp_path) as one, warm.running(sweep(*grid), tmp_path) as two:
        outs = [process.communicate(timeout=200) for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], outs
    assert [out.count("✓") for out, _ in outs] == [5, 5]
    assert statuses(tmp_path) == {"finished": 5}


@pytest.mark.e2e
def test_a_lock_survives_no_owner(tmp_path: Path) -> None:
    """kill -9 on the owner of a lock frees it."""
    config = compose([*TINY, f"output={tmp_path}"])
    folder = records.run_folder(config.output, run_id(config), config.seed)
    records.prepare(folder)
    code = (
        "import sys, time; from pathlib import Path; from rnndrop.store.records import locked\n"
        "with locked(Path(sys.argv[1]), False): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "held\n"
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        with locked(folder, wait=False):
            pass


class Mortal:
    """An executor whose jobs die."""

    def __init__(self) -> None:
        self.given: list[Job] = []
        self.count = 0

    @property
    def free(self) -> int:
        return 1 - len(self.given)

    def submit(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
        self.given += jobs
        self.count += len(jobs)

    def poll(self, seconds: float) -> Iterable[Event]:
        dead, self.given = self.given, []
        return [Event(job, "died", "SIGKILL") for job in dead]

    def stop(self) -> None:
        pass


def test_a_job_that_always_dies_is_given_up_and_recorded(tmp_path: Path) -> None:
    jobs = plan_jobs([*SMALL, "seed=1,2", f"output={tmp_path}"])
    executor = Mortal()
    list(run_jobs(jobs, executor, settled_statuses(False, False)))
    assert executor.count == 2 * DEATHS
    assert [job.state for job in jobs] == ["failed", "failed"]
    assert statuses(tmp_path) == {"failed": 2}
    assert jobs[0].record is not None and "SIGKILL" in (jobs[0].record.error or "")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["run", "sweep", "worker"])
def test_kill_9_changes_nothing(
    what: str, warm: Warm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The short form of what scripts/kills.py shows at length."""
    epochs = "12" if what == "run" else "4"
    monkeypatch.setattr(kills, "SWEEP", [*kills.SWEEP, "evaluation.batch_size=200"])
    monkeypatch.setattr(sys, "argv", ["kills.py", what, "--kills", "2", "--epochs", epochs])
    with ExitStack() as started:

        def start(command: list[str], output: Path) -> Running:
            return started.enter_context(warm.running([*command, f"output={output}"], ROOT))

        monkeypatch.setattr(kills, "start", start)
        with pytest.raises(SystemExit) as end:
            kills.main()
    out = capsys.readouterr().out
    assert not end.value.code, f"{out}{end.value}"
    assert re.match(r"2 kills; (\d) of \1 runs equal", out)


def test_a_run_folder_that_cannot_be_written_costs_one_run(rnndrop: Command, tmp_path: Path) -> None:
    (bad,) = plan_jobs([*SMALL, "seed=2"])
    (tmp_path / bad.folder.parent).mkdir(parents=True)
    (tmp_path / bad.folder).write_text("a file where a folder should be")
    done = rnndrop("sweep", *SMALL, "seed=1,2,3", "--jobs", "2")
    assert done.returncode == 1 and done.stdout.count("✓") == 2
    assert "Cannot write" in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_a_damaged_record_costs_nothing_but_its_own_run(rnndrop: Command, tmp_path: Path) -> None:
    assert rnndrop("sweep", *SMALL, "seed=1,2").returncode == 0
    (path,) = tmp_path.rglob("seed-1/record.json")
    path.write_text(path.read_text()[:200])
    other = next(tmp_path.rglob("seed-2/record.json")).stat().st_mtime_ns
    done = rnndrop("sweep", *SMALL, "seed=1,2")
    assert done.returncode == 0 and "record.json.damaged" in done.stderr
    assert next(tmp_path.rglob("seed-2/record.json")).stat().st_mtime_ns == other
    assert path.with_name("record.json.damaged").exists()


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_launchers(rnndrop: Command, tmp_path: Path, launcher: str) -> None:
    extra = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else ["--jobs", "2"]
    done = rnndrop("sweep", *SMALL, "seed=1,2", f"hydra/launcher={launcher}", *extra)
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path) == {"finished": 2}


@pytest.mark.parametrize(
    ("overrides", "needle"),
    [
        (["hydra/launcher=slurn"], "submitit_slurm"),
        (["hydra/launcher=joblib", "hydra.launcher.partition=x"], "n_jobs"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=no"], "n_jobs=no"),
        (["hydra/launcher=submitit_local", "hydra.launcher.partitoin=x"], "'partition'"),
    ],
)
def test_wrong_launchers(rnndrop: Command, overrides: list[str], needle: str) -> None:
    done = rnndrop("sweep", *SMALL, *overrides)
    assert done.returncode == 2 and needle in done.stderr and "Traceback" not in done.stderr
