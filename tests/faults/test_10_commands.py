"""A command says what it was refused, and by whom; it overwrites nothing with nothing."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY, Command

AS_ANY_USER = f"{__name__}:give_up_powers"


def give_up_powers() -> None:
    """Be let in by modes alone, as root is not."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capset(header, none) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture
def runs(rnndrop: Command, tmp_path: Path) -> Path:
    """A folder with one run of a fifth of a second."""
    assert rnndrop("run", *TINY, "output=rr").returncode == 0
    return tmp_path / "rr"


@pytest.fixture
def shut(runs: Path) -> Iterator[Path]:
    """The folder, which nobody may read now but root."""
    runs.chmod(0)
    yield runs
    runs.chmod(0o755)


def test_10_an_archive_is_not_replaced_by_one_without_runs(rnndrop: Command, runs: Path, tmp_path: Path) -> None:
    assert rnndrop("export", "-o", "a.tar", "--output", "rr").returncode == 0
    before = (tmp_path / "a.tar").read_bytes()
    next(runs.rglob("record.json")).write_text("{")
    done = rnndrop("export", "-o", "a.tar", "--output", "rr")
    assert done.returncode == 2
    assert "None of the 1 run can be exported; a.tar is left as it was." in done.stderr
    assert "left out rr/" in done.stderr
    assert (tmp_path / "a.tar").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "rr"]


@pytest.mark.parametrize(
    "command",
    [
        ["report", "rr"],
        ["plot", "curves", "rr"],
        ["watch", "rr", "--once"],
        ["watch", "rr", "--json"],
        ["doctor", "rr"],
        ["show", "abc", "--output", "rr"],
        ["rm", "--where", "seed=0", "--output", "rr", "--yes"],
        ["eval", "--where", "seed=0", "--output", "rr"],
        ["gc", "--output", "rr", "--dry-run"],
        ["export", "-o", "a.tar", "--output", "rr"],
        ["report", "rr/deeper"],
        ["watch", "rr/deeper", "--once"],
    ],
)
def test_10_a_folder_that_may_not_be_read_is_not_an_empty_one(
    rnndrop: Command, shut: Path, command: list[str]
) -> None:  # fmt: skip
    done = rnndrop(*command, before=AS_ANY_USER)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(("Cannot read rr", "rr"))
    assert "Permission denied" in done.stderr


def test_10_a_run_may_go_where_nobody_may_list(rnndrop: Command, runs: Path) -> None:
    runs.chmod(0o300)
    done = rnndrop("run", *TINY, "output=rr", "seed=1", before=AS_ANY_USER)
    runs.chmod(0o755)
    assert done.returncode == 0, done.stderr


def test_10_settings_are_printed_with_a_debug_preset_too(rnndrop: Command) -> None:
    done = rnndrop("run", "debug=one_batch", "dropout=naive", "--cfg")
    assert done.stdout == rnndrop("run", "dropout=naive", "--cfg").stdout
    done = rnndrop("run", "debug=one_batch", "--force")
    assert (done.returncode, done.stderr) == (2, "debug=one_batch records nothing: leave out --force.\n")


@pytest.mark.parametrize(
    ("command", "made"),
    [
        (["report", "~/rr", "--html=~/page.html"], "page.html"),
        (["plot", "curves", "~/rr", "--output=~/curves.svg"], "curves.svg"),
        (["masks", "dropout=locked", "--output=~/masks.svg"], "masks.svg"),
        (["export", "~/rr", "--file=~/runs.tar"], "runs.tar"),
        (["watch", "~/rr", "--once"], ""),
        (["doctor", "~/rr"], ""),
        (["show", "~/rr/{run}/seed-0"], ""),
    ],
)
def test_10_a_home_that_the_shell_leaves_alone(
    rnndrop: Command, runs: Path, tmp_path: Path, command: list[str], made: str
) -> None:
    run = next(path.name for path in runs.iterdir() if path.is_dir())
    done = rnndrop(*(each.format(run=run) for each in command), HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert not made or (tmp_path / made).stat().st_size > 1000
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    "command", [["report", "--html="], ["plot", "curves", "--output="], ["watch", ""], ["report", ""], ["doctor", ""]]
)
def test_10_an_empty_name_is_no_file(rnndrop: Command, command: list[str]) -> None:
    done = rnndrop(*command)
    assert (done.returncode, done.stderr) == (2, "'' names no file and no folder.\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_10_a_closed_stream_stops_nothing(tmp_path: Path, closed: str) -> None:
    command = [sys.executable, "-c", "from cli.main import main; main()", "run", *TINY, "output=rr"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("✓" in done.stdout) == (">&-" not in closed.split())
    (record,) = (tmp_path / "rr").rglob("record.json")
    assert record.read_text().startswith("{")


def test_10_a_question_without_a_terminal_to_answer_on_is_refused(runs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from cli.main import main; main()", "rm", "rr"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "There is no terminal to ask on: add --yes." in done.stderr
    assert list(runs.rglob("record.json"))


@pytest.mark.parametrize("command", [["rm"], ["gc"], ["export", "-o", "b.tar"], ["eval"]])
def test_10_two_folders_that_contradict_are_refused(rnndrop: Command, runs: Path, command: list[str]) -> None:
    name = next(path.name for path in runs.iterdir() if path.is_dir())
    done = rnndrop(*command, name, "output=rr", "--output", "other")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "The folder of the runs is given as rr and as other. Give one.\n"
    assert rnndrop("export", "-o", "b.tar", name, "output=rr/", "--output", "./rr").returncode == 0


@pytest.mark.parametrize("command", [["gc", "--yes"], ["rm", "--where", "seed=0", "--yes"], ["run", *TINY]])
def test_10_an_empty_output_is_not_the_current_folder(rnndrop: Command, runs: Path, command: list[str]) -> None:
    done = rnndrop(*command, "output=")
    assert (done.returncode, done.stderr) == (2, "output= names no folder.\n")
    assert list(runs.rglob("record.json"))


def test_10_what_matches_nothing_is_named(rnndrop: Command, runs: Path) -> None:
    assert rnndrop("report", "rr", "--last", "0d").stderr == "None of the 1 runs in rr matches --last.\n"
    both = rnndrop("report", "rr", "--last", "0d", "--where", "seed=0").stderr
    assert both == "None of the 1 runs in rr matches --where and --last.\n"
    assert rnndrop("report", "rr", "--where", "seed<x").stderr == "--where seed<x: < compares numbers.\n"
