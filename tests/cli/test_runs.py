"""Runs as objects, as a user moves, merges and deletes them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnndrop.config.compose import compose
from rnndrop.config.identity import former_id, run_id
from rnndrop.report.frames import SkippedRecordWarning, load_runs
from rnndrop.runs.pruning import Pruned
from rnndrop.runs.runner import run_one
from rnndrop.store import checkpoint, records
from rnndrop.store.audit import audit
from rnndrop.store.progress import Progress, RunObserver
from scripts.objects import write
from tests.conftest import ROOT, TINY, Command
from tests.faults.conftest import few, hundred, invent
from tests.invented import UNREAD, write_run

__all__ = ["few", "hundred", "invent"]


def hosts(few: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The runs of two hosts, five of which both have; one failed, and one diverged on the second."""
    a, b = tmp_path / "a", tmp_path / "b"
    for number, folder in enumerate(sorted(few.glob("*/seed-*"))):
        for place, takes in ((a, number < 10), (b, number >= 5)):
            if takes:
                shutil.copytree(folder, place / folder.relative_to(few))
    write_run(b, ["dropout=locked"], 0, 5.0, status="diverged", metrics={}, error="the loss is nan")
    write_run(b, ["dropout=awd"], 0, 5.0, status="failed", error="no room")
    return a, b


@pytest.mark.parametrize("style", ["json", "md", "csv", "latex", "html"])
def test_two_hosts_merged_in_three_ways_give_one_table(style: str, few: Path, rnndrop: Command, tmp_path: Path) -> None:
    a, b = hosts(few, tmp_path)
    merged = shutil.copytree(a, tmp_path / "merged")
    shutil.copytree(b, merged, dirs_exist_ok=True)  # as rsync does
    for place in (a, b):
        assert rnndrop("export", "-o", f"{place}.tar", "--weights", "--output", place).returncode == 0
        assert rnndrop("import", f"{place}.tar", "output=imported").returncode == 0
    options = ["--format", style, "--baseline", "none"]
    ways = (["merged"], ["imported"], ["a", "b"], ["b", "a", "a/../a"])
    done = [rnndrop("report", *folders, *options) for folders in ways]
    texts = {each.stdout.replace("imported", "merged") for each in done}
    if style in ("json", "csv"):
        assert len(texts) == 1
    else:  # the footer has the folder of what failed
        assert len({text.replace(" --output merged", "").replace(" --output b", "") for text in texts}) == 1
    assert done[0].stdout and not any(each.returncode or "warning" in each.stderr for each in done)
    page = rnndrop("report", "a", "b", "--html", "page.html")
    assert page.returncode == 0 and page.stdout.startswith("page.html: 17 runs")


