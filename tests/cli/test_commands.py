"""The commands as a user types them, in real subprocesses."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from rnndrop.config.cells import CELLS
from rnndrop.config.compose import choices
from tests.conftest import TINY, Command


def test_run_prints_one_result_line_and_progress_on_stderr(rnndrop: Command, tmp_path: Path) -> None:
    done = rnndrop("run", *TINY, "dropout=variational")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("✓ valid ") and "× floor" in line
    assert "epoch  1/2" in done.stderr and "epoch  2/2" in done.stderr and "\x1b" not in done.stderr
    (record,) = tmp_path.rglob("record.json")
    assert str(record.parent.relative_to(tmp_path)) in line


def test_run_json_is_the_record(rnndrop: Command, tmp_path: Path) -> None:
    done = rnndrop("run", *TINY, "--json")
    record = json.loads(done.stdout)
    (path,) = tmp_path.rglob("record.json")
    assert record == json.loads(path.read_text())
    assert record["status"] == "finished" and record["overrides"] == TINY
    assert record["data"]["train_tokens"] == 3000 and record["data"]["vocab_size"] == 2000
    assert record["data"]["floor_perplexity"] == pytest.approx(145.48, abs=0.01)
    assert record["metrics"]["test_perplexity"] > record["data"]["floor_perplexity"]
    assert record["model"]["parameters"] == 2000 * 12 + 2 * (2 * 48 * 12 + 2 * 48) + 2000 * 13
    assert record["timing"]["train_seconds"] > 0 and record["timing"]["tokens_per_second"] > 0
    assert {"torch", "python", "host", "device", "threads", "git_revision", "git_dirty"} <= set(record["environment"])


def test_cfg_marks_what_differs_and_trains_nothing(rnndrop: Command, tmp_path: Path) -> None:
    done = rnndrop("run", "--cfg", "model.hidden=64", "dropout=locked")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert any("hidden: 64" in line and "changed; default 200" in line for line in lines)
    assert sum("changed" in line for line in lines) == 1 + 1 + 3 * 2  # hidden; name; kind and p of three locations
    assert not list(tmp_path.iterdir())


def test_sweep_skips_what_has_finished_and_report_compares(rnndrop: Command, tmp_path: Path) -> None:
    grid = [*TINY, "trainer.epochs=1", "dropout=none,naive", "seed=range(2)"]
    first = rnndrop("sweep", *grid)
    assert first.returncode == 0, first.stderr
    assert len(list(tmp_path.rglob("record.json"))) == 4
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}
    again = rnndrop("sweep", *grid, "--json")
    assert [record["status"] for record in json.loads(again.stdout)] == ["finished"] * 4
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}

    for style, needles in {"rich": ["none", "±", "floor"], "md": ["|", "±"]}.items():
        text = rnndrop("report", "--format", style).stdout
        assert all(needle in text for needle in needles), text
    table = pd.read_csv(io.StringIO(rnndrop("report", "--format", "csv").stdout))
    rows = json.loads(rnndrop("report", "--format", "json").stdout)
    assert sorted(table["dropout"]) == sorted(row["dropout"] for row in rows) == ["naive", "none"]


def test_ls_and_version(rnndrop: Command) -> None:
    plans = rnndrop("ls", "dropout").stdout
    families = dict(re.findall(r"^([a-z ]+):\n((?:  .*\n)+)", plans, flags=re.MULTILINE))
    of = {name: family for family, lines in families.items() for name in re.findall(r"^  (\w+)", lines, re.MULTILINE)}
    assert plans.startswith("none ") and {*of, "none"} == set(choices("dropout"))
    expected = {
        "variational": "activations", "zoneout_words": "inside the cell", "kn_noising": "words", "sparse": "learned",
        "scheduled_sampling": "words", "mixout": "weights", "early": "over training", "h_detach": "gradients",
        "layer_drop": "whole parts",
    }  # fmt: skip
    assert {name: of[name] for name in expected} == expected
    everything = rnndrop("ls").stdout
    assert re.findall(r"^    (\w+) .*\(.* \d{4}\)\.$", everything, re.MULTILINE) == list(CELLS)  # one line each
    assert "ptb" in everything
    assert "@package" not in everything
    assert rnndrop("--version").stdout.startswith("rnndrop ")


def test_help_needs_neither_torch_nor_pandas_nor_hydra(rnndrop: Command) -> None:
    heavy = {"torch", "pandas", "hydra", "pydantic"}
    code = f"import sys, rnndrop.cli.main; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert rnndrop("--help").returncode == 0
