"""Archives: what goes out comes in, to the byte; what is not as it ought to be is refused and changes nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnndrop.errors import RequestError
from rnndrop.store import records
from rnndrop.store.archive import MANIFEST, Archive, export
from rnndrop.store.heartbeat import Heartbeat
from rnndrop.store.lock import held
from rnndrop.store.status import standings
from scripts.objects import write

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five finished runs, an interrupted one and one without a record. To be read only."""
    folder = tmp_path_factory.mktemp("source")
    stays, _ = write(folder, 16)
    for path in folder.glob("*/seed-*"):
        if str(path.relative_to(folder)) not in stays:
            shutil.rmtree(path)
    for path in folder.rglob("checkpoint-0000000[0-8]-*"):
        path.unlink()
    return folder


@pytest.fixture
def archive(source: Path, tmp_path: Path) -> Path:
    export(standings(records.run_folders(source)), tmp_path / "runs.tar", weights=True)
    return tmp_path / "runs.tar"


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != records.LOCK
    }


def bring(archive: Path, output: Path) -> list[str]:
    return [outcome for _, outcome, _ in Archive(archive).bring(output)]


def members(archive: Path) -> Members:
    with tarfile.open(archive) as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


def rewrite(archive: Path, change: Callable[[Members], Any], honest: bool = True) -> None:
    """Change an archive's files; `honest`: with checksums that are right."""
    content = members(archive)
    change(content)
    if honest and MANIFEST in content:
        sums = {name: hashlib.sha256(text).hexdigest() for name, text in content.items() if name != MANIFEST}
        content[MANIFEST] = json.dumps(json.loads(content[MANIFEST]) | {"files": sums}).encode()
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, text in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))


def test_what_goes_out_comes_in_to_the_byte_with_its_times(source: Path, archive: Path, tmp_path: Path) -> None:
    assert set(bring(archive, tmp_path / "out")) == {"new"}
    there = tree(tmp_path / "out")
    expected = {name: content for name, content in tree(source).items() if "checkpoint" not in name}
    without = {str(path.relative_to(source)) for path in source.glob("*/seed-*") if not (path / "record.json").exists()}
    assert there == {name: text for name, text in expected.items() if str(Path(name).parent) not in without}
    times = {name: int((source / name).stat().st_mtime) for name in there if name.endswith("record.json")}
    assert times == {name: int((tmp_path / "out" / name).stat().st_mtime) for name in times}
    assert len(without) == 1 and set(bring(archive, tmp_path / "out")) == {"there"}


def test_what_runs_has_no_record_or_is_damaged_is_left_out_and_said(source: Path, tmp_path: Path) -> None:
    runs = shutil.copytree(source, tmp_path / "runs")
    one, other = [path.parent for path in runs.rglob(records.WEIGHTS)][:2]
    (one / records.HISTORY).write_text("{}\n")
    with Heartbeat(other):
        done = export(standings(records.run_folders(runs)), tmp_path / "runs.tar", weights=False)
    assert (done.runs, done.unfinished) == (len(list(source.glob("*/seed-*"))) - 3, 2)
    assert done.damaged == [f"{one}: {records.HISTORY} does not have the sha256 that the record names"]
    assert not any(name.endswith(records.WEIGHTS) for name in members(tmp_path / "runs.tar"))


def test_weights_come_later_to_the_same_record(source: Path, archive: Path, tmp_path: Path) -> None:
    export(standings(records.run_folders(source)), tmp_path / "bare.tar", weights=False)
    bring(tmp_path / "bare.tar", tmp_path / "out")
    assert not list((tmp_path / "out").rglob(records.WEIGHTS))
    assert set(bring(archive, tmp_path / "out")) == {"there"}
    assert len(list((tmp_path / "out").rglob(records.WEIGHTS))) == len(list(source.rglob(records.WEIGHTS)))


