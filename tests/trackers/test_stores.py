"""MLflow, W&B and TensorBoard for real: the numbers in their stores are those of the records."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.runs.runner import run_one
from rnndrop.runs.signals import Interrupted
from rnndrop.store import records
from rnndrop.store.records import Record
from rnndrop.trackers import observer
from tests.conftest import TINY, Command
from tests.processes import wait_until
from tests.runs.test_resume import StopAt

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wait for a tracker as long as it takes, in a folder of the test's own."""
    monkeypatch.setattr(observer, "GRACE", 120.0)
    monkeypatch.setattr(observer, "START", 120.0)
    monkeypatch.chdir(tmp_path)


def curves(record: Record) -> dict[tuple[str, int], float]:
    """Every number of a run below `runs` by name and epoch, the final ones with the last epoch."""
    rows = records.read_history(Path("runs", record.run_id, f"seed-{record.seed}"))
    found = {
        (name, row["epoch"]): value
        for row in rows
        for name, value in row.items()
        if type(value) in (int, float)
    }  # fmt: skip
    return {**found, **{(f"final/{name}", rows[-1]["epoch"]): value for name, value in finals(record).items()}}


def finals(record: Record) -> dict[str, float]:
    return {name: value for name, value in record.metrics.items() if type(value) in (int, float)}


def client(code: str, *arguments: object) -> Any:
    """What a package's own code prints as JSON, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---- MLflow ------------------------------------------------------------------------------------------------------

READ = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[1])
print(json.dumps([
    {"status": run.info.status, "params": run.data.params, "tags": run.data.tags, "metrics": [
        [name, each.step, each.value] for name in run.data.metrics
        for each in client.get_metric_history(run.info.run_id, name)]}
    for run in client.search_runs([experiment.experiment_id])
]))
"""


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of an MLflow server and the file of its SQLite store."""
    if find_spec("mlflow") is None or find_spec("mlflow.server") is None:
        pytest.skip("mlflow is absent: pip install mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    store, address = folder / "mlflow.db", f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{store}",
               "--default-artifact-root", folder / "artifacts", "--port", port, "--workers", 1]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            list(map(str, command)), cwd=folder, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )  # fmt: skip
    try:
        wait_until(lambda: _answers(f"{address}/health") or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield address, store
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def _answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@pytest.mark.slow
def test_mlflow_has_the_numbers_of_the_record(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also of a run that was stopped and went on: it is one run there, with one value for each epoch."""
    address, store = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    overrides = [*TINY, "trainer.epochs=3", "tracker=[mlflow]", "label=stopped", "dropout=variational", "output=runs"]
    with pytest.raises(Interrupted):
        run_one(compose(overrides), overrides, StopAt(15))
    assert [run["status"] for run in client(READ, "stopped")] == ["KILLED"]
    record = run_one(compose(overrides), overrides)
    (run,) = client(READ, "stopped")
    assert not caplog.messages and run["status"] == "FINISHED"
    assert sorted(map(tuple, run["metrics"])) == sorted((*where, value) for where, value in curves(record).items())
    assert run["tags"]["rnndrop.run_id"] == record.run_id and run["tags"]["rnndrop.seed"] == "0"
    assert run["params"]["model.hidden"] == "12" and run["params"]["dropout.recurrent.kind"] == "locked"
    with sqlite3.connect(store) as database:
        rows = database.execute("select key, step, value from metrics").fetchall()
    assert sorted(rows) == sorted((*where, value) for where, value in curves(record).items())


@pytest.mark.slow
def test_workers_of_a_sweep_share_an_experiment(
    server: tuple[str, Path], rnndrop: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = [*TINY, "trainer.epochs=40", "seed=0,1", "tracker=[mlflow]", "label=shared", "output=runs"]
    done = rnndrop("sweep", *request, "--jobs", 2, MLFLOW_TRACKING_URI=server[0])
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server[0])
    wait_until(lambda: [run["status"] for run in client(READ, "shared")] == ["FINISHED", "FINISHED"])
    assert sorted(run["tags"]["rnndrop.seed"] for run in client(READ, "shared")) == ["0", "1"]


