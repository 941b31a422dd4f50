"""Bad input: exit code 2, one readable message that names the thing, no traceback, nothing on stdout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from rnndrop.values import Drawing, Listed, Masks, Mode, Scale, Style
from tests.conftest import Command

BAD = [
    (["drpout=none"], "drpout", "dropout"),
    (["dropout=nnoe"], "nnoe", "none"),
    (["dropout.recurent.p=0.1"], "recurent", "'recurrent'"),
    (["dropout.recurrent.p=1.5"], "1.5", "below 1"),
    (["dropout.recurrent.kind=word"], "word", "locked_gates"),
    (["dropout.cell.kind=word", "dropout.cell.p=0.2"], "word", "zoneout"),
    (["dropout.recurrent.p=0.3"], "without a kind", "locked"),
    (["dropout.recurrent.varies=[bach]", "dropout.recurrent.p=0.3"], "bach", "batch"),
    (["dropout.input.fill=previous", "dropout.input.kind=naive"], "fill=previous", "cell state"),
    (
        ["dropout.input.kind=naive", "dropout.input.p=.1", "dropout.input.block=1000000000"],
        "block=1000000000",
        "locked",
    ),
    (["dropout=spans", "trainer.window=4"], "dropout.input.block=5", "trainer.window=4"),
    (["model=rnn", "dropout.update.kind=naive", "dropout.update.p=.1"], "dropout.update", "rnn"),
    (["model.hidden=abc"], "model.hidden=abc", "whole number"),
    (["model.hiden=3"], "model.hiden", "'model.hidden'"),
    (["+model.typo=1"], "model.typo", "No setting"),
    (["model=[gru,medum]"], "medum", "'medium'"),
    (["trainer.epochs=0"], "trainer.epochs=0", "greater"),
    (["trainer.learning_rate=nan"], "trainer.learning_rate", "finite"),
    (["trainer.optimizer=sdg"], "sdg", "'sgd'"),
    (["seed=1,2"], "seed=1,2", "rnndrop sweep"),
    (["seed=-1"], "seed=-1", "greater"),
    (["a=[1"], "a=[1", ""),
    (["data=text"], "data.train", "data.file"),
    (["data.level=char"], "synthetic", "char"),
    (["label=${nope}"], "label", "nope"),
    (["label=\udcff"], "label", "UTF-8"),
    (["trainer.threads=100000"], "trainer.threads=100000", "processors"),
    ([f"output={'x' * 300}"], "output=", "too long"),
]


@pytest.mark.parametrize(("overrides", "named", "advised"), BAD, ids=lambda part: " ".join(part)[:40])
def test_wrong_request(rnndrop: Command, overrides: list[str], named: str, advised: str) -> None:
    done = rnndrop("run", *overrides)
    assert done.returncode == 2
    assert named in done.stderr and advised in done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


def test_every_run_of_a_sweep_is_checked_before_the_first_starts(rnndrop: Command, tmp_path: Path) -> None:
    done = rnndrop("sweep", "dropout=none,nnoe")
    assert done.returncode == 2 and "'none'" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize(
    ("override", "advised"),
    [
        ("seed=range(0)", "nothing would run"),
        ("dropout=none,glob(z*)", "Write the values out"),
        ("seed=range(1e9)", "100,000"),
    ],
)
def test_wrong_grid(rnndrop: Command, override: str, advised: str) -> None:
    done = rnndrop("sweep", override)
    assert done.returncode == 2 and override in done.stderr and advised in done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


@pytest.mark.parametrize(("content", "named"), [(b"", "empty"), (b"good\n\xff\xfe bad\n", "UTF-8")])
def test_unusable_text_file(rnndrop: Command, tmp_path: Path, content: bytes, named: str) -> None:
    (tmp_path / "mine.txt").write_bytes(content)
    done = rnndrop("run", "data=text", "data.file=mine.txt")
    assert done.returncode == 2
    assert named in done.stderr and "mine.txt" in done.stderr and "Traceback" not in done.stderr


def test_missing_text_file(rnndrop: Command) -> None:
    done = rnndrop("run", "data=text", "data.train=no.txt", "data.valid=no.txt", "data.test=no.txt")
    assert done.returncode == 2 and "no.txt" in done.stderr and "Traceback" not in done.stderr


def test_output_that_cannot_be_written(rnndrop: Command, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    done = rnndrop("run", "output=taken/runs")
    assert done.returncode == 2
    assert "taken/runs" in done.stderr and "output=" in done.stderr and "Traceback" not in done.stderr


def test_unknown_option_before_a_command_and_none_at_all(rnndrop: Command) -> None:
    done = rnndrop("--nope")
    assert (done.returncode, done.stderr) == (2, "No such option: --nope\nHelp: rnndrop -h\n")
    assert "Usage:" in rnndrop().stdout


def test_unknown_command(rnndrop: Command) -> None:
    done = rnndrop("swep")
    assert done.returncode == 2 and "'sweep'" in done.stderr


@pytest.mark.parametrize(
    ("request_", "message", "valid"),
    [
        ("ls droput", "No group 'droput'. Did you mean 'dropout'?", get_args(Listed)),
        ("ablate locked --mode drob", "No --mode 'drob'. Did you mean 'drop'?", get_args(Mode)),
        ("reproduce zaremba_small --scale smal", "No --scale 'smal'. Did you mean 'small'?", get_args(Scale)),
        ("report --format jsn", "No --format 'jsn'. Did you mean 'json'?", get_args(Style)),
        ("plot curvs", "No kind 'curvs'. Did you mean 'curves'?", get_args(Drawing)),
        ("eval 3f9c21ab --masks it's", 'No --masks "it\'s".', get_args(Masks)),
    ],
)
def test_one_of_a_few_values(rnndrop: Command, request_: str, message: str, valid: tuple[str, ...]) -> None:
    done = rnndrop(*request_.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{message}\nValid: {' '.join(valid)}\n"


def test_help_names_the_values(rnndrop: Command) -> None:
    of = {"ablate": Mode, "reproduce": Scale, "eval": Masks, "plot": Drawing, "ls": Listed, "report": Style}
    for command, values in of.items():
        words = re.findall(r"\w+", rnndrop(command, "--help", COLUMNS="80").stdout)
        assert set(get_args(values)) <= set(words), command


def test_report_of_nothing_says_what_to_run(rnndrop: Command) -> None:
    done = rnndrop("report", "nothing")
    assert done.returncode == 2 and "rnndrop sweep" in done.stderr and "Traceback" not in done.stderr
