"""Files and records on other people's machines: modes, locks, unreadable files, what a crash leaves, refused requests.

The numbers in the names are those of the faults that were found in the first version, some of section 8 among them.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rnndrop.cli.show import show
from rnndrop.cli.sweep import Options, run_all
from rnndrop.cli.watch import watch

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.errors import NotWrittenError, RequestError
from rnndrop.report.frames import SkippedRecordWarning, load_runs
from rnndrop.runs.doctor import examine
from rnndrop.runs.reevaluate import evaluate
from rnndrop.runs.runner import run_one
from rnndrop.runs.signals import Interrupted
from rnndrop.store import files, lock, records
from rnndrop.store.heartbeat import HEARTBEAT
from rnndrop.store.lock import HELD, BusyError
from rnndrop.store.nll_blocks import read_stretches
from rnndrop.store.ownership import folder_of
from rnndrop.store.progress import Progress, RunObserver, Watching
from rnndrop.store.records import Record
from rnndrop.store.status import standing
from rnndrop.sweeps import search_file, search_outcome
from rnndrop.sweeps.cluster import Cluster
from rnndrop.sweeps.cluster_submitit import Local
from rnndrop.sweeps.scheduler import Event, Job, failure, plan_jobs, run_jobs, settled_statuses
from rnndrop.sweeps.tuning import search
from rnndrop.sweeps.workers import run_task
from rnndrop.training.trainer import DivergedError
from tests.conftest import TINY, Command
from tests.processes import RNNDROP, wait_until
from tests.runs.test_resume import StopAt
from tests.warm import Warm

QUICK = [*TINY, "trainer.epochs=1", "evaluation.batch_size=200"]


def command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command; `options` are those of subprocess.run, such as its user and umask."""
    options["env"] = {**os.environ, "COLUMNS": "200", **options.get("env", {})}
    return subprocess.run([RNNDROP, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)


def python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """A program."""
    program = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, timeout=120, **options)


def only(runs: Path, name: str = records.RECORD) -> Path:
    """The one file of that name below a folder."""
    (path,) = runs.rglob(name)
    return path


