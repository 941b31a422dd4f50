"""Options of the user's own: `./rnndrop_conf/` and `--config-dir`."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from rnndrop.config import folders
from rnndrop.config.compose import choices, compose
from rnndrop.config.identity import run_id
from rnndrop.errors import RequestError
from tests.conftest import TINY, Command

PLAN = """\
# Locked on the input, and a little DropConnect.
input: {kind: locked, p: 0.4, also: [{kind: token, p: 0.1}]}
weight_hh: {kind: dropconnect, p: 0.2}
"""
EXPERIMENT = """\
# @package _global_
# A small one.
defaults:
  - override /dropout: mine
model: {hidden: 12}
trainer: {epochs: 2}
"""
REPRODUCTION = """\
# Two rows of my own.
common: [model.hidden=12, trainer.epochs=1, data.train_tokens=3000]
seeds: "0"
baseline: none
rows:
  none: {run: [dropout=none]}
  mine: {run: [dropout=mine]}
small: []
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of options beside which we are."""
    folder = tmp_path / "rnndrop_conf"
    for group, name, text in (
        ("dropout", "mine", PLAN),
        ("experiment", "tiny", EXPERIMENT),
        ("reproduce", "two", REPRODUCTION),
    ):
        (folder / group).mkdir(parents=True)
        (folder / group / f"{name}.yaml").write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders, "_named", [])
    return folder


def test_options_are_found_unasked(own: Path) -> None:
    config = compose(["dropout=mine"])
    assert config.dropout.name == "mine"
    assert str(config.plan) == "input locked .4 · input token .1 · weight_hh dropconnect .2"
    assert choices("dropout")["mine"] == "Locked on the input, and a little DropConnect."
    assert compose(["experiment=tiny"]).plan == config.plan and compose(["experiment=tiny"]).model.hidden == 12


def test_a_plan_counts_by_its_content(own: Path) -> None:
    file = own / "dropout" / "mine.yaml"
    first = run_id(compose(["dropout=mine"]))
    spelled = ["dropout.input.kind=locked", "dropout.input.p=0.4", "dropout.input.also=[{kind: token, p: 0.1}]",
               "dropout.weight_hh.kind=dropconnect", "dropout.weight_hh.p=0.2"]  # fmt: skip
    assert first == run_id(compose(spelled))
    file.write_text(PLAN.replace("a little", "some"), "utf-8")
    assert run_id(compose(["dropout=mine"])) == first and choices("dropout")["mine"].endswith("some DropConnect.")
    file.write_text(PLAN.replace("0.2", "0.3"), "utf-8")
    assert run_id(compose(["dropout=mine"])) != first
    file.unlink()
    with pytest.raises(RequestError, match="dropout"):
        compose(["dropout=mine"])


def test_every_command_knows_them(rnndrop: Command, own: Path, tmp_path: Path) -> None:
    swept = rnndrop("sweep", *TINY, "dropout=none,mine", "--jobs", "2", "--json")
    assert swept.returncode == 0, swept.stderr
    assert {record["config"]["dropout"]["name"] for record in json.loads(swept.stdout)} == {"none", "mine"}
    table = rnndrop("report", "--format", "json").stdout
    assert {row["dropout"] for row in json.loads(table)} == {"none", "mine"}
    assert "mine " in rnndrop("ls", "dropout").stdout and "two " in rnndrop("ls", "reproduce").stdout
    assert "2 runs: 2 new" in rnndrop("reproduce", "two", "--dry-run").stderr
    assert "input" in rnndrop("ablate", "mine", *TINY, "--dry-run").stdout
    assert "input" in rnndrop("masks", "dropout=mine", *TINY).stdout
    elsewhere = tmp_path / "elsewhere"
    own.rename(elsewhere)
    assert rnndrop("run", *TINY, "dropout=mine").returncode == 2
    done = rnndrop("run", *TINY, "dropout=mine", "--config-dir", elsewhere, "--json")
    assert done.returncode == 0 and "finished" in done.stderr
    assert "mine" in rnndrop("ls", "dropout", "--config-dir", elsewhere).stdout


def test_a_run_is_repeated_without_the_folder(rnndrop: Command, own: Path, tmp_path: Path) -> None:
    record = json.loads(rnndrop("run", *TINY, "dropout=mine", "seed=3", "--json").stdout)
    shown = f"{record['run_id']}/seed-3"
    typed = json.loads(rnndrop("show", shown, "--json").stdout)["command"].split()
    assert typed == ["rnndrop", "run", *TINY, "dropout=mine", "seed=3"]
    (own / "dropout" / "mine.yaml").write_text(PLAN.replace("0.2", "0.3"), "utf-8")
    again = json.loads(rnndrop("show", shown, "--json").stdout)["command"]
    own.rename(tmp_path / "gone")
    assert json.loads(rnndrop("show", shown, "--json").stdout)["command"] == again and "dropout=mine" not in again
    words = shlex.split(again)[2:]
    assert run_id(compose([word for word in words if not word.startswith("seed=")])) == record["run_id"]
    assert "seed=3" in words


@pytest.mark.parametrize(
    ("file", "text", "request_", "message"),
    [
        ("dropout/naive.yaml", PLAN, "dropout=mine", "rnndrop has an option of this name"),
        ("dropout/other.yaml", "name: naive\n", "dropout=other", "Leave out name: naive."),
        ("dropout/other.yaml", "input: [", "dropout=other", "other.yaml"),
        ("dropout/other.yaml", "- 3\n", "dropout=other", "it must hold settings"),
        ("dropout/other.yaml", "inptu: {kind: locked, p: 0.1}\n", "dropout=other", "Did you mean 'input'"),
        ("dropout/other.yaml", "inptu: {kind: locked, p: 0.1}\n", "dropout=other", "other.yaml is part of it"),
        ("dropout/other.yaml", "input: {kind: locked, p: 2}\n", "dropout=other", "dropout.input.p"),
        ("dropout/other.yaml", "defaults: [nothing]\n", "dropout=other", "nothing"),
        ("dropout/other.yaml", "input: {kind: '${oc.env:HOME}'}\n", "dropout=other", "environment variable"),
        ("dropout/other.yml", PLAN, "dropout=mine", "ends in .yaml"),
        ("dropout/other.yaml", PLAN, "dropout=othr", "Options of your own are read from"),
        ("dropout/other.yaml", PLAN, "dropout=./other.yaml", "give dropout=other"),
        ("model/wide.yaml", "hiden: 3\n", "model=wide", "hiden"),
    ],
)
def test_what_is_wrong_is_one_message(own: Path, file: str, text: str, request_: str, message: str) -> None:
    (own / file).parent.mkdir(exist_ok=True)
    (own / file).write_text(text, "utf-8")
    with pytest.raises(RequestError) as refused:
        compose([request_])
    assert message in str(refused.value)


def test_what_cannot_be_read(rnndrop: Command, own: Path) -> None:
    (own / "dropout" / "bytes.yaml").write_bytes(b"\xff\xfe")
    (own / "reproduce" / "wrong.yaml").write_text("rows: {}\nsmall: []\nfactor: 3\n", "utf-8")
    for arguments in (["run", "dropout=bytes"], ["reproduce", "wrong"], ["ls", "--config-dir", "nowhere"],
                      ["ls", "--config-dir", "rnndrop_conf/dropout"]):  # fmt: skip
        done = rnndrop(*arguments)
        assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.strip(), arguments
    if os.geteuid():
        (own / "dropout" / "mine.yaml").chmod(0)
        assert rnndrop("run", "dropout=mine").returncode == 2
