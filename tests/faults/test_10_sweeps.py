"""Runs and sweeps that took one thing for another, lost what was measured, or would not say no."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import rnndrop
from rnndrop import run as train
from rnndrop.config.compose import compose, expand, sweeps
from rnndrop.errors import NotWrittenError, RequestError
from rnndrop.runs.reevaluate import evaluate
from rnndrop.store import files
from rnndrop.store.checkpoint import paths as checkpoints
from rnndrop.store.ownership import unmeasured
from rnndrop.store.records import read_record
from rnndrop.sweeps.tuning import search
from tests.conftest import SMALL, TINY, Command
from tests.faults.test_10_commands import AS_ANY_USER
from tests.warm import Warm


def words(letters: str) -> str:
    return " ".join(letters[(number * number) % len(letters)] for number in range(1500))


def test_10_a_text_is_read_again_where_the_run_id_says_that_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders with a file of one name, one size and one time, as from an archive."""
    asked = [*TINY, "data.train_tokens=null", "data=text", "data.file=c.txt", f"output={tmp_path / 'rr'}"]
    found = []
    for name, letters in (("a", "abcdefgh"), ("b", "stuvwxyz")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.txt").write_text(words(letters))
        os.utime(tmp_path / name / "c.txt", (1e9, 1e9))
        monkeypatch.chdir(tmp_path / name)
        found.append(rnndrop.run(asked))
    assert found[0].run_id != found[1].run_id
    assert found[0].data["sha256"] != found[1].data["sha256"]


def test_10_a_grid_composes_dictionaries_as_a_run_does() -> None:
    asked = ["dropout=variational", "dropout.recurrent={kind:naive}", "dropout.recurrent={p:.3}"]
    (one,) = expand([*asked, "seed=1"])
    assert compose(one).dropout.recurrent == compose(asked).dropout.recurrent
    assert compose(one).dropout.recurrent.kind == "naive" and compose(one).dropout.recurrent.p == 0.3
    fixed, ranges = sweeps([*asked, "trainer.learning_rate=.1,.2"])
    assert fixed == asked and list(ranges) == ["trainer.learning_rate"]
    assert expand(["seed=1", "seed=2,3"]) == [["seed=2"], ["seed=3"]]
    (one,) = expand(["evaluation.mc={samples:3}", "evaluation.mc={masks:window}"])
    assert compose(one).evaluation.mc.samples == 3


def test_10_a_cluster_does_not_say_that_it_measured_what_it_could_not(rnndrop: Command, tmp_path: Path) -> None:
    assert rnndrop("run", *TINY, "dropout=naive", "output=rr").returncode == 0
    next(tmp_path.rglob("weights.safetensors")).unlink()
    more = ["sweep", *TINY, "dropout=naive", "output=rr", "evaluation.mc.samples=2", "hydra/launcher=submitit_local"]
    done = rnndrop(*more)
    assert done.returncode == 1, done
    assert "could not be measured as asked" in done.stderr
    (record,) = tmp_path.rglob("record.json")
    assert json.loads(record.read_text())["status"] == "finished"


@pytest.mark.parametrize("setting", ["data.train_tokens=3000,4000", "data.level=word,char", "data.min_count=1,5"])
def test_10_what_changes_the_data_is_not_searched(setting: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"cannot be searched: scores on different data have no common ranking"):
        search(["dropout=naive", setting, f"output={tmp_path}"], 4, 1)


def test_10_a_measurement_with_another_window_is_another(tmp_path: Path) -> None:
    record = rnndrop.run([*TINY, "dropout=naive", f"output={tmp_path}"])
    folder = tmp_path / record.run_id / "seed-0"
    asked = ["evaluation.mc.samples=2", "evaluation.mc.masks=window"]
    wider = evaluate(folder, [*asked, "evaluation.window=7"])
    assert wider.metrics["mc"]["evaluation.window"] == 7
    config = compose([*TINY, "dropout=naive", *asked])
    assert unmeasured(config, wider) == ["mc"]
    again = evaluate(folder, asked)
    assert "evaluation.window" not in again.metrics["mc"] and unmeasured(config, again) == []


def test_10_nothing_is_measured_where_nothing_can_be_written(
    rnndrop: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = train([*TINY, "dropout=naive", f"output={tmp_path}"])
    folder = tmp_path / record.run_id / "seed-0"
    folder.chmod(0o555)
    done = rnndrop("eval", folder, "--mc", "2", before=AS_ANY_USER)
    folder.chmod(0o755)
    assert done.returncode == 2 and done.stdout == ""
    assert f"Cannot write to {folder}: Permission denied" in done.stderr and "Measured" not in done.stderr

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomically", full)
    with pytest.raises(NotWrittenError, match=r"No space left on device\. Measured: .*test_perplexity_mc=\d+"):
        evaluate(folder, ["evaluation.mc.samples=2"])


@pytest.mark.parametrize("jobs", [0, -1])
def test_10_no_process_is_no_number_of_processes(tmp_path: Path, jobs: int) -> None:
    asked = [*TINY, "dropout=none,naive", f"output={tmp_path}"]
    with pytest.raises(RequestError, match=f"--jobs {jobs}: give 1 or more"):
        rnndrop.sweep(asked, jobs=jobs)
    with pytest.raises(RequestError, match="--gpus 0: give 1 or more"):
        rnndrop.sweep(asked, gpus=0)
    assert not list(tmp_path.iterdir())


def test_10_a_damaged_copy_stops_nobody(rnndrop: Command, tmp_path: Path) -> None:
    assert rnndrop("run", *TINY, "dropout=naive", "output=rr").returncode == 0
    (folder,) = (tmp_path / "rr").glob("*/seed-0")
    shutil.copytree(folder, folder.with_name("seed-0-backup"))
    (folder.with_name("seed-0-backup") / "record.json").write_text("{")
    done = rnndrop("show", folder.parent.name, "--output", "rr")
    assert done.returncode == 0 and done.stdout.startswith(f"{folder.parent.name}/seed-0   finished")


def test_10_a_reproductions_trial_stays_one_in_a_search(tmp_path: Path) -> None:
    rnndrop.run([*TINY, "dropout=naive", f"output={tmp_path}", "label=trial-low_data"])
    asked = search([*TINY, "dropout=naive", "rate_factor=1,1.5", f"output={tmp_path}"], 2, 0)
    labels = sorted(str(trial.job.config.label) for trial in asked.trials)
    assert labels == ["trial", "trial-low_data"]


def test_10_own_code_is_that_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from rnndrop import own

    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    monkeypatch.setattr(own, "_modules", {})
    monkeypatch.setattr(own, "_added", [])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine_there.py").write_text("from mine_beside import NAME\n")
        (tmp_path / name / "mine_beside.py").write_text(f"NAME = '{name}'\n")
        monkeypatch.chdir(tmp_path / name)
        assert own.imported("data", "mine_there:NAME", str).row == name


def test_10_what_an_observer_raises_is_no_failure_of_the_run(tmp_path: Path) -> None:
    asked = [*TINY, "dropout=naive", f"output={tmp_path}"]
    calls = []

    def watch(progress: rnndrop.Progress) -> None:
        calls.append(progress.step)
        if len(calls) == 3:
            raise ValueError("my plot broke")

    with pytest.raises(ValueError, match="my plot broke"):
        rnndrop.run(asked, watch)
    (folder,) = tmp_path.glob("*/seed-0")
    record = read_record(folder)
    assert record is not None and record.status == "interrupted" and checkpoints(folder)
    whole = rnndrop.run(asked)
    alone = rnndrop.run([*asked[:-1], f"output={tmp_path / 'alone'}"])
    assert whole.status == "finished" and whole.metrics == alone.metrics


def test_10_runs_named_from_within_their_folder_are_measured(rnndrop: Command, warm: Warm, tmp_path: Path) -> None:
    assert rnndrop("sweep", *SMALL, "dropout=naive", "seed=0,1", "output=rr").returncode == 0
    (folder,) = (path for path in (tmp_path / "rr").iterdir() if path.is_dir())
    done = warm.call(["eval", "seed-0", "seed-1", "--mc", "2"], folder)
    assert done.returncode == 0, done.stderr
    assert all("mc" in json.loads(path.read_text())["metrics"] for path in folder.rglob("record.json"))
