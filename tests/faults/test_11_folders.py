"""What a folder or an archive could still do to the runs in it, the eleventh time that somebody looked."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

import rnndrop
from cli import runs as commands
from rnndrop.config.compose import compose
from rnndrop.config.identity import content_hash
from rnndrop.errors import RequestError
from rnndrop.runs.runner import run_one
from rnndrop.store import records
from rnndrop.store.archive import MANIFEST, Archive, export
from rnndrop.store.nll_blocks import read_stretches
from rnndrop.store.status import standings
from tests.invented import write_run


def archived(tmp_path: Path, folder: Path, **contents: bytes) -> Path:
    """An archive, whole by its checksums, of a run and of files of that content, named without their endings."""
    names = {"config": "config.yaml", "test_nll": "test_nll.npy", "history": "history.jsonl"}
    files = {records.RECORD: (folder / records.RECORD).read_bytes(),
             **{names[part]: content for part, content in contents.items()}}  # fmt: skip
    place, path = f"{folder.parent.name}/{folder.name}", tmp_path / "made.tar"
    sums = {f"{place}/{name}": hashlib.sha256(content).hexdigest() for name, content in files.items()}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        manifest = json.dumps({"version": 1, "files": sums}).encode()
        for name, content in [*((f"{place}/{name}", own) for name, own in files.items()), (MANIFEST, manifest)]:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_export_leaves_out_a_run_whose_file_import_would_refuse(tmp_path: Path) -> None:
    good = write_run(tmp_path / "runs", ["data=ptb"], 0, 100.0)
    torn = write_run(tmp_path / "runs", ["data=ptb"], 1, status="interrupted")
    (torn / records.HISTORY).write_bytes(b"\0" * 200)  # what a power cut leaves
    archive = tmp_path / "runs.tar"
    done = export(standings([good, torn]), archive, weights=False)
    assert done.runs == 1 and len(done.damaged) == 1 and "line 1 of history.jsonl" in done.damaged[0]
    assert [outcome for _, outcome, _ in Archive(archive).bring(tmp_path / "there")] == ["new"]


def test_runs_of_two_texts_are_two(tmp_path: Path) -> None:
    here = write_run(tmp_path / "a", ["data=pydoc"], 0, 100.0)
    there = write_run(
        tmp_path / "b", ["data=pydoc"], 0, 90.0, data={"name": "pydoc", "level": "word", "sha256": "c" * 64}
    )
    assert len(rnndrop.load_runs(tmp_path / "a", tmp_path / "b")) == 2
    assert [run.folder for run in standings([here, there])] == [here, there]
    done = export(standings([here, there]), tmp_path / "runs.tar", weights=False)
    assert done.runs == 1 and "an archive has one place for" in done.damaged[0] and str(there) in done.damaged[0]


def test_an_unfinished_copy_is_no_third_run(tmp_path: Path) -> None:
    here = write_run(tmp_path / "a", ["data=pydoc"], 0, 100.0)
    begun = tmp_path / "b" / here.parent.name / "seed-0"
    begun.mkdir(parents=True)
    assert [run.folder for run in standings([here, begun])] == [here]


@pytest.mark.parametrize("label", ["!!bool x", "!!int ''", "!!timestamp x", "!!binary é"])
def test_settings_that_no_yaml_can_mean_are_refused_in_one_line(tmp_path: Path, label: str) -> None:
    folder = write_run(tmp_path / "runs", ["data=ptb"], 0, 100.0)
    archive = archived(tmp_path, folder, config=f"label: {label}".encode())
    with pytest.raises(RequestError, match=r"config.yaml holds no settings"):
        commands.bring([str(archive)], str(tmp_path / "there"))
    (folder / records.CONFIG).write_text(f"label: {label}", encoding="utf-8")
    assert records.label_of(folder) is None


def test_an_array_that_claims_petabytes_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", ["data=ptb"], 0, 100.0)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2, 10**15)})
    (folder / records.TEST_NLL).write_bytes(header.getvalue())
    assert read_stretches(folder) is None  # nor does a report fill the memory with it
    with pytest.raises(RequestError, match=r"test_nll.npy holds no array of two rows"):
        commands.bring([str(archived(tmp_path, folder, test_nll=header.getvalue()))], str(tmp_path / "there"))


def test_a_record_from_beyond_the_calendar_is_reported(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", ["data=ptb"], 0, 100.0)
    os.utime(folder / records.RECORD, (10**10, 10**10))  # of the year 2286; pandas ends in 2262
    runs = rnndrop.load_runs(tmp_path / "runs")
    assert len(runs) == 1 and runs["test_perplexity"].item() == 100.0


def test_import_leaves_the_weights_that_its_record_names(tmp_path: Path) -> None:
    weights = b"\2\0\0\0\0\0\0\0{}"  # a file of no tensors
    files = {records.WEIGHTS: hashlib.sha256(weights).hexdigest()}
    folder = write_run(tmp_path / "runs", ["data=ptb"], 0, 100.0, files=files)
    (folder / records.WEIGHTS).write_bytes(weights)
    export(standings([folder]), tmp_path / "runs.tar", weights=False)
    (folder / records.RECORD).rename(folder / "record.json.damaged")
    assert [outcome for _, outcome, _ in Archive(tmp_path / "runs.tar").bring(tmp_path / "runs")] == ["new"]
    assert (folder / records.WEIGHTS).read_bytes() == weights

    (folder / records.RECORD).rename(folder / "record.json.damaged")
    (folder / records.WEIGHTS).write_bytes(weights + b"x")  # those of another run
    assert [outcome for _, outcome, _ in Archive(tmp_path / "runs.tar").bring(tmp_path / "runs")] == ["new"]
    assert not (folder / records.WEIGHTS).exists()


def test_rm_names_every_copy_that_reports_would_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "runs", ["data=ptb"], 0, 100.0)
    beside = folder.with_name("seed-0-backup")
    shutil.copytree(folder, beside)
    shutil.copytree(folder.parent, renamed := folder.parent.with_name(f"{folder.parent.name}-old"))
    assert commands.remove([f"{folder.parent.name}/seed-0"], [], str(tmp_path / "runs"), yes=True) == 0
    left = capsys.readouterr().err.split("count now:")[1]
    assert all(str(copy) in left for copy in (beside, renamed / "seed-0", renamed / "seed-0-backup"))


def test_of_two_folders_that_differ_the_newer_counts(tmp_path: Path) -> None:
    old = write_run(tmp_path / "a", ["data=ptb"], 0, 201.0)
    write_run(tmp_path / "b" / "c", ["data=ptb"], 0, 202.0)
    os.utime(old / records.RECORD, (10**9, 10**9))
    with pytest.warns(UserWarning, match="not the same"):
        apart = rnndrop.load_runs(tmp_path / "a", tmp_path / "b" / "c")
    assert apart["test_perplexity"].item() == 202.0


@pytest.mark.parametrize("file", [".", "/"])
def test_a_folder_is_no_archive_to_write(tmp_path: Path, file: str) -> None:
    write_run(tmp_path / "runs", ["data=ptb"], 0, 100.0)
    with pytest.raises(RequestError, match="is a folder"):
        commands.export([], [], str(tmp_path / "runs"), file, weights=False)


def test_a_linked_folder_of_a_corpus_counts_as_what_it_holds(tmp_path: Path) -> None:
    corpus, elsewhere = tmp_path / "corpus", tmp_path / "elsewhere"
    corpus.mkdir()
    elsewhere.mkdir()
    (corpus / "a.txt").write_text("a")
    (elsewhere / "b.txt").write_text("b")
    (corpus / "sub").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(corpus)
    before = content_hash(str(corpus), folders=True)
    (elsewhere / "b.txt").write_text("c")
    assert content_hash(str(corpus), folders=True) != before


def test_a_finished_run_on_another_text_of_python_is_no_answer(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", ["data=pydoc"], 0, 100.0)
    with pytest.raises(RequestError, match=r"'pydoc' here is not the one that .* was trained on"):
        run_one(compose(["data=pydoc", "seed=0", f"output={tmp_path}/runs"]), [])
    assert (folder / records.RECORD).exists()