# ---- 5.1: modes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_5_1_files_have_the_mode_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    modes: dict[str, int] = {}

    def watch(progress: object) -> None:
        modes.update({path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*/seed-0/*")})

    before = os.umask(umask)
    try:
        rnndrop.run([f"output={tmp_path}", "trainer.checkpoint_seconds=0", *QUICK], watch)
    finally:
        os.umask(before)
    watch(None)
    kinds = {name.partition("-")[0] for name in modes}
    assert kinds >= {".lock", "config.yaml", "record.json", "history.jsonl", "weights.safetensors", "test_nll.npy",
                     "heartbeat.json", "checkpoint"}  # fmt: skip
    assert {name: oct(mode) for name, mode in modes.items()} == dict.fromkeys(modes, oct(0o666 & ~umask))


def test_5_1_a_search_can_be_gone_on_with_by_the_group(tmp_path: Path) -> None:
    searched = search(
        [*QUICK, f"output={tmp_path}", "dropout.recurrent.kind=locked", "dropout.recurrent.p=.1,.2"], 2, 0
    )
    before = os.umask(0o002)
    try:
        search_outcome.write(searched)
    finally:
        os.umask(before)
    (path,) = search_file.paths(tmp_path)
    assert oct(stat.S_IMODE(path.stat().st_mode)) == oct(0o664)


# ---- 5.5: locks -------------------------------------------------------------------------------------------------

MAIN = "from rnndrop.cli.main import main\nmain()"
WITHOUT_LOCKS = (
    "import errno, fcntl\n"
    "def flock(descriptor, operation): raise OSError(errno.ENOLCK, 'no locks here')\n"
    "fcntl.flock = flock\n"
)


@pytest.mark.e2e
def test_5_5_without_locks_a_run_says_what_stands_for_them_and_goes_on(tmp_path: Path) -> None:
    done = python(f"{WITHOUT_LOCKS}{MAIN}", "run", *QUICK, f"output={tmp_path}")
    assert done.returncode == 0 and done.stdout.startswith("✓"), done.stderr
    assert done.stderr.count(f".lock{HELD}") == 1 and "Traceback" not in done.stderr
    assert not list(tmp_path.rglob(f"*{HELD}"))


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""
    import fcntl

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(getattr(errno, request.param), "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(lock, "_told", set())


def test_5_5_without_locks_every_other_command_goes_on(
    tmp_path: Path, no_flock: None, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = [*QUICK, f"output={tmp_path}"]
    config = compose(overrides)
    (locks,) = (finding for finding in islice(examine(config), 5) if finding.name == "locks")
    assert locks.sound and HELD in locks.detail
    rnndrop.run(overrides)
    assert "test_perplexity_mc" in evaluate(folder_of(config), ["evaluation.mc.samples=1"]).metrics
    search_outcome.write(search([*overrides, "dropout.recurrent.kind=locked", "dropout.recurrent.p=.1,.2"], 2, 0))
    assert sum(HELD in line for line in caplog.messages) == 1  # one message for the file system
    assert not list(tmp_path.rglob(f"*{HELD}"))


def test_5_5_one_process_at_a_time_without_locks(tmp_path: Path, no_flock: None) -> None:
    path = tmp_path / ".lock"
    with lock.held(path) as by_system:
        assert not by_system
        with pytest.raises(BusyError, match=f"process {os.getpid()}"), lock.held(path):
            pass
    with lock.held(path):  # it was freed
        pass


@pytest.mark.e2e
def test_5_5_hosts_with_and_without_locks_keep_each_other_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"
    take = f"from pathlib import Path\nfrom rnndrop.store.lock import held\nwith held(Path({str(path)!r})): "
    with lock.held(path):
        other = python(f"{WITHOUT_LOCKS}{take}pass")
    assert "BusyError" in other.stderr and str(path) in other.stderr
    assert python(f"{WITHOUT_LOCKS}{take}import os; os._exit(0)").returncode == 0  # crashes with the lock
    with pytest.raises(BusyError, match=f"Remove that file.*{HELD}|{HELD}.*Remove that file"), lock.held(path):
        pass
    path.with_name(f".lock{HELD}").unlink()
    with lock.held(path):
        pass


def test_5_5_a_sweep_says_which_file_to_remove_after_a_crash(tmp_path: Path, warm: Warm) -> None:
    folder = folder_of(compose([*QUICK, f"output={tmp_path}"]))
    folder.mkdir(parents=True)
    mark = folder / f"{records.LOCK}{HELD}"
    mark.write_text("elsewhere, process 1")
    with warm.running(["sweep", *QUICK, f"output={tmp_path}"], tmp_path, COLUMNS="200") as process:
        wait_until(lambda: HELD in process.said()[1])
        (line,) = (line for line in process.said()[1].splitlines() if HELD in line)
        mark.unlink()
        process.communicate(timeout=60)
    assert "elsewhere, process 1" in line and "Remove that file" in line
    assert process.returncode == 0 and only(tmp_path).exists()


def test_5_5_a_lock_that_is_a_link_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    overrides = [*QUICK, f"output={tmp_path / 'runs'}"]
    folder = folder_of(compose(overrides))
    folder.mkdir(parents=True)
    (folder / records.LOCK).symlink_to(tmp_path / "target")
    with pytest.raises(RequestError, match="Cannot lock"):
        rnndrop.run(overrides)
    assert (tmp_path / "target").read_text() == "precious"


# ---- 5.2 and 8.5: unreadable is not damaged -----------------------------------------------------------------------


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder that lasts."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


def fail_to_read(monkeypatch: pytest.MonkeyPatch, name: str, code: int = errno.EIO) -> None:
    """From now on the files of that name (its beginning) cannot be read."""
    real = os.open

    def fake(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if Path(os.fsdecode(path)).name.startswith(name) and not flags & os.O_WRONLY:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", fake)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
@pytest.mark.parametrize("force", [False, True])
def test_5_2_a_record_that_cannot_be_read_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, force: bool
) -> None:
    overrides = [*QUICK, f"output={tmp_path}"]
    rnndrop.run(overrides)
    folder = folder_of(compose(overrides))
    before = content(folder)
    with monkeypatch.context() as broken:
        fail_to_read(broken, records.RECORD, code)
        with pytest.raises(files.UnreadableError, match=f"{records.RECORD}: {os.strerror(code)}.*output=FOLDER"):
            run_one(compose(overrides), overrides, force=force)
        (job,) = plan_jobs(overrides)
        assert job.state == "unreadable" and os.strerror(code) in job.problem
        with pytest.raises(RequestError, match="Cannot read"):
            run_all([job], Options(force=force))
        assert run_all([job], Options(dry_run=True)) == 0
        assert standing(folder).state == "unreadable"
    assert content(folder) == before
    assert run_one(compose(overrides), overrides).status == "finished" and content(folder) == before


def test_5_2_reports_name_what_cannot_be_read_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        rnndrop.run([*QUICK, f"output={tmp_path}", f"seed={seed}"])
    shutil.move(only(tmp_path, "seed-1") / records.RECORD, only(tmp_path, "seed-1") / "elsewhere")
    (only(tmp_path, "seed-1") / records.RECORD).symlink_to("/nowhere/record.json")  # as on a disk that is not mounted
    with pytest.warns(SkippedRecordWarning, match=r"seed-1.*leads nowhere"):
        assert list(load_runs(tmp_path)["seed"]) == [0]
    assert watch(str(tmp_path), once=True, as_json=False, every=1) == 0
    out = capsys.readouterr().out
    assert "unreadable" in out and "leads nowhere" in out and "1 finished" in out
    assert show(f"{only(tmp_path, 'seed-1')}", str(tmp_path), as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "unreadable"


def test_5_2_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rnndrop.run([*QUICK, f"output={tmp_path}"])
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert len(records.find_runs(tmp_path)) == 1 and "closed cannot be read" in caplog.text


def test_5_2_a_run_that_becomes_unreadable_in_a_sweep_costs_that_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = plan_jobs([*QUICK, f"output={tmp_path}", "seed=0,1"])

    class Here:
        """Runs its jobs in this process."""

        free = 1
        events: tuple[Event, ...] = ()

        def submit(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
            (job,) = jobs
            with monkeypatch.context() as broken:
                if job.config.seed == 0:
                    fail_to_read(broken, records.RECORD, errno.ESTALE)
                self.events = (
                    Event(job, *run_task(job.config, job.overrides, job.folder, False, settled, lambda told: None)),
                )

        def poll(self, seconds: float) -> tuple[Event, ...]:
            events, self.events = self.events, ()
            return events

        def stop(self) -> None:
            pass

    monkeypatch.setattr("rnndrop.cli.sweep.executor", lambda *arguments: Here())
    assert run_all(jobs, Options()) == 2
    assert "Cannot read" in capsys.readouterr().err and not jobs[0].folder.exists()
    assert [job.state for job in jobs] == ["unreadable", "finished"]


def test_5_2_a_checkpoint_that_cannot_be_read_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [*TINY, f"output={tmp_path}"]
    with pytest.raises(Interrupted):
        rnndrop.run(overrides, StopAt(7))
    folder = folder_of(compose(overrides))
    before = content(folder)
    with monkeypatch.context() as broken:
        fail_to_read(broken, "checkpoint-")
        with pytest.raises(files.UnreadableError, match=r"checkpoint-00000007.*Input/output error"):
            rnndrop.run(overrides)
    assert content(folder) == before
    assert rnndrop.run(overrides).timing["resumed_from_steps"] == [7]


@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_5_2_a_record_that_is_no_file_is_damaged_and_never_waited_for(tmp_path: Path, what: str) -> None:
    overrides = [*QUICK, f"output={tmp_path}"]
    first = rnndrop.run(overrides)
    path = folder_of(compose(overrides)) / records.RECORD
    path.unlink()
    path.mkdir() if what == "folder" else os.mkfifo(path)
    for name in (records.HISTORY, records.TEST_NLL, HEARTBEAT):
        path.with_name(name).unlink(missing_ok=True)
        os.mkfifo(path.with_name(name))
    assert standing(path.parent).state == "damaged"
    assert read_stretches(path.parent) is None
    with pytest.warns(SkippedRecordWarning, match="it is"), pytest.raises(RequestError):
        load_runs(tmp_path)
    assert rnndrop.run(overrides).metrics == first.metrics
    assert path.is_file() and path.with_name("record.json.damaged").exists()


AS_ANOTHER = """
import contextlib, io, json, os, sys
from rnndrop.cli.main import main

def command(arguments):
    sys.argv = ["rnndrop", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            return end.code, out.getvalue(), err.getvalue()

user, group, warm, commands = json.loads(sys.argv[1])
for arguments in warm:  # another user may not be able to read what is imported late
    command(arguments)
os.setgroups([group])
os.setgid(user)
os.setuid(user)
print(json.dumps([command(arguments) for umask, arguments in commands if os.umask(umask) is not None]))
"""


def as_user(user: int, group: int, warm: Path, *commands: tuple[int, list[str]]) -> list[tuple[int, str, str]]:
    """What commands of another user, each with an umask, come to: exit code, stdout, stderr."""
    own = [*QUICK, f"output={warm}"]
    before = [["run", *own], ["run", *own, "--force"], ["sweep", *own], ["report", str(warm), "--format", "json"]]
    names = {arguments[0] for _, arguments in commands}
    needed = [arguments for arguments in before if arguments[0] in names]
    done = python(AS_ANOTHER, json.dumps([user, group, needed, commands]), cwd=warm)
    assert done.returncode == 0, done.stderr
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


@pytest.mark.e2e
@pytest.mark.slow
def test_5_2_two_users_in_one_folder(tmp_path: Path) -> None:
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("two users in one folder are NOT tested here: to become one takes root")
    group, one, two = 54_320, 54_321, 54_322
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "runs"
        folder.mkdir()
        os.chown(folder, 0, group)
        folder.chmod(0o2775)
        Path(place).chmod(0o755)
        asked = [*QUICK, f"output={folder}"]
        made = as_user(one, group, tmp_path, (0o002, ["run", *asked]), (0o077, ["run", *asked, "seed=1"]))
        assert [code for code, _, _ in made] == [0, 0], made
        (closed,) = folder.glob("*/seed-1")
        closed.chmod(0o2775)  # the folder is the group's, the files in it are not
        before = content(closed)
        commands = [["run", *asked], ["run", *asked, "--force"], ["run", *asked, "seed=1"],
                    ["run", *asked, "seed=1", "--force"], ["sweep", *asked, "seed=1"],
                    ["report", str(folder), "--format", "json"]]  # fmt: skip
        again, forced, *refused, reported = as_user(two, group, tmp_path, *((0o002, each) for each in commands))
        assert again[0] == 0 and "already finished" in again[2], again
        assert forced[0] == 0 and "✓" in forced[1], forced
        (opened,) = folder.glob(f"*/seed-0/{records.RECORD}")
        assert opened.stat().st_uid == two and opened.stat().st_gid == group
        for code, _, err in refused:
            assert code == 2 and "record.json: Permission denied" in err and "Traceback" not in err, err
        assert reported[0] == 0 and json.loads(reported[1])[0]["n"] == 1 and "Permission denied" in reported[2]
        assert content(closed) == before


# ---- 5.3 and 8.6: the old record stays until the new one is whole ---------------------------------------------------


def finished(output: Path, *more: str) -> tuple[list[str], Path, dict[str, bytes]]:
    """A finished run: its overrides, its folder and what is in it."""
    overrides = [*QUICK, f"output={output}", *more]
    rnndrop.run(overrides)
    folder = folder_of(compose(overrides))
    return overrides, folder, content(folder)


def again(overrides: list[str], observer: RunObserver | None = None) -> Record:
    return run_one(compose(overrides), overrides, observer, force=True)


def test_5_3_a_forced_run_that_is_interrupted_leaves_the_finished_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides, folder, before = finished(tmp_path, "trainer.epochs=2")
    with pytest.raises(Interrupted):
        again(overrides, StopAt(7))
    after = content(folder)
    assert {name: after[name] for name in before} == before
    assert "the finished record is kept" in caplog.text
    assert rnndrop.run(overrides).status == "finished" and content(folder) == before  # and its checkpoints are gone
    assert again(overrides).timing["resumed_from_steps"] == []


def test_5_3_a_forced_run_whose_worker_died_goes_on_in_its_sweep(tmp_path: Path) -> None:
    overrides, folder, before = finished(tmp_path, "trainer.epochs=2")
    with pytest.raises(Interrupted):
        again(overrides, StopAt(7))
    record = run_one(compose(overrides), overrides, settled=settled_statuses(False, force=True))
    assert record.timing["resumed_from_steps"] == [7]
    assert {name: data for name, data in content(folder).items() if name in (records.WEIGHTS, records.TEST_NLL)} == {
        name: before[name] for name in (records.WEIGHTS, records.TEST_NLL)
    }


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), OSError(errno.ENOSPC, "No space left on device")])
def test_5_3_a_forced_run_that_fails_leaves_the_finished_one(tmp_path: Path, error: Exception) -> None:
    overrides, folder, before = finished(tmp_path)

    def fail(progress: Progress) -> None:
        raise error

    assert again(overrides, Watching(fail)).status == "failed"
    assert content(folder) == before
    failure(compose(overrides), overrides, "Its process died 3 times.")
    assert content(folder) == before


