"""`rnndrop.sweep`, `decide`, `load` and `table`: what the commands do, for a program or a notebook."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import rnndrop
from rnndrop.errors import RequestError
from rnndrop.evaluation.perplexity import perplexity, stream_nll
from tests.conftest import TINY, Command
from tests.warm import Warm


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return TINY


@pytest.fixture
def warm_command(tmp_path: Path, warm: Warm) -> Command:
    return lambda *arguments, **options: warm.call(arguments, tmp_path, **options)


def test_a_sweep_and_its_report(request_: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    grid = [*request_, "dropout=none,naive", "seed=0,1"]
    records = rnndrop.sweep(grid, jobs=2)
    assert [(each.config["dropout"]["name"], each.seed) for each in records] == [
        ("none", 0), ("none", 1), ("naive", 0), ("naive", 1),
    ]  # fmt: skip
    assert all(each.status == "finished" for each in records)
    assert [each.to_json() for each in rnndrop.sweep(grid)] == [each.to_json() for each in records]  # none ran twice
    assert capsys.readouterr() == ("", "")  # no terminal, no bar

    shown = rnndrop.table(baseline="none")
    assert list(shown.frame["dropout"].sort_values()) == ["naive", "none"] and len(shown.runs) == 4
    assert "against none" in str(shown) and str(shown) == repr(shown)
    html = shown._repr_html_()
    assert html.startswith("<") and "naive" in html and "±" in html
    assert len(rnndrop.table(conditions=["dropout=naive"]).frame) == 1
    with pytest.raises(RequestError, match="matches dropout=nothing"):
        rnndrop.table(conditions=["dropout=nothing"])


def test_a_notebook_shows_how_far_it_is(request_: list[str], tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = [
        f"import rnndrop\nrecords = rnndrop.sweep({[*request_, 'seed=0,1']})",
        "rnndrop.table()",
    ]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    with warnings.catch_warnings():  # the kernel's own
        warnings.simplefilter("ignore")
        client = nbclient.NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
        swept, shown = client.execute().cells
    (line,) = (each["data"]["text/plain"] for each in swept["outputs"] if "data" in each)
    assert line == "sweep: 2.0 of 2 runs"
    assert not [each for each in swept["outputs"] if "Warning" in str(each)]
    assert shown["outputs"][0]["data"]["text/html"].startswith("<table")


def test_a_failed_run_is_among_the_records(request_: list[str]) -> None:
    grid = [*request_, "trainer.learning_rate=0.1,1e30", "trainer.clip=null", "trainer.optimizer=sgd"]
    assert [each.status for each in rnndrop.sweep(grid)] == ["finished", "diverged"]
    assert "diverged" in str(rnndrop.table())


def test_a_decision_is_that_of_the_command(request_: list[str], warm_command: Command, tmp_path: Path) -> None:
    asked = [*request_, "model.hidden=12,4", "trainer.learning_rate=0.02"]
    decision = rnndrop.decide(asked, margin=0.02, max_seeds=6)
    assert decision.verdict in ("better", "worse", "equal", "undecided")
    assert str(decision).startswith(("✓ ", "? ")) and "model.hidden=12" in str(decision)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}
    done = warm_command("decide", *asked, "--margin", "2%", "--max-seeds", "6", "--json")
    assert json.loads(done.stdout) == json.loads(decision.to_json())
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}
    with pytest.raises(RequestError, match="--margin"):
        rnndrop.decide(asked, margin=-2.0)


def test_a_script_needs_no_guard(request_: list[str], tmp_path: Path) -> None:
    """Its sweep runs in other processes, which would otherwise begin by running the script."""
    script = tmp_path / "mine.py"
    script.write_text(
        f"import rnndrop\nprint([each.status for each in rnndrop.sweep({[*request_, 'seed=0,1']}, jobs=2)])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "['finished', 'finished']\n", done.stderr


def test_a_trained_model(request_: list[str]) -> None:
    record = rnndrop.run([*request_, "dropout=naive"])
    found = rnndrop.load(record.run_id)
    assert found.record.to_json() == record.to_json() and found.config.dropout.name == "naive"
    assert sum(each.numel() for each in found.model.parameters()) == record.model["parameters"]
    nll = stream_nll(found.model, found.config.plan, found.corpus.test, found.config.evaluation)
    assert perplexity(nll) == pytest.approx(record.metrics["test_perplexity"], rel=1e-6)
    with pytest.raises(RequestError, match="run in"):
        rnndrop.load("ffff")


def test_what_is_wrong_is_refused(request_: list[str]) -> None:
    with pytest.raises(RequestError, match="Did you mean 'naive'"):
        rnndrop.sweep([*request_, "dropout=nave"])
    with pytest.raises(RequestError, match="launcher"):
        rnndrop.sweep([*request_, "hydra/launcher=slurm"])
