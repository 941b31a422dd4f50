"""Wrong requests about texts, folders, terminals and output: one message that helps, exit 2, no traceback."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from rnndrop.config.compose import compose
from rnndrop.data import load
from rnndrop.data.published import cache_folder
from rnndrop.errors import RequestError
from tests.conftest import TINY, Command
from tests.processes import RNNDROP

TEXT = ["data=text", "trainer.batch_size=4", "trainer.window=8", "evaluation.batch_size=2"]


def corpus(file: Path, *overrides: str) -> object:
    return load(compose([*TEXT, f"data.file='{file}'", *overrides]).data)


def refused(done: subprocess.CompletedProcess[str], *needles: str) -> None:
    """One message that says `needles`, exit code 2."""
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert all(needle in done.stderr for needle in needles), done.stderr


@pytest.mark.parametrize("level", ["char", "word"])
def test_6_one_long_line_is_cut_between_tokens(tmp_path: Path, level: str) -> None:
    (tmp_path / "text8").write_text(" ".join(f"word{number % 7}" for number in range(300)))
    made = corpus(tmp_path / "text8", f"data.level={level}")
    sizes = [len(made.split(name)) for name in ("train", "valid", "test")]  # type: ignore[attr-defined]
    tokens = sum(sizes)
    assert tokens == {"char": 300 * 6 - 1, "word": 300}[level]  # without the <eos> of the only line
    assert sizes == [round(0.8 * tokens), round(0.9 * tokens) - round(0.8 * tokens), tokens - round(0.9 * tokens)]


def test_6_old_line_ends_are_line_ends(tmp_path: Path) -> None:
    lines = [f"this is line {number % 9}" for number in range(60)]
    for end, name in (("\n", "lf"), ("\r\n", "crlf"), ("\r", "cr")):
        (tmp_path / name).write_bytes(end.join([*lines, ""]).encode())
    prints = [corpus(tmp_path / name).fingerprint() for name in ("lf", "crlf", "cr")]  # type: ignore[attr-defined]
    assert prints[0] == prints[1] == prints[2]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("ab\ncd\n".encode("utf-16-le"), "UTF-16LE"),
        ("ab\ncd\n".encode("utf-16-be"), "UTF-16BE"),
        (b"\xff\xfe" + "ab\ncd\n".encode("utf-16-le"), "UTF-16LE"),
        (b"\xfe\xff" + "ab\ncd\n".encode("utf-16-be"), "UTF-16BE"),
    ],
)
def test_6_another_encoding_is_named(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(RequestError, match=f"iconv -f {kind} -t UTF-8"):
        corpus(tmp_path / "file")


def test_6_no_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # what it does where no home is known
    with pytest.raises(RequestError, match=r"data\.root=FOLDER"):
        cache_folder()
    with pytest.raises(RequestError, match="no home folder"):
        load(compose(["data=ptb", "data.root='~/here'"]).data)
    with pytest.raises(RequestError, match="no home folder"):
        compose(["output='~/runs'"])


def test_6_the_output_folder_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compose(["output='~/runs'"]).output == str(tmp_path / "runs")


@pytest.mark.parametrize("columns", ["abc", "-5", "0", "", "1", "9" * 30, "１２"])
def test_6_a_width_that_is_none(few: Path, rnndrop: Command, columns: str) -> None:
    for command in (
        ["report", few],
        ["plot", "curves", few],
        ["watch", few, "--once"],
        ["masks", "dropout=variational"],
    ):
        done = rnndrop(*command, COLUMNS=columns)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_6_a_span_before_the_calendar(rnndrop: Command, few: Path) -> None:
    for span in ("999999999999d", "999999d", "1" * 400 + "m"):
        refused(rnndrop("report", str(few), "--last", span), "--last")


def test_6_output_that_cannot_be_written(few: Path, rnndrop: Command) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    own = ["show", f"{next(few.iterdir()).name}/seed-0", "--output", str(few)]
    tables = [["report", str(few)], ["report", str(few), "--format", "csv"], ["watch", str(few), "--json"]]
    for command in (*tables, own, ["run", "--cfg"], ["ls"]):
        refused(rnndrop(*command, streams={1: "/dev/full"}), "No space left")
    for command in (tables[1], ["ls"]):  # and as Python leaves nothing more is said
        with Path("/dev/full").open("w") as full:
            done = subprocess.run([RNNDROP, *command], stdout=full, stderr=subprocess.PIPE, text=True)
        refused(done, "No space left")


@pytest.mark.e2e
def test_6_a_deleted_current_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for command in ("run", "report", "ls", "run --cfg"):
        gone.mkdir()
        shell = f'cd "{gone}" && rmdir "{gone}" && exec "{RNNDROP}" {command}'
        refused(subprocess.run(["sh", "-c", shell], capture_output=True, text=True), "current folder")


@pytest.mark.parametrize(
    "setting",
    [
        "trainer.init=1e39", "evaluation.cache.theta=1e308", "evaluation.mc.samples=99999999999999999999999",
        "evaluation.cache.size=99999999999999999999999", "model.hidden=99999999999999999999999999",
        "model.hidden=100000000", "model.embedding=1000000000", "model.layers=999999999999", "trainer.ar=1e300",
        "trainer.epochs=1e30", "data.train_tokens=99999999999999999999",
    ],
)  # fmt: skip
def test_6_numbers_beyond_reason(rnndrop: Command, setting: str) -> None:
    done = rnndrop("run", *TINY, setting)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr


def test_6_names_beyond_reason(rnndrop: Command, tmp_path: Path) -> None:
    long = "x" * 300
    for command in (["run", f"output={long}"], ["run", "data=text", f"data.file={long}"], ["watch", long],
                    ["run", "data=ptb", f"data.root={long}"], ["report", long], ["show", long], ["eval", long],
                    ["sweep", "seed=0,1", f"output={long}", "--dry-run"], ["report", "--html", long]):  # fmt: skip
        done = rnndrop(*command)
        assert done.returncode == 2 and "Traceback" not in done.stderr, (command, done.stderr)


def test_6_a_recipe_may_refer_to_its_own_settings() -> None:
    assert compose(["experiment=awd_ptb", "trainer.epochs=7"]).trainer.finetune_epochs == 7


def test_6_tune_refuses_a_plan_that_the_location_does_not_take(rnndrop: Command) -> None:
    done = rnndrop("tune", *TINY, "dropout.recurrent.kind=locked,word", "dropout.recurrent.p=interval(0,0.5)")
    assert done.returncode == 2 and "Traceback" not in done.stderr and "word" in done.stderr


def test_6_tune_where_nothing_finishes(rnndrop: Command) -> None:
    done = rnndrop("tune", *TINY, "trainer.optimizer=sgd", "trainer.clip=null", "trainer.learning_rate=1e6,1e7",
                   "--trials", "2")  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr and "no trial finished" in done.stdout


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (
            ["trainer.window=1000000000", "dropout.recurrent.varies=[time]", "dropout.recurrent.p=0.5",
             "dropout.recurrent.block=900000000"],
            "dropout.recurrent.block=900000000: no hole is longer than a column of the text",
        ),
        (
            ["trainer.window=1000000000", "model.layers=100", "model.hidden=300000"],
            "trainer.window=1000000000: ",
        ),
    ],
)  # fmt: skip
def test_6_what_the_text_shows_to_be_beyond_memory(tmp_path: Path, settings: list[str], named: str) -> None:
    from rnndrop.runs.execution import Execution

    config = compose([*TINY, *settings, "trainer.device=cpu"])
    with pytest.raises(RequestError, match=re.escape(named)):
        Execution(config, settings, tmp_path / "run" / "seed-0")
    assert not any(tmp_path.iterdir())


def test_6_a_window_longer_than_the_text_is_the_text(tmp_path: Path) -> None:
    from rnndrop.runs.execution import Execution

    Execution(compose([*TINY, "trainer.window=1000000000"]), [], tmp_path)


def test_6_gates_of_a_cell_that_has_one(tmp_path: Path) -> None:
    for varies, said in (("gate", "The mask is one number"), ("batch,gate,feature", "varies over batch feature")):
        rule = ["dropout.recurrent.p=0.5", f"dropout.recurrent.varies=[{varies}]"]
        (line,) = compose([*TINY, "model.cell=rnn", *rule]).without_effect
        assert (
            "dropout.recurrent: varying over gates does nothing here: model.cell=rnn has one" in line and said in line
        )
        assert not compose([*TINY, "model.cell=gru", *rule]).without_effect
    assert not compose([*TINY, "model.cell=rnn", "dropout=dropconnect"]).without_effect


def test_6_where_nothing_can_be_chosen_nothing_is_listed(rnndrop: Command, tmp_path: Path) -> None:
    done = rnndrop("gc", "zzz", "--output", str(tmp_path))
    assert (done.returncode, done.stderr) == (2, f"No run in {tmp_path} 'zzz'. There is none.\n")


def test_6_import_says_what_it_takes(rnndrop: Command, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text('{"a": 1}')
    done = rnndrop("import", str(tmp_path / "table.json"), "output=o")
    assert done.returncode == 2 and "it is no archive as `rnndrop export` writes it" in done.stderr
    done = rnndrop("import", str(tmp_path), "output=o")
    assert done.returncode == 2 and "is a folder, and import takes an archive. To make one" in done.stderr


def test_6_a_link_is_named_once(few: Path, rnndrop: Command, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (few / "away").symlink_to(tmp_path / "elsewhere")
    for command in (["doctor", str(few)], ["gc", "--dry-run", "--where", "seed=0", "--output", str(few)]):
        assert rnndrop(*command).stderr.count("away is a link to another folder") == 1