@pytest.mark.parametrize("server_is", ["down", "silent"])
def test_a_server_that_cannot_be_reached(
    server_is: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if find_spec("mlflow") is None:
        pytest.skip("mlflow is absent: pip install mlflow-skinny")
    monkeypatch.setattr(observer, "GRACE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and never answers
        port = silent.getsockname()[1] if server_is == "silent" else free_port()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        record = rnndrop.run([*TINY, "tracker=[mlflow]", "output=runs"])
    assert record.status == "finished" and record.metrics == rnndrop.run([*TINY, "output=plain"]).metrics
    assert "tracker=mlflow has 0 of 2 epochs, and not how the run ended" in caplog.messages[-1]


# ---- W&B ---------------------------------------------------------------------------------------------------------

SCAN = """
import json, struct, sys
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record
def records(data, at=7):  # after ':W&B', a magic number and the version: LevelDB's log, in blocks of 32 KB
    whole = b""
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:
            at += 2**15 - at % 2**15
        _, size, kind = struct.unpack("<IHB", data[at:at + 7])
        whole, at = whole + data[at + 7:at + 7 + size], at + 7 + size
        if kind in (1, 4):  # whole, or its last part
            yield Record.FromString(whole)
            whole = b""
found = {"rows": [], "summary": {}, "exit": []}
name = lambda item: "/".join(item.nested_key) or item.key
for each in records(Path(sys.argv[1]).read_bytes()):
    kind = each.WhichOneof("record_type")
    if kind == "run":
        found |= {"id": each.run.run_id, "tags": list(each.run.tags), "project": each.run.project,
                  "host": each.run.host,
                  "config": {name(item): json.loads(item.value_json) for item in each.run.config.update}}
    if kind == "history":
        found["rows"].append({name(item): json.loads(item.value_json) for item in each.history.item})
    if kind == "summary":
        found["summary"] |= {name(item): json.loads(item.value_json) for item in each.summary.update}
    if kind == "exit":
        found["exit"].append(each.exit.exit_code)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_wandb_has_the_numbers_of_the_record(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Offline, read from its own files. A run that goes on is a second file of the same run, which has all rows."""
    if find_spec("wandb") is None:
        pytest.skip("wandb is absent: pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    overrides = [*TINY, "trainer.epochs=3", "tracker=[wandb]", "dropout=variational", "output=runs"]
    with pytest.raises(Interrupted):
        run_one(compose(overrides), overrides, StopAt(15))
    (first,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    record = run_one(compose(overrides), overrides)
    (second,) = set(tmp_path.glob("wandb/offline-run-*/*.wandb")) - {first}
    before, run = client(SCAN, first), client(SCAN, second)
    assert not caplog.messages and before["id"] == run["id"] and run["project"] == "rnndrop"
    assert len(before["rows"]) < 3 and before["exit"] == [1] and run["exit"] == [0]
    own = {(name, int(row["epoch"])): row[name] for row in run["rows"] for name in row if not name.startswith("_")}
    own |= {(name, 3): value for name, value in run["summary"].items() if name.startswith("final/")}
    assert own == curves(record)
    assert set(run["tags"]) == {record.run_id, "seed-0"}
    assert run["config"]["model"]["hidden"] == 12 and run["config"]["rnndrop"]["run_id"] == record.run_id
    assert run["host"] == "rnndrop"  # and not that of this machine


# ---- TensorBoard -------------------------------------------------------------------------------------------------

EVENTS = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload()
print(json.dumps({
    "numbers": [[tag, each.step, each.value] for tag in events.Tags()["scalars"] for each in events.Scalars(tag)],
    "texts": {tag: events.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]},
}))
"""


def test_tensorboard_has_the_numbers_of_the_record(caplog: pytest.LogCaptureFixture) -> None:
    """Also of a run that was stopped and went on: one value for each epoch."""
    if find_spec("tensorboard") is None:
        pytest.skip("tensorboard is absent: pip install 'rnndrop[tensorboard]'")
    overrides = [*TINY, "trainer.epochs=3", "tracker=[tensorboard]", "dropout=variational", "output=runs"]
    with pytest.raises(Interrupted):
        run_one(compose(overrides), overrides, StopAt(15))
    record = run_one(compose(overrides), overrides)
    folder = Path("runs", record.run_id, "seed-0", "tensorboard")
    assert len(list(folder.iterdir())) == 1  # two would be shown together
    found = client(EVENTS, folder)
    own = {(name, step): value for name, step, value in found["numbers"]}
    assert not caplog.messages and len(own) == len(found["numbers"])
    assert own == pytest.approx(curves(record), rel=1e-6)  # its numbers are float32
    assert record.run_id in found["texts"]["tags/text_summary"]
    assert "| model.hidden | 12 |" in found["texts"]["settings/text_summary"]