class Died(BaseException):
    """kill -9, as far as a process can show it to itself."""


def test_5_3_at_every_crash_point_the_files_are_those_of_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crash at every call that changes the folder; then the next command for the run makes it whole."""
    _, folder, _ = finished(tmp_path / "runs")
    for name in records.OUTPUTS:
        (folder / name).write_bytes(b"of the old run")
    old = content(folder)
    seen: set[bool] = set()
    for point in range(200):
        shutil.rmtree(tmp_path / "crash", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "crash")
        left = point

        def dying(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Died
                return real(*arguments, **named)

            return call

        record = records.read_record(folder)
        assert record is not None
        record.overrides = ["of=the", "new=run"]
        done = False
        with monkeypatch.context() as crash, suppress(Died):
            for owner, name in ((os, "open"), (os, "fsync"), (Path, "replace"), (Path, "unlink")):
                crash.setattr(owner, name, dying(getattr(owner, name)))
            records.write_whole(tmp_path / "crash", record, dict.fromkeys(records.OUTPUTS, b"of the new run"))
            done = True
        with records.locked(tmp_path / "crash", wait=False):
            pass
        found = content(tmp_path / "crash")
        is_new = found["config.yaml"] == b"of the new run"
        outputs = dict.fromkeys(records.OUTPUTS, b"of the new run" if is_new else b"of the old run")
        expected = record.to_json().encode() if is_new else old[records.RECORD]
        assert found == {**outputs, records.RECORD: expected}
        seen.add(is_new)
        if done:
            break
    assert done and seen == {False, True}


def test_8_6_a_heartbeat_that_cannot_be_removed_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == HEARTBEAT or path.name.startswith("checkpoint-"):
            raise OSError(errno.EIO, "Input/output error")
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    _, folder, _ = finished(tmp_path)
    record = records.read_record(folder)
    assert record is not None and record.status == "finished"


def test_5_3_a_forced_run_that_diverges_replaces_what_it_was_to_replace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides, folder, _ = finished(tmp_path)

    def diverge(*arguments: object) -> None:
        raise DivergedError(3, float("nan"), "nats a token")

    monkeypatch.setattr("rnndrop.training.trainer.Training.run", diverge)
    assert again(overrides).status == "diverged"
    assert set(content(folder)) == {records.RECORD, records.CONFIG, records.HISTORY}


# ---- 5.4 and 8.11: what could not begin is tried again ---------------------------------------------------------------


def test_5_4_a_request_that_could_not_begin_is_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [*QUICK, f"output={tmp_path}"]
    failure(compose(overrides), overrides, "data.root=/nowhere has no ptb.train.txt")
    (job,) = jobs = plan_jobs(overrides)
    assert job.state == "new"
    assert run_all(jobs, Options()) == 0 and job.state == "finished"
    assert "--retry-failed" not in capsys.readouterr().err


def test_5_4_what_failed_in_training_is_skipped_and_the_way_out_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [*QUICK, f"output={tmp_path}"]
    monkeypatch.setattr("rnndrop.training.trainer.Training._step", lambda *_: 1 / 0)
    assert rnndrop.run(overrides).status == "failed"
    jobs = plan_jobs(overrides)
    assert run_all(jobs, Options()) == 1
    assert "--retry-failed runs them again" in capsys.readouterr().err


def test_8_11_a_worker_that_died_at_its_start_is_tried_again(tmp_path: Path) -> None:
    class Mortal:
        free = 1

        def submit(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
            self.jobs = jobs

        def poll(self, seconds: float) -> list[Event]:
            return [Event(job, "died", "SIGKILL") for job in self.jobs]

        def stop(self) -> None:
            pass

    overrides = [*QUICK, f"output={tmp_path}"]
    settled = settled_statuses(False, False)
    (job,) = jobs = plan_jobs(overrides)
    list(run_jobs(jobs, Mortal(), settled))
    assert job.state == "failed" and standing(job.folder).state == "failed"
    (job,) = plan_jobs(overrides)
    assert job.state == "new"
    assert run_one(job.config, overrides, settled=settled).status == "finished"


# ---- 5.8: refused requests leave nothing ------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [["trainer.batch_size=6000"], ["data=ptb", "data.root=/nowhere"], ["data=text", "data.file=/nowhere.txt"]]
)
def test_5_8_a_refused_request_leaves_nothing(tmp_path: Path, wrong: list[str]) -> None:
    overrides = [*QUICK, *wrong, f"output={tmp_path / 'runs'}"]
    with pytest.raises(RequestError):
        rnndrop.run(overrides)
    assert not (tmp_path / "runs").exists()


def test_5_8_a_folder_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    (tmp_path / "runs").mkdir()  # somebody else's
    with pytest.raises(RequestError, match="No space left"):
        rnndrop.run([*QUICK, f"output={tmp_path / 'runs' / 'mine'}"])
    assert list(tmp_path.iterdir()) == [tmp_path / "runs"] and not list((tmp_path / "runs").iterdir())


def test_5_8_a_finished_run_answers_where_nothing_can_be_written_or_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides, folder, before = finished(tmp_path)

    def refuse(*arguments: object) -> None:
        raise RequestError("no")

    monkeypatch.setattr("rnndrop.store.records.prepare", refuse)
    monkeypatch.setattr("rnndrop.runs.execution.load_corpus", refuse)
    assert rnndrop.run(overrides).status == "finished" and content(folder) == before


# ---- 8.8, 8.9, 8.13: what was announced is on the disk, and nothing else ------------------------------


def test_8_8_files_and_folders_are_on_the_disk_before_success_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        events.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def replaced(path: Path, target: Path) -> Path:
        events.append(f"name {Path(target).name}")
        return replace(path, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    _, folder, _ = finished(tmp_path / "new" / "runs")
    last = events.index(f"name {records.RECORD}")
    assert f"sync {folder.name}" in events[last:]  # the name of the record
    for name in records.OUTPUTS:
        written, named = (
            events.index(f"sync .{name}.next"),
            events.index(f"name {name}", events.index(f"sync .{name}.next")),
        )
        assert written < named < last and f"sync {folder.name}" in events[named:last]
    for parent in (folder.parent, folder.parent.parent, tmp_path / "new", tmp_path):
        assert f"sync {parent.name}" in events


def test_8_8_an_empty_history_is_written_again_on_resume(tmp_path: Path) -> None:
    overrides = [*TINY, f"output={tmp_path}"]
    with pytest.raises(Interrupted):
        rnndrop.run(overrides, StopAt(7))
    folder = folder_of(compose(overrides))
    (folder / records.HISTORY).write_text("")
    with pytest.raises(Interrupted):
        rnndrop.run(overrides, StopAt(8))
    assert [row["epoch"] for row in records.read_history(folder)] == [1]
    rnndrop.run(overrides)
    assert [row["epoch"] for row in records.read_history(folder)] == [1, 2]


def test_8_9_a_history_that_could_not_be_written_is_whole_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = files.write_atomically

    def write(path: Path, content: str | bytes, durable: bool = True) -> None:
        if path.name == records.HISTORY:
            raise OSError(errno.EIO, "Input/output error")
        real(path, content, durable)

    monkeypatch.setattr(files, "write_atomically", write)
    _, folder, _ = finished(tmp_path)
    assert "cannot write history.jsonl" in caplog.text
    assert [row["epoch"] for row in records.read_history(folder)] == [1]


def test_8_13_what_dead_writers_have_left_is_removed_by_the_next_run(tmp_path: Path) -> None:
    overrides = [*QUICK, f"output={tmp_path}"]
    folder = folder_of(compose(overrides))
    folder.mkdir(parents=True)
    litter = (".record.json.x8_fq2ab", ".checkpoint-00000005-9f86d081884c7d65.safetensors.0123abcd",
              ".weights.safetensors.next", ".record.json.next.0123abcd", ".heartbeat.json.abcdefgh")  # fmt: skip
    others = ("notes.txt", ".notes.txt.abcdefgh", ".job.json.0123abcd", ".weights.safetensors")
    for name in (*litter, *others):
        (folder / name).write_text("what a writer that died has left")
    rnndrop.run(overrides)
    left = {path.name for path in folder.iterdir()}
    assert not left & set(litter) and left >= set(others)


def test_8_13_a_folder_that_vanishes_in_the_middle_of_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    overrides = [*TINY, "trainer.checkpoint_seconds=0", f"output={tmp_path / 'runs'}"]

    def vanish(progress: Progress) -> None:
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)

    with pytest.raises(NotWrittenError, match="No such file or directory"):
        rnndrop.run(overrides, vanish)
    assert not (tmp_path / "runs").exists() and "no checkpoint at step" in caplog.text


# ---- 5.6: what cannot be shown is replaced ------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "seen"), [("cp1252", "? valid"), ("ascii", "? valid"), ("utf-8", "✓ valid")])
def test_5_6_output_that_cannot_encode_a_sign_stops_nothing(
    tmp_path: Path, rnndrop: Command, encoding: str, seen: str
) -> None:
    overrides, _, _ = finished(tmp_path, "label='größer'")

    def said(*arguments: str) -> str:
        (tmp_path / "out").write_bytes(b"")
        done = rnndrop(*arguments, streams={1: str(tmp_path / "out")}, PYTHONIOENCODING=encoding, COLUMNS="200")
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        return (tmp_path / "out").read_bytes().decode(encoding)

    assert seen in said("sweep", *overrides)
    shown = said("run", "--json", *overrides)
    assert json.loads(shown)["config"]["label"] == "größer"  # programs read it as it is


@pytest.mark.e2e
def test_5_6_the_c_locale(tmp_path: Path) -> None:
    overrides, _, _ = finished(tmp_path)
    plain = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run([RNNDROP, "sweep", *overrides], capture_output=True, timeout=120, env=plain)
    assert done.returncode == 0 and b"? valid" in done.stdout, done.stderr


# ---- 5.7: every local job has a GPU ------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{}, {"gpus_per_node": "1"}])
@pytest.mark.parametrize("visible", [None, "2,5"])
def test_5_7_local_jobs_take_turns_on_the_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, asked: dict[str, str]
) -> None:
    """Two GPUs, faked, and three jobs in processes of submitit's environment."""
    here = {"number": "2,5" if visible else None}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    given: list[tuple[str, Any]] = []

    class Process:
        pid = 0

        def poll(self) -> None:
            return None

    class Handle:
        def __init__(self) -> None:
            self.job_id, self._process = str(len(given)), Process()

    class Executor:
        @contextmanager
        def batch(self) -> Iterator[None]:
            yield

        def submit(self, function: Any, *arguments: Any) -> Handle:
            given.append((function, arguments))
            return Handle()

    cluster = Cluster(backend := Local(asked, 3))
    monkeypatch.setattr(backend, "_executor", lambda folder: Executor())
    cluster.submit(plan_jobs([*QUICK, f"output={tmp_path}", "seed=0,1,2"]), frozenset())

    used: list[tuple[str | None, int]] = []

    def task(*arguments: Any) -> tuple[str, None]:
        used.append((os.environ.get("CUDA_VISIBLE_DEVICES"), arguments[-1]))
        return "done", None

    monkeypatch.setattr("rnndrop.sweeps.cluster.run_task", task)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for function, arguments in given:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0" if asked else "")  # as submitit's controller sets it
        function(*arguments)
    assert used == [(here["number"], 0), (here["number"], 1), (here["number"], 0)]


@pytest.mark.e2e
def test_5_7_a_job_takes_the_place_of_the_one_that_ended(tmp_path: Path) -> None:
    first, second, third = plan_jobs([*QUICK, f"output={tmp_path}", "seed=0,1,2"])
    cluster = Cluster(backend := Local({}, 2))
    cluster.submit([first, second], frozenset())
    try:
        backend.cancel([cluster.submitted.pop(first).identity])
        cluster.submit([third], frozenset())
        assert [backend.at[cluster.submitted[job].identity] for job in (second, third)] == [1, 0]
    finally:
        cluster.stop()