def test_another_record_stays_and_an_unfinished_one_gives_way(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    bring(archive, output)
    finished = [path.parent for path in output.rglob(records.WEIGHTS)]
    for folder, change in zip(finished, ({"error": "mine"}, {"status": "interrupted"}), strict=False):
        record = records.read_record(folder)
        assert record
        for name, value in change.items():
            setattr(record, name, value)
        (folder / records.RECORD).write_text(record.to_json())
    before = tree(finished[0])
    found = {folder: (outcome, reason) for folder, outcome, reason in Archive(archive).bring(output)}
    assert found[finished[0]] == ("kept", "a finished run is there, with another error") and tree(finished[0]) == before
    assert found[finished[1]] == ("replaced", "what was there was interrupted")
    record = records.read_record(finished[1])
    assert record and record.status == "finished"


def test_a_run_that_another_process_works_on_is_left(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    bring(archive, output)
    victim = next(output.rglob(records.WEIGHTS)).parent
    (victim / records.RECORD).unlink()
    with held(victim / records.LOCK):
        assert bring(archive, output).count("busy") == 1
    assert not (victim / records.RECORD).exists()


def first(content: Members, file: str) -> str:
    return next(name for name in content if name.endswith(file))


def rename(new: str) -> Callable[[Members], None]:
    """All files of the run of the first weights, elsewhere."""

    def change(content: Members) -> None:
        run = first(content, records.WEIGHTS).rpartition("/")[0]
        for name in [name for name in content if name.startswith(f"{run}/")]:
            content[name.replace(run, new)] = content.pop(name)

    return change


def put(file: str, text: bytes | Callable[[bytes], bytes], own: bool = True) -> Callable[[Members], None]:
    """Another content for a file of a run; `own`: with a record that names it."""

    def change(content: Members) -> None:
        name = first(content, file)
        content[name] = text if isinstance(text, bytes) else text(content[name])
        place = name.replace(file, records.RECORD)
        if own and file != records.RECORD:
            record = records.Record.from_json(content[place].decode())
            record.files[file] = hashlib.sha256(content[name]).hexdigest()
            content[place] = record.to_json().encode()

    return change


def objects() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([[{}], [{}]], dtype=object), allow_pickle=True)
    return buffer.getvalue()


PICKLE = pickle.dumps({"weight": [1.0]})
REFUSED: dict[str, tuple[Callable[[Members], Any], str]] = {
    "leaves": (lambda c: c.update({"../evil": b"x"}), "'../evil' is no file of a run"),
    "leaves from within": (lambda c: c.update({"0" * 16 + "/seed-0/../../../record.json": b"{}"}), "no file of a run"),
    "absolute": (lambda c: c.update({"/tmp/record.json": b"{}"}), "no file of a run"),
    "another name": (lambda c: c.update({"0" * 16 + "/seed-0/evil.py": b""}), "no file of a run"),
    "a pickle by name": (lambda c: c.update({"0" * 16 + "/seed-0/weights.pkl": PICKLE}), "no file of a run"),
    "a pickle as weights": (put(records.WEIGHTS, PICKLE), "is no file of tensors"),
    "a pickle as an array": (put(records.TEST_NLL, objects()), "holds no array"),
    "code as settings": (put(records.CONFIG, b"!!python/object/apply:os.system [id]"), "holds no settings"),
    "a history of nonsense": (put(records.HISTORY, b'{"epoch": "one"}\n'), "line 1 of history.jsonl"),
    "weights of another run": (put(records.WEIGHTS, lambda b: b[:-8] + bytes(8), own=False), "its record names"),
    "an edited record": (put(records.RECORD, lambda b: b.replace(b'"finished"', b'"diverged"')), "sha256"),
    "a later version": (put(records.RECORD, lambda b: json.dumps({"schema": 99}).encode()), "a newer rnndrop"),
    "another run's place": (rename("0123456789abcdef/seed-0"), "its record is that of another run"),
    "no record": (lambda c: c.pop(first(c, records.RECORD)), "it has no record.json"),
    "no history": (lambda c: c.pop(first(c, records.HISTORY)), "is missing"),
    "no list": (lambda c: c.pop(MANIFEST), "it has no rnndrop-runs.json"),
    "a list of another version": (lambda c: c.update({MANIFEST: b'{"version": 2, "files": {}}'}), "of version 2"),
}  # fmt: skip


def refused(archive: Path, output: Path, says: str) -> None:
    """It is refused with that message, and nothing is there that was not."""
    with pytest.raises(RequestError, match="is refused, and nothing was changed") as caught:
        bring(archive, output)
    assert says in str(caught.value)
    assert not output.exists() and not list(output.parent.rglob("evil*"))


@pytest.mark.parametrize("case", REFUSED)
def test_an_archive_of_something_else_is_refused(case: str, archive: Path, tmp_path: Path) -> None:
    change, says = REFUSED[case]
    rewrite(archive, change)
    refused(archive, tmp_path / "out", says)


def test_wrong_checksums_are_refused(archive: Path, tmp_path: Path) -> None:
    rewrite(archive, put(records.HISTORY, lambda b: b + b"\n", own=False), honest=False)
    refused(archive, tmp_path / "out", f"does not have the sha256 that {MANIFEST} names")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.XHDTYPE]
)
def test_links_and_other_things_are_refused(kind: bytes, archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive, "a", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(f"{'0' * 16}/seed-0/record.json")
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry)
    refused(archive, tmp_path / "out", "no plain file")


def test_a_file_that_is_there_twice_is_refused(archive: Path, tmp_path: Path) -> None:
    name, text = next(iter(members(archive).items()))
    with tarfile.open(archive, "a", format=tarfile.GNU_FORMAT) as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    refused(archive, tmp_path / "out", "is there twice")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_an_archive_that_was_cut_off_is_refused(part: float, archive: Path, tmp_path: Path) -> None:
    end = archive.read_bytes().rindex(b'"version"')
    os.truncate(archive, int(part * end))
    refused(archive, tmp_path / "out", "")


def test_a_bit_that_flipped_is_found_wherever_it_is(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    used = content.rindex(b"}") + 1
    for place in range(0, used, used // 40):
        changed = bytearray(content)
        changed[place] ^= 4
        archive.write_bytes(changed)
        try:
            found = bring(archive, tmp_path / "out")
        except RequestError:
            assert not (tmp_path / "out").exists()
        else:  # the padding of a block, or a time: nothing of a run
            assert set(found) == {"new"}
            shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"\x1f\x8b\x08" + bytes(600), b"PK\x03\x04" + bytes(600)])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "some.tar").write_bytes(content)
    refused(tmp_path / "some.tar", tmp_path / "out", "")


def test_a_later_export_replaces_the_file_as_a_whole(source: Path, archive: Path) -> None:
    before = archive.read_bytes()
    runs = standings(records.run_folders(source))

    def stopping() -> Any:
        yield runs[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(stopping(), archive, weights=True)
    assert archive.read_bytes() == before and [path.name for path in archive.parent.iterdir()] == ["runs.tar"]
