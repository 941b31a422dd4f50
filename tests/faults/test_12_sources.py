"""What the twelfth look found: recipes, texts and schedulers beside the sources that they build on."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.config.identity import digest, identity, of_before
from rnndrop.errors import RequestError
from rnndrop.report.committed import collected
from rnndrop.report.frames import SkippedRecordWarning
from rnndrop.stats import bootstrap
from rnndrop.store import heartbeat
from rnndrop.store.archive import Archive, export
from rnndrop.store.nll_blocks import block_sums, stretches
from rnndrop.store.status import standing, standings
from rnndrop.sweeps.cluster import Cluster, Task
from rnndrop.sweeps.cluster_submitit import Slurm
from rnndrop.sweeps.launchers import executor, split_launcher
from tests.conftest import ROOT
from tests.invented import write_run

RESULTS = ROOT / "results"


@pytest.mark.parametrize("epochs", [1, 6, 39])
def test_12_annealed_dropout_ends_with_the_training(epochs: int) -> None:
    plan = compose(["dropout=annealed", f"trainer.epochs={epochs}"]).plan
    assert {(rule.schedule, rule.until) for rule in plan.active} == {("linear", epochs)}


def test_12_early_dropout_falls_as_in_its_authors_commands() -> None:
    config = compose(["dropout=early"])
    share = {(rule.schedule, (rule.until or 0) / config.trainer.epochs) for rule in config.plan.active}
    assert share == {("linear", 50 / 300)}


@pytest.mark.parametrize("asked", [
    ["dropout=masked_input", "twin=mir"],
    ["dropout=unigram_noising", "dropout.token.also=[{kind:blank,p:0.5,schedule:uniform}]"],
])  # fmt: skip
def test_12_a_share_of_blanks_for_each_sequence_is_another_run_than_one_for_the_window(
    tmp_path: Path, asked: list[str]
) -> None:
    """What was measured when all sequences had one share is not taken for a run of today, nor shown beside it."""
    folder = write_run(tmp_path, asked, 0, 100.0)
    tree = compose(asked).model_dump(mode="json")
    before = digest(identity(tree, revised=False))
    assert folder.parent.name == digest(identity(tree)) != before
    assert of_before(before, tree) and not of_before(folder.parent.name, tree)
    constant = compose(["dropout=blank_noising"]).model_dump(mode="json")
    assert digest(identity(constant)) == digest(identity(constant, revised=False))
    write_run(tmp_path / "old", asked, 0, 90.0, run_id=before)
    with pytest.warns(SkippedRecordWarning, match="meaning of their settings has changed"):
        found = rnndrop.load_runs(tmp_path, tmp_path / "old")
    assert found["test_perplexity"].to_list() == [100.0]
    row = pd.read_csv(RESULTS / "low_data.csv", dtype=str).iloc[:1].assign(settings=shlex.join(asked))
    row.assign(run_id=folder.parent.name).to_csv(tmp_path / "now.csv", index=False)
    assert len(collected(tmp_path / "now.csv")) == 1
    row.assign(run_id=before).to_csv(tmp_path / "then.csv", index=False)
    with pytest.warns(SkippedRecordWarning, match="1 of 1 runs"):
        assert collected(tmp_path / "then.csv").empty


@pytest.mark.parametrize(("seconds", "alive"), [(-600, True), (-86_400, False), (5, True), (60, False)])
def test_12_a_beat_of_tomorrow_is_of_no_process(tmp_path: Path, seconds: float, alive: bool) -> None:
    """Clocks of two hosts differ by minutes; a copy, or a clock that was wrong, can leave a time of years ahead."""
    folder = write_run(tmp_path, ["dropout=none"], 0, 100.0)
    beat = folder / heartbeat.HEARTBEAT
    beat.write_text('{"host": "a", "pid": 1}')
    os.utime(beat, (time.time() - seconds,) * 2)
    assert (standing(folder).state == "running") is alive
    heartbeat.bury(folder)
    assert beat.exists() is alive


@pytest.mark.parametrize(("level", "tokens", "length", "number"), [
    ("word", 82_430, 1000, 83), ("char", 450_000, 5000, 90), ("word", 6000, 300, 20), ("word", 90, 20, 5),
])  # fmt: skip
def test_12_the_text_is_redrawn_in_stretches(level: str, tokens: int, length: int, number: int) -> None:
    nll = np.random.default_rng(0).gamma(2.0, 2.0, tokens)
    sums, counts = stretches(block_sums(nll), level)
    assert len(counts) == number and set(counts[:-1]) == {length} and counts.sum() == tokens
    expected = [nll[start : start + length].sum() for start in range(0, tokens, length)]
    assert sums == pytest.approx(expected, rel=1e-5)


def test_12_an_interval_of_a_text_of_articles_holds_its_mean() -> None:
    """Articles of 800 words that differ: redrawing blocks of 20 missed the mean of all texts in two of three cases."""
    dice, held = np.random.default_rng(1), {"stretches": 0, "blocks": 0}
    for _ in range(100):
        easy = np.repeat(dice.normal(5, 0.6, 100), 800)[:40_000]
        blocks = block_sums(easy + dice.normal(0, 3, len(easy)))
        for name, each in (("stretches", stretches(blocks, "word")), ("blocks", blocks)):
            low, high = np.quantile(bootstrap(each[:1], each[1], samples=300), [0.025, 0.975])
            held[name] += low < 5 < high
    assert held["stretches"] >= 85 and held["blocks"] <= 50


def test_12_settings_of_slurm_reach_it_as_they_were_written() -> None:
    """Slurm reads a bare number as minutes: 4:00:00, read in base 60, asked for ten days."""
    pytest.importorskip("submitit")
    asked = ["time=4:00:00", "account=0123", "partition=on", "cpus_per_task=4", "additional_parameters={mail-type:END}"]
    launcher, _ = split_launcher(["hydra/launcher=submitit_slurm", *(f"hydra.launcher.{each}" for each in asked)])
    made = executor(launcher, 2)
    assert isinstance(made, Cluster) and isinstance(made.backend, Slurm)
    found = made.backend.parameters
    assert (found["slurm_account"], found["slurm_partition"], found["timeout_min"]) == ("0123", "on", 60)
    assert found["cpus_per_task"] == 4 and found["slurm_srun_args"] == ["--cpus-per-task=4"]
    assert found["slurm_additional_parameters"] == {"requeue": True, "time": "4:00:00", "mail-type": "END"}
    assert found["tasks_per_node"] == 1 and found["slurm_array_parallelism"] == 1000


def test_12_a_sweep_within_a_job_of_slurms_gives_its_jobs_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    inherited = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "2", "SLURM_RESTART_COUNT": "1", "SRUN_DEBUG": "3"}
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "mine"}
    for name, value in (inherited | kept).items():
        monkeypatch.setenv(name, value)
    given: list[dict[str, str]] = []

    def give(self: Slurm, output: Path, calls: Sequence[object]) -> list[object]:
        given.append(dict(os.environ))
        return []

    monkeypatch.setattr(Slurm, "_give", give)
    job = compose(["dropout=none"])
    list(Slurm({}, 2).submit(Path(), [Task("", job, [], Path(), False, frozenset())], []))
    assert not inherited.keys() & given[0].keys() and kept.items() <= given[0].items()
    assert inherited.items() <= os.environ.items()


def test_12_slurms_commands_see_all_jobs_and_end_no_sweep(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("submitit")
    told = tmp_path / "told"
    for name, variable in (("squeue", "SQUEUE_STATES"), ("scancel", "SCANCEL_STATE")):
        command = tmp_path / name
        command.write_text(f'#!/bin/sh\necho {name} "$@" ${variable} >> {told}\necho 7_1\n')
        command.chmod(0o755)
        monkeypatch.setenv(variable, "pending")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    slurm = Slurm({}, 2)
    assert slurm.present() == {"7_1"}
    slurm.cancel(["7_1", "7_2"])
    asked, cancelled = told.read_text().splitlines()
    assert "--all" in asked and "pending" not in asked and cancelled == "scancel 7_1 7_2"
    (tmp_path / "scancel").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    slurm.cancel(["7_1"])
    assert "jobs may run on" in caplog.text


def test_12_an_archive_has_times_that_files_have(tmp_path: Path) -> None:
    """88 bits of seconds fit into a tar, and into no file system: refused before anything is written."""
    folder = write_run(tmp_path / "runs", ["dropout=none"], 0, 100.0)
    path = tmp_path / "one.tar"
    export(standings([folder]), path, weights=False)
    content = bytearray(path.read_bytes())
    content[136:148] = b"\x80" + (1 << 70).to_bytes(11, "big")
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    path.write_bytes(content)
    with pytest.raises(RequestError, match="has a time that no file has"):
        Archive(path)
