"""Files and records on other people's machines: modes, locks, unreadable files, what a crash leaves, refused requests.

The numbers in the names are those of the faults that were found in the first version, some of section 8 among them.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import rnndrop
from rnndrop import lock, records
from rnndrop.checkup import examine
from rnndrop.compose import compose
from rnndrop.errors import RequestError
from rnndrop.finished import evaluate
from rnndrop.identity import folder_of
from rnndrop.lock import HELD, BusyError
from rnndrop.tuning import space, tune
from tests.conftest import TINY
from tests.processes import RNNDROP

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


# ---- 5.5: locks -------------------------------------------------------------------------------------------------

MAIN = "from rnndrop.cli.main import main\nmain()"
WITHOUT_LOCKS = (
    "import errno, fcntl\n"
    "def flock(descriptor, operation): raise OSError(errno.ENOLCK, 'no locks here')\n"
    "fcntl.flock = flock\n"
)


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
    searched = space([*overrides, "dropout.recurrent.kind=locked", "dropout.recurrent.p=.1,.2"])
    assert len(tune(searched, 1, lambda number, record, params: None, lambda progress: None).trials) == 1
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


def test_5_5_hosts_with_and_without_locks_keep_each_other_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"
    take = f"from pathlib import Path\nfrom rnndrop.lock import held\nwith held(Path({str(path)!r})): "
    with lock.held(path):
        other = python(f"{WITHOUT_LOCKS}{take}pass")
    assert "BusyError" in other.stderr and str(path) in other.stderr
    assert python(f"{WITHOUT_LOCKS}{take}import os; os._exit(0)").returncode == 0  # crashes with the lock
    with pytest.raises(BusyError, match=f"Remove that file.*{HELD}|{HELD}.*Remove that file"), lock.held(path):
        pass
    path.with_name(f".lock{HELD}").unlink()
    with lock.held(path):
        pass


def test_5_5_a_sweep_says_which_file_to_remove_after_a_crash(tmp_path: Path) -> None:
    folder = folder_of(compose([*QUICK, f"output={tmp_path}"]))
    folder.mkdir(parents=True)
    mark = folder / f"{records.LOCK}{HELD}"
    mark.write_text("elsewhere, process 1")
    program = [RNNDROP, "sweep", *QUICK, f"output={tmp_path}"]
    with subprocess.Popen(program, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if HELD in line)
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
