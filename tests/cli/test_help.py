"""`rnndrop help`: what a setting means, takes and defaults to."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from rnndrop.cli import complete
from rnndrop.cli.run import flat

from rnndrop.config.cells import CELLS
from rnndrop.config.compose import compose, known_keys
from rnndrop.config.settings import settings, spelled
from rnndrop.dropout.rule import LOCATIONS, kinds_at
from tests.conftest import Command


def test_a_setting(rnndrop: Command) -> None:
    done = rnndrop("help", "trainer.decay_after")
    assert (done.returncode, done.stderr) == (0, "")
    key, meaning, _, *rows = done.stdout.splitlines()
    assert key == "trainer.decay_after" and "trainer.decay" in meaning
    assert rows == [
        "takes    a whole number, from 0 to 1,000,000,000",
        "default  0",
        "example  rnndrop run trainer.decay=1.2 trainer.decay_after=6",
    ]


def test_a_setting_as_json(rnndrop: Command) -> None:
    found = json.loads(rnndrop("help", "model.cell", "--json").stdout)
    assert found["key"] == "model.cell" and found["meaning"] and found["default"] == "lstm"
    assert found["choices"] == list(CELLS) and found["takes"].startswith("lstm, gru")


def test_a_group_lists_its_settings_and_options(rnndrop: Command) -> None:
    text = rnndrop("help", "evaluation").stdout
    assert all(f"\n{key}  " in text for key in known_keys() if key.startswith("evaluation."))
    assert text.endswith("\noptions  cache dynamic temperature (see `rnndrop ls evaluation`)\n")
    inner = json.loads(rnndrop("help", "evaluation.mc", "--json").stdout)
    names = ["samples", "masks", "embedding", "power", "rate", "temperature"]
    assert [each["key"].rpartition(".")[2] for each in inner["settings"]] == names
    assert "awd_ptb" in rnndrop("help", "experiment").stdout


def test_dropout_lists_its_locations(rnndrop: Command) -> None:
    text = rnndrop("help", "dropout").stdout
    assert all(f"\ndropout.{place} " in text and LOCATIONS[place].acts_on in text for place in LOCATIONS)


@pytest.mark.parametrize("place", LOCATIONS)
def test_a_rule_says_what_its_location_takes(place: str) -> None:
    found = {part: settings()[f"dropout.{place}.{part}"] for part in ("kind", "p", "varies", "noise", "fill")}
    assert found["kind"].choices == tuple(kinds_at(place))
    assert found["varies"].choices == LOCATIONS[place].axes
    assert ("previous" in found["fill"].choices) == LOCATIONS[place].keeps_memory


@pytest.mark.parametrize(
    ("key", "guess"),
    [
        ("trainer.decay_aftr", "'trainer.decay_after'"),
        ("trainr", "'trainer'"),
        ("dropout.recurent.p", "'recurrent'"),
        ("evaluation.mc.sample", "'evaluation.mc.samples'"),
    ],
)
def test_an_unknown_key(rnndrop: Command, key: str, guess: str) -> None:
    done = rnndrop("help", key)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Did you mean {guess}?" in done.stderr and "Traceback" not in done.stderr


def test_without_a_key_or_with_a_command_it_is_the_help_of_that(rnndrop: Command) -> None:
    assert rnndrop("help").stdout == rnndrop("--help").stdout
    assert rnndrop("help", "sweep").stdout == rnndrop("sweep", "--help").stdout


def test_every_setting_has_a_meaning_and_an_example_that_changes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").touch()  # found, and not executed
    assert list(settings()) == list(known_keys())
    for key, setting in settings().items():
        assert setting.meaning.endswith("."), key
        assert flat(compose(shlex.split(setting.example)).model_dump(mode="json"))[key] != setting.default, key


def test_a_default_can_be_typed() -> None:
    before = compose([])
    keys = [key for key in settings() if not key.startswith("data.name")]
    assert compose([f"{key}={spelled(settings()[key].default)}" for key in keys]) == before


def test_the_shell_completes_keys() -> None:
    assert complete.keys("trainer.decay") == ["trainer.decay", "trainer.decay_after"]
    assert complete.keys("dropout.recurrent")[0] == "dropout.recurrent"
    assert complete.keys("experim") == ["experiment"]
