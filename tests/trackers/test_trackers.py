"""A run tells its trackers everything, and nothing that happens to them comes to the run."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.config.identity import former_id, run_id
from rnndrop.config.schema import checked
from rnndrop.errors import RequestError
from rnndrop.runs.reevaluate import evaluate
from rnndrop.runs.runner import run_one
from rnndrop.runs.signals import Interrupted
from rnndrop.store import records
from rnndrop.store.audit import audit
from rnndrop.store.records import Record
from rnndrop.trackers import observer
from tests.conftest import ROOT, TINY, Command
from tests.processes import running, wait_until
from tests.runs.test_resume import StopAt

TOLD = [*TINY, "tracker=[diary]"]


class Diary:
    """What the toy tracker was told."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text("utf-8").splitlines()] if self.path.exists() else []

    def all(self, key: str) -> list[Any]:
        return [line[key] for line in self.lines if key in line]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for rows in self.all("epochs") for row in rows]


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Diary]:
    """The toy tracker, installed as another package would be, and waited for as long as it takes."""
    place = tmp_path / "site"
    (place / "diary-1.0.dist-info").mkdir(parents=True)
    (place / "diary-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: diary\nVersion: 1.0\n")
    points = "[rnndrop.trackers]\ndiary = diary:Diary\nbroken = nowhere:Nothing\n"
    (place / "diary-1.0.dist-info" / "entry_points.txt").write_text(points)
    (place / "diary.py").write_text((ROOT / "tests" / "toys" / "tracker.py").read_text("utf-8"), "utf-8")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("TOY_DIARY", str(tmp_path / "diary.jsonl"))
    monkeypatch.setattr(observer, "GRACE", 60.0)
    monkeypatch.setattr(observer, "START", 60.0)
    own = Diary(tmp_path / "diary.jsonl")
    yield own
    own.path.with_suffix(".go").touch()


def essence(record: Record, output: Path) -> dict[str, Any]:
    """A record and its history without times."""
    tree = json.loads(record.to_json())
    folder = records.run_folder(str(output), record.run_id, record.seed)
    timed = (*records.HISTORY_TIMING,)
    rows = [{key: value for key, value in row.items() if key not in timed} for row in records.read_history(folder)]
    files = {name: value for name, value in tree["files"].items() if name not in ("history.jsonl", "config.yaml")}
    assert next(iter(audit(output))).state == "sound"
    return {**tree, "files": files, "timing": tree["timing"]["resumed_from_steps"], "history": rows, "sha256": None}


def numbers(record: Record) -> list[dict[str, Any]]:
    """The numbers in the history of a run below `runs`."""
    rows = records.read_history(Path("runs", record.run_id, f"seed-{record.seed}"))
    return [{name: value for name, value in row.items() if type(value) in (int, float)} for row in rows]


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The essence of the run without a tracker."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").mkdir()
    with monkeypatch.context() as there:
        there.chdir(tmp_path / "plain")
        return essence(rnndrop.run([*TINY, "output=runs"]), Path("runs"))


