"""`rnndrop run debug=…`: a look at a training that leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import TINY, Command


def test_a_batch_that_is_learned_by_heart(rnndrop: Command, tmp_path: Path) -> None:
    request = [*TINY, "model.hidden=32", "trainer.window=5", "trainer.batch_size=4", "trainer.learning_rate=0.01"]
    done = rnndrop("run", *request, "debug=one_batch", "dropout=variational", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["learned"] and found["targets"] == 20 and found["unit"] == "nats per token"
    assert found["last"] <= 0.05 * found["first"] and 1 < found["steps"] < 1000
    assert not list(tmp_path.iterdir())


def test_a_batch_that_is_not(rnndrop: Command, tmp_path: Path) -> None:
    request = [*TINY, "trainer.window=5", "trainer.batch_size=4", "trainer.learning_rate=0.0000001"]
    done = rnndrop("run", *request, "debug=one_batch")
    assert done.returncode == 1 and done.stdout.startswith("✗ one batch of 20 targets, without dropout: loss ")
    assert "trainer.learning_rate" in done.stdout and "in 1000 steps" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_profile_of_a_step(rnndrop: Command, tmp_path: Path) -> None:
    done = rnndrop("run", *TINY, "dropout=naive", "trainer.window=8", "trainer.batch_size=4", "debug=profile", "--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    found = json.loads(done.stdout)
    assert list(found["phases"]) == ["forward", "backward", "update"] and min(found["phases"].values()) > 0
    assert found["tokens"] == 32 and 0 < len(found["operators"]) <= 12
    own = [ms for _, _, ms in found["operators"]]
    assert own == sorted(own, reverse=True)
    table = rnndrop("run", *TINY, "debug=profile").stdout
    assert "tokens/s" in table and "backward" in table and "aten::" in table
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "debug=profil"], "Did you mean 'profile'?"),
        (["run", "debug=profile", "model.hiden=3"], "Did you mean 'model.hidden'?"),
        (["sweep", "debug=profile"], "use `rnndrop run debug=…`"),
    ],
)
def test_a_wrong_request(rnndrop: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = rnndrop(*arguments)
    assert done.returncode == 2 and message in done.stderr and not list(tmp_path.iterdir())
