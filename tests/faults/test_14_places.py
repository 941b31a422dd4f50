"""What the fourteenth look found: streams, links, devices and terminals that are not as one thinks of them."""

from __future__ import annotations

import json
import math
import os
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from rnndrop.cli import runs as commands
from rnndrop.cli.debug import debug

from rnndrop.config import identity
from rnndrop.config.compose import compose
from rnndrop.errors import RequestError
from rnndrop.runs.debug import OneBatch
from rnndrop.stats import expected_best
from rnndrop.store import archive, status
from rnndrop.store.records import run_folders
from tests.conftest import TINY, Command
from tests.invented import write_run
from tests.processes import RNNDROP
from tests.terminals import on_a_terminal

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", ["run", "sweep"])
def test_14_a_log_that_cannot_be_written_ends_no_training(rnndrop: Command, tmp_path: Path, command: str) -> None:
    done = rnndrop(command, *TINY, "trainer.checkpoint_seconds=0", streams={2: str(FULL)})
    assert done.returncode == 0, done
    (path,) = (tmp_path / "results/runs").rglob("record.json")
    record = json.loads(path.read_text())
    assert record["status"] == "finished" and record["metrics"]["epochs"] == 2


@pytest.mark.e2e
def test_14_whoever_reads_stderr_may_leave(tmp_path: Path) -> None:
    command = [str(RNNDROP), "run", *TINY, "--json"]
    with subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stderr.close()
        record = json.loads(process.stdout.read())
    assert process.returncode == 0 and record["status"] == "finished"


def test_14_a_loss_that_is_no_number_is_null(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = OneBatch(10, "nats per token", 3.4, math.nan, 2)
    monkeypatch.setattr("rnndrop.runs.debug.one_batch", lambda config: found)
    assert debug("one_batch", [], as_json=True) == 1
    assert capsys.readouterr().out == (
        '{"targets": 10, "unit": "nats per token", "first": 3.4, "last": null, "steps": 2, "learned": false}\n'
    )


def test_14_a_beat_whose_loss_is_no_number_is_json(rnndrop: Command, tmp_path: Path) -> None:
    folder = tmp_path / f"results/runs/{'a' * 16}/seed-0"
    folder.mkdir(parents=True)
    beat = {"host": "h", "pid": 1, "epoch": 1, "epochs": 3, "train": math.inf, "tokens_per_second": 10.0}
    (folder / "heartbeat.json").write_text(json.dumps(beat))

    def never(text: str) -> None:
        raise AssertionError(text)

    for command in (["show", "aaaaaaaa", "--json"], ["watch", "--json"]):
        assert json.loads(rnndrop(*command).stdout, parse_constant=never)


def test_14_a_link_that_leads_nowhere_hides_no_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = [write_run(tmp_path, [f"dropout={plan}"], 0, 100) for plan in ("none", "naive", "locked")]
    for place in (tmp_path, runs[0].parent):
        (place / "latest").symlink_to("latest")
        (place / "0").symlink_to("nowhere")
    assert set(run_folders(tmp_path)) == set(runs)
    assert caplog.text.count("latest is a link that cannot be followed") == 2 and "nowhere" not in caplog.text


def test_14_an_archive_replaces_no_device_and_no_link(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", ["data=ptb"], 0, 100.0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match="pipe is no file"):
        commands.export([], [], str(tmp_path / "runs"), str(tmp_path / "pipe"), weights=False)
    (tmp_path / "larger").mkdir()
    (tmp_path / "link.tar").symlink_to("larger/runs.tar")
    assert commands.export([], [], str(tmp_path / "runs"), str(tmp_path / "link.tar"), weights=False) == 0
    assert (tmp_path / "link.tar").is_symlink() and (tmp_path / "larger/runs.tar").is_file()


def test_14_an_archive_that_changes_while_it_is_taken_in(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", ["data=ptb"], 0, 100.0)
    path = tmp_path / "runs.tar"
    assert commands.export([], [], str(tmp_path / "runs"), str(path), weights=False) == 0
    found = archive.Archive(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"train_perplexity": 200.0', b'"train_perplexity": 300.0'))
    assert path.read_bytes() != content
    with pytest.raises(RequestError, match="changes while it is read"):
        list(found.bring(tmp_path / "there"))


def test_14_a_folder_in_place_of_a_text_is_not_read_to_be_refused(
    rnndrop: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora/one.txt").write_text("a b c")
    monkeypatch.setattr(identity, "_below", lambda folder: pytest.fail("it was read"))
    config = compose(["data=text", f"data.file={tmp_path}/corpora"])
    assert identity.run_id(config)
    done = rnndrop("run", "data=text", f"data.file={tmp_path}/corpora")
    assert done.returncode == 2 and "is a folder" in done.stderr


def test_14_masks_are_seen_on_a_terminal_that_knows_no_colours(rnndrop: Command) -> None:
    _, said = on_a_terminal(rnndrop, ["masks", "dropout=variational"], TERM="dumb")
    shown = said.decode()
    assert "█" in shown and "·" in shown and "▀" not in shown


def test_14_watch_prints_where_nothing_can_be_drawn(rnndrop: Command, tmp_path: Path) -> None:
    write_run(tmp_path / "results/runs", ["dropout=none"], 0, 100)
    code, said = on_a_terminal(rnndrop, ["watch"], TERM="dumb")
    assert code == 0 and b"1 run: 1 finished" in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["watch", "--every", "inf"], "--every"),
        (["report", "--last", ""], "--last"),
        (["report", "--sort", ""], "sort"),
    ],
)
def test_14_what_is_no_span_is_refused(rnndrop: Command, tmp_path: Path, arguments: list[str], named: str) -> None:
    write_run(tmp_path / "results/runs", ["dropout=none"], 0, 100)
    done = rnndrop(*arguments)
    assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr


def test_14_no_home_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path, ["dropout=none"], 0, 100)

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", staticmethod(unknown))
    assert [each.folder for each in status.below([str(tmp_path)], tmp_path)] == [folder]
    with pytest.raises(RequestError, match="holds more than runs"):
        status.below(["/"], tmp_path)


def test_14_the_expected_best_of_many_trials_is_exact() -> None:
    values = [float(value) for value in (7, 3, 9, 4, 8, 1, 12)]
    ordered, count = sorted(values), len(values)
    for n, mean in enumerate(expected_best(values), 1):
        exact = sum(
            Fraction(math.comb(count - i - 1, n - 1), math.comb(count, n)) * Fraction(value)
            for i, value in enumerate(ordered)
        )
        assert mean == pytest.approx(float(exact), rel=1e-15)
    assert len(expected_best(list(map(float, range(1000))))) == 1000


def test_14_a_pager_with_half_a_quotation(rnndrop: Command, tmp_path: Path) -> None:
    write_run(tmp_path / "results/runs", ["dropout=none"], 0, 100)
    code, said = on_a_terminal(rnndrop, ["report"], lines=3, PAGER="less 'x")
    assert code == 0 and b"Traceback" not in said and b"none" in said