def test_a_tracker_is_told_settings_curves_and_scores(
    diary: Diary, plain: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    record = rnndrop.run([*TOLD, "output=runs"])
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert essence(record, Path("runs")) == plain
    assert diary.rows == numbers(record)
    assert diary.all("ended") == ["finished"]
    (metrics,), (tags,), (settings,) = diary.all("metrics"), diary.all("tags"), diary.all("settings")
    assert metrics == {name: value for name, value in record.metrics.items() if isinstance(value, (int, float))}
    assert (tags["run_id"], tags["seed"]) == (record.run_id, "0")
    assert settings["model.hidden"] == 12 and settings["seed"] == 0 and settings["dropout.input.kind"] == "none"
    assert not caplog.messages


@pytest.mark.parametrize(
    "toy, said",
    [
        ("start:raises", "tracker=diary failed: OSError: no. It is tried again with each epoch."),
        ("epochs:raises", "tracker=diary failed: OSError: no. It is tried again with each epoch."),
        ("ended:raises", "tracker=diary failed: OSError: no. It is tried again with each epoch."),
        ("exits", "tracker=diary failed: SystemExit: 3. It is tried again with each epoch."),
        ("start:dies", "tracker=diary has died (SIGKILL). The run goes on without it."),
        ("ended:dies", "tracker=diary has died (SIGKILL). The run goes on without it."),
    ],
)
def test_a_tracker_that_fails(
    diary: Diary, plain: dict[str, Any], toy: str, said: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("TOY", toy)
    assert essence(rnndrop.run([*TOLD, "output=runs"]), Path("runs")) == plain
    assert caplog.messages[0] == said and len(caplog.messages) == (1 if "died" in said else 2)
    if "failed" in said:
        assert "2 epochs, and not how the run ended" in caplog.messages[1]


def test_a_tracker_that_cannot_be_imported(
    diary: Diary, plain: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert essence(rnndrop.run([*TINY, "tracker=[broken,diary]", "output=runs"]), Path("runs")) == plain
    assert caplog.messages == [
        "tracker=broken cannot be imported: ModuleNotFoundError: No module named 'nowhere'. The run goes on without it."
    ]
    assert diary.all("ended") == ["finished"]


@pytest.mark.e2e
def test_an_absent_package_is_named_once_in_a_sweep(diary: Diary, tmp_path: Path) -> None:
    """What stands first on the path is a package that is not there."""
    (tmp_path / "site" / "wandb.py").write_text("raise ModuleNotFoundError(name='wandb')")
    with running(["sweep", *TINY, "seed=0,1", "tracker=[wandb]", "output=runs", "--jobs", 1], tmp_path) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and err.count("tracker=wandb needs wandb: pip install 'wandb>=0.19'") == 1, err


@pytest.mark.parametrize("toy", ["waits", "epochs:waits"])
def test_no_run_waits_for_a_tracker_that_hangs(
    diary: Diary, plain: dict[str, Any], toy: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOY", toy)
    monkeypatch.setattr(observer, "GRACE", 0.0)
    monkeypatch.setattr(observer, "START", 0.0)
    assert essence(rnndrop.run([*TOLD, "output=runs"]), Path("runs")) == plain  # it hangs until the run is over
    assert len(caplog.messages) == 1 and "tracker=diary has 0 of 2 epochs, and not how the run ended" in caplog.text
    diary.path.with_suffix(".go").touch()
    wait_until(lambda: diary.all("ended") == ["finished"])
    assert [row["epoch"] for row in diary.rows] == [1, 2]


@pytest.mark.parametrize("toy", ["raises once", "prints"])
def test_nothing_is_lost_by_a_failure_that_passes(
    diary: Diary, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOY", f"start:{toy}" if toy == "raises once" else toy)
    rnndrop.run([*TOLD, "trainer.epochs=60", f"output={tmp_path / 'runs'}"])
    assert [row["epoch"] for row in diary.rows] == list(range(1, 61)) and diary.all("ended") == ["finished"]
    assert len(caplog.messages) == (toy == "raises once")


def test_a_run_that_goes_on_is_the_same_attempt(diary: Diary, tmp_path: Path) -> None:
    overrides = [*TOLD, "trainer.epochs=3", f"output={tmp_path / 'runs'}"]
    with pytest.raises(Interrupted):
        run_one(compose(overrides), overrides, StopAt(15))
    run_one(compose(overrides), overrides)
    run_one(compose(overrides), overrides, force=True)
    first, second, third = diary.all("start")
    assert first == second != third
    assert diary.all("ended") == ["interrupted", "finished", "finished"]
    assert [row["epoch"] for row in diary.rows][-6:] == [1, 2, 3, 1, 2, 3]


@pytest.mark.e2e
def test_a_sweep_tells_of_every_run(diary: Diary, tmp_path: Path) -> None:
    with running(["sweep", *TOLD, "seed=range(3)", "output=runs", "--jobs", 2], tmp_path) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "tracker" not in err, err
    assert sorted(tags["seed"] for tags in diary.all("tags")) == ["0", "1", "2"]


@pytest.mark.e2e
@pytest.mark.parametrize("signum, code, status", [(signal.SIGINT, 130, "interrupted"), (signal.SIGKILL, -9, "killed")])
def test_a_run_that_is_stopped_tells_its_tracker(
    diary: Diary, signum: int, code: int, status: str, tmp_path: Path
) -> None:
    command = [*TOLD, "trainer.epochs=2000", "trainer.checkpoint_seconds=0"]
    with running(["run", *command], tmp_path) as process:
        wait_until(lambda: diary.rows)
        os.killpg(process.pid, signum)  # as a terminal does
        _, err = process.communicate(timeout=60)
        assert process.returncode == code and "Traceback" not in err
        wait_until(lambda: diary.all("ended") == [status])


def test_names_are_checked_before_a_run(diary: Diary) -> None:
    with pytest.raises(RequestError, match=r"No tracker 'dairy'. Did you mean 'diary'\?\nValid: tensorboard "):
        compose(["tracker=[dairy]"])
    with pytest.raises(RequestError, match=r"tracker=mlflow: give a list, as tracker=\[mlflow\]\."):
        compose(["tracker=mlflow"])
    assert compose(["tracker=[diary,diary]"]).tracker == ("diary",)
    assert run_id(compose(["tracker=[diary]"])) == run_id(compose([]))
    assert former_id(compose(["tracker=[diary]"])) == former_id(compose([]))


def test_the_setting_of_before_is_named() -> None:
    """Also where it stands in a file of options."""
    message = r"^There is no trainer.tensorboard any more: type tracker=\[tensorboard\]\.$"
    tree = compose([]).model_dump()
    with pytest.raises(RequestError, match=message):
        compose(["trainer.tensorboard=true"])
    with pytest.raises(RequestError, match=message):
        checked({**tree, "trainer": {**tree["trainer"], "tensorboard": True}})


def test_a_record_of_before_is_read(rnndrop: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = run_one(compose([*TINY, "output=runs"]), [*TINY, "output=runs"])
    folder = Path("runs", record.run_id, "seed-0")
    record.config["trainer"]["tensorboard"] = True
    record.overrides.append("trainer.tensorboard=true")
    (folder / records.RECORD).write_text(record.to_json(), "utf-8")
    assert "already finished" in rnndrop("run", *TINY, "output=runs").stderr
    assert "tensorboard" not in rnndrop("show", folder).stdout.splitlines()[-1]
    assert evaluate(folder, ["evaluation.mc.samples=2"]).metrics["mc"]["samples"] == 2
