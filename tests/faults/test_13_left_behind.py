"""What the thirteenth look found: what an older version, another process or an earlier score has left on disk."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Generator, Sequence
from pathlib import Path

import numpy as np
import pytest

import rnndrop
from rnndrop.errors import RequestError
from rnndrop.runs import reevaluate
from rnndrop.store import records
from rnndrop.sweeps.cluster import Cluster, Task
from rnndrop.sweeps.scheduler import plan_jobs
from tests.conftest import TINY, Command
from tests.faults.test_11_sweeps import Pretended
from tests.invented import write_run


def test_13_a_decision_whose_runs_have_other_scores_now_is_left_out_of_the_report(
    rnndrop: Command, tmp_path: Path
) -> None:
    scores = 5 + 0.01 * np.random.default_rng(0).standard_normal((8, 2)) + [0.0, 0.2]
    for seed, row in enumerate(scores):
        for plan, value in zip(("dropout=none", "dropout=naive"), row, strict=True):
            write_run(tmp_path / "results/runs", [plan], seed, math.exp(value))
    assert rnndrop("decide", "dropout=none,naive").returncode == 0
    assert "decided: ✓" in rnndrop("report").stdout
    folder = next(path.parent for path in (tmp_path / "results/runs").rglob("seed-0/record.json"))
    record = records.read_record(folder)
    assert record
    record.metrics["test_perplexity"] *= 2
    (folder / records.RECORD).write_text(record.to_json())
    done = rnndrop("report")
    assert "decided:" not in done.stdout and "seed-0 had" in done.stderr and "rnndrop doctor" in done.stderr


def test_13_programs_are_told_what_people_are(rnndrop: Command, tmp_path: Path) -> None:
    """What is not alike, on stderr; and a history that is not the record's is named."""
    for seed, revision in enumerate("ab"):
        environment = {"device": "cpu", "git_revision": revision * 40, "git_dirty": False}
        folder = write_run(tmp_path / "results/runs", ["dropout=none"], seed, 100.0, environment=environment)
    done = rnndrop("report", "--format", "csv")
    assert "! not alike: code revision aaaaaaa, bbbbbbb" in done.stderr and "not alike" not in done.stdout
    record = records.read_record(folder)
    assert record
    record.files = {records.HISTORY: "0" * 64}
    (folder / records.RECORD).write_text(record.to_json())
    assert f"left out the history of {folder.relative_to(tmp_path)}" in rnndrop("plot", "curves").stderr


def test_13_what_is_measured_of_old_weights_is_not_told_of_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = [*TINY, "dropout=naive", "output=rr"]
    folder = Path("rr") / rnndrop.run(asked).run_id / "seed-0"
    load = reevaluate.load

    def then_trained_again(*given: object, **more: object) -> object:
        found = load(*given, **more)  # type: ignore[arg-type]
        record = records.read_record(folder)
        assert record
        record.files = {**record.files, records.WEIGHTS: "0" * 64}
        (folder / records.RECORD).write_text(record.to_json())
        return found

    monkeypatch.setattr(reevaluate, "load", then_trained_again)
    with pytest.raises(RequestError, match="trained again while its old weights were measured"):
        reevaluate.evaluate(folder, ["evaluation.mc.samples=2"])
    record = records.read_record(folder)
    assert record and "test_perplexity_mc" not in record.metrics


@pytest.mark.parametrize("trained", [False, True])
def test_13_an_evaluation_of_the_old_weights_does_not_end_a_forced_job(tmp_path: Path, trained: bool) -> None:
    write_run(tmp_path, TINY, 0, 100.0, files={records.HISTORY: "0" * 64})
    (job,) = plan_jobs([*TINY, f"output={tmp_path}", "seed=0"])
    os.utime(job.folder / records.RECORD, (1, 1))

    class Quick(Pretended):
        def submit(self, output: Path, tasks: Sequence[Task], others: Collection[str]) -> Generator[str]:
            record = records.read_record(job.folder)
            assert record
            record.metrics["test_perplexity_mc"] = 99.0
            record.files = {records.HISTORY: "1" * 64} if trained else record.files
            (job.folder / records.RECORD).write_text(record.to_json())
            self.there.add("0")
            yield "0"

    cluster = Cluster(Quick())
    cluster.submit([job], frozenset())
    assert [event.kind for event in cluster.poll(0.01)] == ["done"] * trained
