"""Seeds of single sources of chance, and what each is worth."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.errors import RequestError
from rnndrop.stats import std_interval
from rnndrop.store.ownership import folder_of
from rnndrop.store.records import WEIGHTS
from rnndrop.sweeps.variance import sources
from tests.conftest import TINY, Command

RANDOM = [*TINY, "dropout=naive", "trainer.random_window=true"]


def weights(overrides: list[str]) -> bytes:
    rnndrop.run(overrides)
    return (folder_of(compose(overrides)) / WEIGHTS).read_bytes()


@pytest.mark.parametrize("source", ["init", "data", "masks"])
def test_each_source_alone_changes_a_run_and_all_together_are_the_seed(tmp_path: Path, source: str) -> None:
    there = [*RANDOM, "trainer.epochs=1", f"output={tmp_path}"]
    fixed = [f"seeds.{other}=0" for other in ("init", "data", "masks") if other != source]
    one, other = (weights([*there, *fixed, f"seed={seed}"]) for seed in (0, 1))
    assert one != other
    all_fixed = [f"seeds.{name}=0" for name in ("init", "data", "masks")]
    first, second = (weights([*there, *all_fixed, f"seed={seed}"]) for seed in (0, 1))
    assert first == second == one


def test_a_seed_of_its_own_is_part_of_what_a_run_is() -> None:
    naive = [*TINY, "dropout=naive"]
    assert run_id(compose([*naive, "seeds.masks=null"])) == run_id(compose(naive))
    assert len({run_id(compose([*naive, *each])) for each in ([], ["seeds.masks=0"], ["seeds.masks=1"])}) == 3


def test_the_only_source_is_worth_all_of_it(rnndrop: Command, tmp_path: Path) -> None:
    arguments = [*TINY, "dropout=none", "trainer.epochs=1", "seed=range(2)", f"output={tmp_path}"]
    rows = {row["source"]: row for row in json.loads(rnndrop("variance", *arguments, "--json").stdout)}
    assert rows["initial weights"]["std"] == rows["all seeds"]["std"] > 0 and rows["initial weights"]["share"] == 1
    assert len(list(tmp_path.rglob("record.json"))) == 2


SEEDED = ["seeds.data=3", "seeds.masks=3"]


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        (["dropout=none"], {"seeds.data=3", "seeds.masks=3"}),
        (["dropout=naive"], {"seeds.data=3"}),
        (["dropout=none", "dropout.input.also=[{kind:locked,p:0.1}]"], {"seeds.data=3"}),
        (["dropout=none", "dropout.hidden.kind=locked", "dropout.hidden.p=.3", "model.layers=1"], set(SEEDED)),
        (["dropout=naive", "trainer.random_window=true"], set()),
        (["dropout=none", "trainer.random_window=true"], set()),  # windows and masks have one source otherwise
    ],
)
def test_a_seed_of_what_is_not_drawn_is_no_part_of_a_run(settings: list[str], idle: set[str]) -> None:
    plain = run_id(compose([*TINY, *settings]))
    assert {seed for seed in SEEDED if run_id(compose([*TINY, *settings, seed])) == plain} == idle


def test_with_windows_of_a_seed_of_their_own_that_of_no_masks_is_idle() -> None:
    windows = [*TINY, "dropout=none", "trainer.random_window=true", "seeds.data=1"]
    assert run_id(compose(windows)) == run_id(compose([*windows, "seeds.masks=3"]))


def test_reviews_come_in_an_order_and_have_masks_only_with_dropout() -> None:
    names = {
        seed: run_id(compose(["task=sentiment", "data=movie_reviews", "dropout=none", *seed]))
        for seed in ((), ("seeds.data=3",), ("seeds.masks=3",))
    }
    assert names[()] == names[("seeds.masks=3",)] != names[("seeds.data=3",)]


def test_what_is_the_same_run_trains_to_the_same_bits_and_resumes(tmp_path: Path) -> None:
    there = [*TINY, "dropout=naive", "trainer.epochs=1"]
    assert weights([*there, f"output={tmp_path}/a"]) == weights([*there, "seeds.data=3", f"output={tmp_path}/b"])
    windows = [*TINY, "dropout=none", "trainer.epochs=1", "trainer.random_window=true", "seeds.data=1"]
    assert weights([*windows, f"output={tmp_path}/a"]) == weights([*windows, "seeds.masks=3", f"output={tmp_path}/b"])


def test_a_source_with_a_seed_of_its_own_does_not_vary_and_keeps_it() -> None:
    found = sources([*RANDOM, "seeds.init=7", "seed=range(2)"])
    assert [source.name for source in found] == ["all", "data", "masks"]
    assert {job.config.seeds.init for source in found for job in source.jobs} == {7}
    assert {job.config.seeds.masks for job in found[1].jobs} == {0}
    with pytest.raises(RequestError, match=r"Leave out one of these: seeds\.init"):
        sources([*TINY, "dropout=none", "seeds.init=7", "seed=range(2)"])


def test_the_interval_of_a_std_holds_as_often_as_it_says() -> None:
    draws: NDArray[Any] = np.random.default_rng(0).normal(0, 2, (4000, 5))
    bounds = [std_interval(float(std), 5) for std in draws.std(axis=1, ddof=1)]
    assert np.mean([low < 2 < high for low, high in bounds]) == pytest.approx(0.95, abs=0.012)


def test_what_each_source_is_worth(rnndrop: Command, tmp_path: Path) -> None:
    arguments = [*TINY, "dropout=naive", "trainer.epochs=1", "seed=range(2)", f"output={tmp_path}"]
    done = rnndrop("variance", *arguments)
    assert done.returncode == 0, done.stderr
    rows = {row["source"]: row for row in json.loads(rnndrop("variance", *arguments, "--json").stdout)}
    assert list(rows) == ["all seeds", "initial weights", "masks", "test text"]  # this text has one order
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    assert len(records) == 6
    inits = [r["metrics"]["test_perplexity"] for r in records if "seeds.masks=0" in r["overrides"]]
    expected = abs(math.log(inits[0] / inits[1])) / math.sqrt(2)
    assert rows["initial weights"]["std"] == pytest.approx(expected)
    assert rows["initial weights"]["share"] == pytest.approx(expected**2 / rows["all seeds"]["std"] ** 2)


@pytest.mark.parametrize("overrides", [["dropout=none,naive"], ["seed=3"]])
def test_it_wants_one_configuration_and_two_seeds(rnndrop: Command, overrides: list[str]) -> None:
    done = rnndrop("variance", *overrides, "--dry-run")
    assert done.returncode == 2 and "two seeds or more" in done.stderr and "Traceback" not in done.stderr