def test_of_copies_that_differ_the_one_that_ended_or_is_newest_counts(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for seed, (one, other) in enumerate(
        [({}, {}), ({"status": "interrupted"}, {}), ({}, UNREAD | {"status": "failed"})]
    ):
        folders = [
            write_run(place, [], seed, 200.0 + number, **how)
            for number, (place, how) in enumerate([(a, one), (b, other)])
        ]
        os.utime(folders[seed % 2] / "record.json", (1e9, 1e9))
    with pytest.warns(SkippedRecordWarning) as caught:
        runs = load_runs(a, b).set_index("seed")
    assert runs["test_perplexity"].to_dict() == {0: 201.0, 1: 201.0, 2: 200.0}
    assert len(caught) == 3 and "(metrics" in str(caught[0].message).replace("config, ", "").replace("overrides, ", "")
    with pytest.warns(SkippedRecordWarning):
        assert load_runs(b, a).set_index("seed")["test_perplexity"].to_dict() == {0: 201.0, 1: 201.0, 2: 200.0}


def test_folders_are_folders_whatever_their_name(few: Path, rnndrop: Command, tmp_path: Path) -> None:
    few.rename(tmp_path / "seed=1,2")
    alone = rnndrop("report", "seed=1,2", "--format", "json")
    assert alone.returncode == 0 and json.loads(alone.stdout)
    assert rnndrop("doctor", "seed=1,2").stdout.startswith("15 sound")
    for folder, says in (("dropout=none", "To choose among them: --where dropout=none"), ("nope", "No runs in nope")):
        done = rnndrop("report", "seed=1,2", folder)
        assert done.returncode == 2 and says in done.stderr


def test_rm_asks_takes_what_is_named_and_says_what_it_did(rnndrop: Command, tmp_path: Path) -> None:
    write(tmp_path / "results/runs", 16)
    there = sorted(path.relative_to(tmp_path / "results/runs") for path in tmp_path.rglob("seed-*"))
    one = str(there[0].parent)
    for arguments, says in (
        ([], "No runs given"),
        ([one], "There is no terminal to ask on: add --yes"),
        (["nope"], "No run in results/runs 'nope'"),
        (["dropout=none"], "To choose by a setting: --where dropout=none"),
        (["--where", "dropout=nope", "--yes"], "matches --where"),
    ):
        done = rnndrop("rm", *arguments)
        assert done.returncode == 2 and says in done.stderr, done.stderr
    assert sorted(path.relative_to(tmp_path / "results/runs") for path in tmp_path.rglob("seed-*")) == there
    done = rnndrop("rm", one, "--where", "seed=1", "--yes")
    assert done.returncode == 0 and done.stdout.startswith("1 run removed, ")
    assert not (tmp_path / "results/runs" / one / "seed-1").exists()
    assert (tmp_path / "results/runs" / one / "seed-0").exists()
    shutil.copytree(tmp_path / "results/runs" / one, tmp_path / "results/runs/old" / one)
    copied = rnndrop("rm", f"{one}/seed-0", "-y")
    assert "Copies of them are still there" in copied.stderr and f"old/{one}/seed-0" in copied.stderr


def test_gc_says_what_it_would_free_and_frees_it(rnndrop: Command, tmp_path: Path) -> None:
    from scripts.objects import lost, plant

    stays, goes = write(tmp_path / "runs", 16)
    plant(tmp_path / "runs", goes)
    before = sorted(tmp_path.rglob("*"))
    dry = rnndrop("gc", "--dry-run", "--pruned", "--refused", "--checkpoints", "output=runs")
    rows = {line.split()[0]: line.split()[1:3] for line in dry.stdout.splitlines()[1:-1]}
    assert rows == {"refused": ["3", "4"], "pruned": ["2", "6"], "checkpoints": ["2", "2"]}
    assert dry.stdout.splitlines()[-1].endswith("kB would be freed") and sorted(tmp_path.rglob("*")) == before
    assert rnndrop("gc", "--output", "runs").returncode == 2
    assert rnndrop("gc", "runs", "--yes", "--pruned", "--refused", "--checkpoints").returncode == 0
    assert not lost(tmp_path / "runs", stays)
    assert rnndrop("gc", "--output", "runs").stdout == "nothing to free in 12 runs\n"
    weights = rnndrop("gc", "output=runs", "--yes", "--weights", "--where", "seed=0")
    assert weights.returncode == 0 and len(list(tmp_path.rglob(records.WEIGHTS))) == 4
    assert "6 of the sound without weights" in rnndrop("doctor", "runs").stdout


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("what", ["gc", "import"])
def test_kills_at_random_lose_nothing(what: str) -> None:
    """The short form of the script; for `gc`, amid a running sweep."""
    script = [sys.executable, str(ROOT / "scripts/objects.py"), what, "--kills", "2", "--runs", "24"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and done.stdout.endswith("among 24 runs; 0 went wrong\n"), done.stderr


class _GivenUp(RunObserver):
    def evaluated(self, progress: Progress) -> None:
        raise Pruned({"pruned": 1, "pruned_step": progress.step, "epochs": 1, "valid_perplexity": 500.0})


def test_a_pruned_trial_is_known_as_such_until_somebody_goes_on_with_it(rnndrop: Command, tmp_path: Path) -> None:
    overrides = [*TINY, f"output={tmp_path}"]
    trial = [*overrides, f"label={records.TRIAL}"]
    run_one(compose(trial), trial, _GivenUp())
    (folder,) = tmp_path.glob("*/seed-0")
    record = records.read_record(folder)
    assert record and records.pruned(record) and checkpoint.paths(folder)
    assert "resumable" in rnndrop("show", folder).stdout
    assert "nothing to free" in rnndrop("gc", "--yes", f"output={tmp_path}").stdout
    assert "pruned" in rnndrop("gc", "--pruned", "--dry-run", f"output={tmp_path}").stdout
    assert rnndrop("run", *overrides).returncode == 0
    assert "nothing to free" in rnndrop("gc", "--pruned", "--yes", f"output={tmp_path}").stdout


def test_weights_that_are_not_kept(rnndrop: Command, tmp_path: Path) -> None:
    kept, bare = compose(TINY), compose([*TINY, "trainer.keep_weights=false"])
    assert run_id(kept) == run_id(bare) and former_id(kept) == former_id(bare)
    assert rnndrop("run", *TINY, "trainer.keep_weights=false", "evaluation.mc.samples=2").returncode == 0
    (folder,) = tmp_path.glob("results/runs/*/seed-0")
    assert not (folder / records.WEIGHTS).exists() and [each.state for each in audit(tmp_path)] == ["sound"]
    asked = rnndrop("eval", folder, "--mc", "2")
    assert (
        asked.returncode == 2
        and "were not kept" in asked.stderr
        and "--force trainer.keep_weights=true" in asked.stderr
    )
    (folder / records.WEIGHTS).write_bytes(b"of a run before")
    assert rnndrop("eval", folder, "--mc", "2").returncode == 2
    assert rnndrop("run", *TINY, "--force").returncode == 0
    assert rnndrop("eval", folder, "--mc", "2").returncode == 0
    gone = rnndrop("gc", "--weights", "--yes")
    assert gone.returncode == 0 and "are not here" in rnndrop("eval", folder, "--mc", "2").stderr


def test_scores_stay_where_a_measurement_more_is_not_possible(rnndrop: Command, tmp_path: Path) -> None:
    """Without their weights finished runs keep what they have: it is named, not taken for a failure."""
    request = [*TINY, "dropout=none,naive", "trainer.keep_weights=false", f"output={tmp_path}"]
    assert rnndrop("sweep", *request, "seed=0,1,2").returncode == 0
    swept = rnndrop("sweep", *request, "seed=0,1,2", "evaluation.mc.samples=2")
    assert swept.returncode == 1 and swept.stderr.count("were not kept (trainer.keep_weights=false)") == 6
    assert "failed" not in swept.stderr
    assert {record.status for record in map(records.read_record, tmp_path.glob("*/seed-*")) if record} == {"finished"}
    decided = rnndrop("decide", *request, "--max-seeds", "3", "evaluation.mc.samples=2")
    assert "3 seeds, alpha" in decided.stdout, decided.stderr
