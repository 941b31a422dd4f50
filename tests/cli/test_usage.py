"""`--help`: of every command, with examples that work, as wide as the terminal."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from rnndrop.cli.examples import EXAMPLES

from tests.conftest import TINY, Command
from tests.terminals import on_a_terminal
from tests.warm import Warm

OVERRIDES = ("run", "sweep", "ablate", "variance", "decide", "tune", "reproduce")
DRY = ("ablate", "variance", "decide", "tune", "reproduce")


@pytest.mark.parametrize("command", EXAMPLES)
def test_every_command_has_help_with_three_examples(rnndrop: Command, command: str) -> None:
    done = rnndrop(*command.split(), "-h", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == rnndrop(*command.split(), "--help", COLUMNS="80").stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 and "-h, --help" in done.stdout
    _, _, examples = done.stdout.partition("Examples:\n")
    assert examples.split("\n")[:3] == [f"  {example}" for example in EXAMPLES[command]]


def test_all_commands_have_examples(rnndrop: Command) -> None:
    listed = re.findall(r"^  (\w+)  ", rnndrop("-h").stdout, flags=re.MULTILINE)
    assert set(listed) == set(EXAMPLES) - {""}


def test_help_and_tables_know_how_wide_the_terminal_is(rnndrop: Command) -> None:
    for columns in (80, 95):
        _, said = on_a_terminal(rnndrop, ["sweep", "-h"], columns)
        lines = re.sub(r"\x1b\[[\d;]*m", "", said.decode()).splitlines()
        assert columns - 12 < max(map(len, lines)) <= columns
        assert b"\x1b[1mUsage:\x1b[0m" in said and "\N{REPLACEMENT CHARACTER}".encode() not in said
    assert b"\x1b[" not in on_a_terminal(rnndrop, ["sweep", "-h"], NO_COLOR="1")[1]


@pytest.fixture(scope="module")
def made(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs and archives of them, as the examples take them for granted."""
    folder = tmp_path_factory.mktemp("examples")
    for line in (
        ["sweep", "dropout=none,naive,variational", "seed=0,1", *TINY],
        ["sweep", "dropout.recurrent.kind=locked", "dropout.recurrent.p=0.1,0.3", *TINY],
        ["export", "-o", "runs.tar"],
    ):
        done = warm.call(line, folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("example", [each for name in EXAMPLES if name for each in EXAMPLES[name]])
def test_every_example_works(made: Path, warm: Warm, tmp_path: Path, example: str) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    run_id = next(path.parent.name for path in sorted(tmp_path.glob("results/runs/*/seed-1")))
    name, *words = shlex.split(example.replace("3f9c21ab", run_id).replace("--mc 100", "--mc 2"))[1:]
    keys = {word.partition("=")[0] for word in words}
    words += (
        [each for each in TINY if each.partition("=")[0] not in keys]
        if name in OVERRIDES and "--committed" not in words
        else []
    )
    words += ["--dry-run"] if name in DRY and not {"--dry-run", "--plan-only", "--committed"} & {*words} else []
    words += ["--yes"] if name in ("rm", "gc") else []
    done = warm.call([name, *words], tmp_path, COLUMNS="120", RNNDROP_DATA=os.devnull)
    assert done.returncode == 0, f"{example}: {done.stderr}"


def test_a_run_on_a_terminal_says_what_it_works_with_and_draws_its_bar(rnndrop: Command) -> None:
    code, said = on_a_terminal(rnndrop, ["run", "dropout=variational", *TINY], 90)
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", said.decode())
    assert code == 0 and "\N{REPLACEMENT CHARACTER}" not in text
    assert "synthetic · 2,000 types · 3,000 training tokens · floor 145.5 test, 151.1 valid" in text
    assert re.search(r"lstm 2×12 · [\d.]+k parameters · 2 epochs · cpu, 1 thread · seed 0\r", text)
    assert "epoch  2/2" in text and "━━━" in text and "recurrent locked .3" in text


def test_a_sweep_on_a_terminal_draws_one_bar(rnndrop: Command) -> None:
    code, said = on_a_terminal(rnndrop, ["sweep", "dropout=none,naive", *TINY], 90)
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", said.decode())
    assert code == 0 and "\N{REPLACEMENT CHARACTER}" not in text
    assert "2 runs: 2 new" in text and "2 of 2 runs" in text and "2 ran now (2 finished)" in text


def test_results_of_a_sweep_go_to_a_file_though_the_bar_is_on_a_terminal(rnndrop: Command, tmp_path: Path) -> None:
    results = tmp_path / "results.txt"
    code, said = on_a_terminal(rnndrop, ["sweep", "dropout=none,naive", *TINY], stdout=results)
    assert code == 0 and "━━━".encode() in said
    assert len(re.findall(r"✓ valid [\d.]+", results.read_text())) == 2 and "✓".encode() not in said


def test_messages_stand_above_the_bar(rnndrop: Command) -> None:
    _, said = on_a_terminal(rnndrop, ["sweep", "dropout=none", *TINY], 90)
    assert on_a_terminal(rnndrop, ["run", "dropout=none", *TINY], 90)[1].endswith(b"seed-0\r\n")
    for line in re.split(rb"\r\n|\r|\x1b\[2K", said):
        assert "━".encode() not in line or b"Compiling" not in line
