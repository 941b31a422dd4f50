"""Deleting runs: only what may go, never what runs, and whatever comes in between leaves a whole run or none."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Collection
from functools import partial
from pathlib import Path

import pytest

from rnndrop.errors import RequestError
from rnndrop.store import heartbeat, records, removal
from rnndrop.store.audit import audit
from rnndrop.store.lock import GoneError, held
from rnndrop.store.removal import Removed, everything, garbage, remove
from rnndrop.store.status import below, standing
from scripts.objects import Contents, contents, lost, plant, write

Written = tuple[Path, dict[str, Contents], dict[str, Contents]]
ALL = ("refused", "pruned", "checkpoints", "leftovers")


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Sixteen runs of every state, and what of them is garbage."""
    output = tmp_path / "runs"
    stays, goes = write(output, 16)
    plant(output, goes)
    return output, stays, goes


def collect(output: Path, kinds: Collection[str]) -> list[Removed]:
    find = partial(garbage, kinds=kinds)
    return list(remove([run.folder for run in below([], output) if find(run)], find))


def test_garbage_goes_and_all_else_stays_to_the_byte(written: Written) -> None:
    output, stays, _ = written
    done = collect(output, ALL)
    kinds = [each.kind for folder in done for each in folder.gone]
    assert {kind: kinds.count(kind) for kind in ALL} == {"refused": 3, "pruned": 2, "checkpoints": 2, "leftovers": 0}
    assert not lost(output, stays)
    assert {str(path.relative_to(output)) for path in records.run_folders(output)} == set(stays)
    assert {path.name for path in output.iterdir()} == {name.partition("/")[0] for name in stays}


def test_without_being_told_neither_weights_nor_pruned_runs_go(written: Written) -> None:
    output, stays, goes = written
    collect(output, ("refused", "checkpoints"))
    pruned = [name for name, extra in goes.items() if len(extra) == 3]
    assert len(pruned) == 2 and not lost(output, {name: goes[name] for name in pruned})
    collect(output, ("weights",))
    assert not list(output.rglob(records.WEIGHTS))
    verdicts = [verdict for verdict in audit(output) if verdict.folder.endswith(tuple(stays))]
    assert {verdict.state for verdict in verdicts} == {"sound", "unfinished"}
    assert sum(verdict.reason == "its weights are not here" for verdict in verdicts) == 10


def test_what_runs_is_left_alone(written: Written) -> None:
    output, _, goes = written
    one, other, *_ = sorted(goes)
    before = contents(output / one)
    with held(output / one / records.LOCK), heartbeat.Heartbeat(output / other):
        done = {each.folder: each for each in collect(output, ALL)}
        taken = list(remove([output / one, output / other], everything))
        assert contents(output / one) == before and (output / other / "heartbeat.json").exists()
    assert done[output / one].busy and output / other not in done
    assert [each.busy for each in taken] == [True, True]


def test_a_pruned_run_that_somebody_goes_on_with_stays(written: Written) -> None:
    output, _, goes = written
    name = next(name for name, extra in goes.items() if len(extra) == 3)
    later = f"checkpoint-99999999-{'cd' * 8}.safetensors"
    time.sleep(0.02)
    (output / name / later).touch()
    collect(output, ALL)
    assert not lost(output, {name: goes[name] | {later: b""}})


def test_what_rnndrop_did_not_write_keeps_a_run(written: Written) -> None:
    output, stays, _ = written
    folder = output / next(iter(stays))
    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    (done,) = remove([folder], everything)
    assert "notes.txt" in done.problem and contents(folder) == before


def test_a_removal_that_was_killed_leaves_no_run_and_the_next_one_ends_it(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, stays, _ = written
    name = next(iter(stays))
    monkeypatch.setattr(removal, "discard", lambda aside: None)
    list(remove([output / name], everything))
    monkeypatch.undo()
    assert output / name not in records.run_folders(output) and standing(output / name).state == "new"
    (aside,) = removal.set_aside(output)
    assert aside.size > 0 and str(aside.folder) in {verdict.folder for verdict in audit(output)}
    removal.discard(aside.folder)
    assert not removal.set_aside(output)


def test_whoever_waits_for_a_run_that_is_removed_starts_in_a_new_folder(tmp_path: Path) -> None:
    folder, aside = tmp_path / "0123456789abcdef" / "seed-0", tmp_path / "aside"
    came: list[bool] = []

    def wait() -> None:
        with records.claimed(folder, wait=True):
            came.append((folder / "old").exists())

    folder.mkdir(parents=True)
    with held(folder / records.LOCK):
        (folder / "old").touch()
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.3)
        folder.rename(aside)
    waiting.join()
    assert came == [False] and (aside / "old").exists()


def test_a_lock_whose_file_was_moved_away_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnndrop.store import lock

    (tmp_path / "run").mkdir()
    locks = lock._system_locks

    def moved(descriptor: int, path: Path) -> bool:
        found = locks(descriptor, path)
        shutil.move(tmp_path / "run", tmp_path / "aside")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / records.LOCK).touch()  # another process begins there anew
        return found

    monkeypatch.setattr(lock, "_system_locks", moved)
    with pytest.raises(GoneError), held(tmp_path / "run" / records.LOCK):
        pass


def test_runs_are_named_by_id_by_folder_or_all(written: Written) -> None:
    output, stays, _ = written
    run = next(name for name in stays).partition("/")[0]
    assert {each.folder.name for each in below([run[:10]], output)} == {"seed-0", "seed-1"}
    assert len(below([f"{run}/seed-1"], output)) == len(below([str(output / run / "seed-1")], "elsewhere")) == 1
    assert len(below([str(output)], "elsewhere")) == len(below([], output)) == 17
    (output / run / "seed-7").symlink_to("seed-0")
    for name, says in ((str(output / run / "seed-7"), "is a link"), ("nope", "No run in"), (str(output / ".."), "")):
        if says:
            with pytest.raises(RequestError, match=says):
                below([name], output)


@pytest.mark.parametrize(("name", "says"), [("", "names no run"), ("/", "more than runs"), ("~", "more than runs")])
def test_what_names_everything_is_refused(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "run_folders", lambda path: pytest.fail(f"looked into {path}"))
    with pytest.raises(RequestError, match=says):
        below([str(Path(name).expanduser()) if name else name], tmp_path)


def test_a_link_to_the_runs_of_an_id_is_refused_and_one_to_the_folder_of_all_is_not(written: Written) -> None:
    output, stays, _ = written
    run = output / min(stays)
    (output.parent / "elsewhere").symlink_to(output)
    (output.parent / "linked").symlink_to(run.parent)
    for name in ("linked", f"linked/{run.name}"):
        with pytest.raises(RequestError, match=r"linked is a link\. Name what it leads to"):
            below([str(output.parent / name)], output)
    assert len(below([str(output.parent / "elsewhere")], output)) == len(records.run_folders(output))


def test_pruned_runs_are_known_in_a_copy_whose_times_say_nothing(written: Written) -> None:
    output, _, _ = written
    for path in sorted(output.rglob("*"), reverse=True):
        path.touch()
    kinds = [each.kind for folder in collect(output, ("pruned",)) for each in folder.gone]
    assert kinds == ["pruned", "pruned"]
