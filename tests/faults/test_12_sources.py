"""What the twelfth look found: recipes beside the sources that they cite, and a beat that no clock can have written."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.stats import bootstrap
from rnndrop.store import heartbeat
from rnndrop.store.nll_blocks import block_sums, stretches
from rnndrop.store.status import standing
from tests.invented import write_run


@pytest.mark.parametrize("epochs", [1, 6, 39])
def test_12_annealed_dropout_ends_with_the_training(epochs: int) -> None:
    plan = compose(["dropout=annealed", f"trainer.epochs={epochs}"]).plan
    assert {(rule.schedule, rule.until) for rule in plan.active} == {("linear", epochs)}


def test_12_early_dropout_falls_as_in_its_authors_commands() -> None:
    config = compose(["dropout=early"])
    share = {(rule.schedule, (rule.until or 0) / config.trainer.epochs) for rule in config.plan.active}
    assert share == {("linear", 50 / 300)}


def test_12_a_share_of_blanks_for_each_sequence_is_another_run_than_one_for_the_window() -> None:
    """What was measured when all sequences had one share is not taken for a run of today."""
    from rnndrop.config import identity

    config = compose(["dropout=masked_input", "twin=mir"])
    kept = identity.identity(config.model_dump(mode="json"))
    assert kept["dropout.token"]["definition"] == 2
    constant = identity.identity(compose(["dropout=blank_noising"]).model_dump(mode="json"))
    assert "definition" not in constant["dropout.token"] and run_id(config) == identity.digest(kept)


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
    dice, held, before = np.random.default_rng(1), 0, 0
    for _ in range(100):
        easy = np.repeat(dice.normal(5, 0.6, 100), 800)[:40_000]
        blocks = block_sums(easy + dice.normal(0, 3, len(easy)))
        for each, name in ((stretches(blocks, "word"), "held"), (blocks, "before")):
            low, high = np.quantile(bootstrap(each[:1], each[1], samples=300), [0.025, 0.975])
            held, before = held + (name == "held" and low < 5 < high), before + (name == "before" and low < 5 < high)
    assert held >= 85 and before <= 50
