"""Random BPTT lengths: their distribution, and that the learning rate follows them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from rnndrop.config.compose import compose
from rnndrop.config.identity import digest, identity, of_before, run_id
from rnndrop.dropout.plan import plan
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.store.progress import Watching
from rnndrop.tasks import language_model
from rnndrop.tasks.language_model import Windows
from rnndrop.training.trainer import Training
from rnndrop.training.window_length import random_length

TOKENS = np.random.default_rng(0).integers(7, size=121)


def test_the_distribution_is_that_of_the_released_code() -> None:
    generator, random = torch.Generator().manual_seed(0), np.random.default_rng(0)
    ours = np.array([random_length(70, generator) for _ in range(20_000)])
    bases = np.where(random.random(20_000) < 0.95, 70, 35)
    theirs = np.maximum(5, random.normal(bases, 5).astype(int))
    assert np.mean(ours < 52) == pytest.approx(0.05, abs=0.006) == np.mean(theirs < 52)
    for part in (ours < 52, ours >= 52):
        same = theirs < 52 if part[ours.argmin()] else theirs >= 52
        assert ours[part].mean() == pytest.approx(theirs[same].mean(), abs=0.6)
        assert ours[part].std() == pytest.approx(theirs[same].std(), abs=0.5)


def test_no_window_is_shorter_than_five() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = {random_length(6, generator) for _ in range(500)}
    assert min(lengths) == 5 < max(lengths)


def training(monkeypatch: pytest.MonkeyPatch, lengths: list[int], **changes: Any) -> tuple[Training, list[float]]:
    """One epoch with given lengths; and the rate of each update."""
    numbers = iter(lengths)
    monkeypatch.setattr(language_model, "random_length", lambda window, generator: next(numbers))
    model = LanguageModel(ModelSettings("lstm", 6, 1, None, False), 7)
    model.initialize(0.1, torch.Generator().manual_seed(0))
    base = {"epochs": 1, "batch_size": 4, "window": 10, "optimizer": "sgd", "clip": None, "learning_rate": 0.5}
    settings = compose([]).trainer.model_copy(update={**base, **changes})
    generator = torch.Generator().manual_seed(1)
    one = Training(
        model, plan({}), settings, Windows(model, plan({}), settings, TOKENS, generator), generator, "perplexity"
    )
    rates = []

    def measure(progress: Any) -> None:
        rates.append(one.update.rate)

    one.run(lambda: 1.0, Watching(measure))
    return one, rates


def test_the_rate_follows_the_length_that_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    one, rates = training(monkeypatch, [5, 12, 10, 20], random_window=True)
    assert one.step == 4 and one.history[0]["tokens"] == len(TOKENS) - 1
    assert rates[:4] == pytest.approx([0.25, 0.6, 0.5, 1.0]) and one.history[0]["learning_rate"] == 0.5


def test_a_sum_over_time_has_the_length_in_it_already(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rates = training(monkeypatch, [5, 12, 10, 20], random_window=True, loss="sum_time")
    assert set(rates) == {0.5}
    config = compose(pair := ["trainer.random_window=true", "trainer.loss=sum_time"])
    tree = config.model_dump(mode="json")
    assert (
        digest(identity(tree)) == run_id(config) != digest(identity(tree, revised=False))
    )  # runs of before are others
    moon = compose(["experiment=moon_medium", *pair]).model_dump(
        mode="json"
    )  # its mask on the memory was redefined before
    then = {**identity(moon), "trainer.random_window": True}
    assert of_before(digest(then), moon) and not of_before(digest(identity(moon)), moon)
    for one in pair:
        tree = compose([one]).model_dump(mode="json")
        assert identity(tree) == identity(tree, revised=False)


def test_each_epoch_cuts_the_text_anew_and_a_resumed_one_alike() -> None:
    config = compose(["trainer.random_offset=true", "trainer.window=10", "trainer.batch_size=4", "model.layers=1"])
    model = LanguageModel(ModelSettings("lstm", 6, 1, None, False), 7)
    model.initialize(0.1, torch.Generator().manual_seed(0))
    offsets = [language_model._offset(config, epoch) for epoch in range(1, 60)]
    assert set(offsets) == set(range(10))

    def windows() -> Windows:
        generator = torch.Generator().manual_seed(1)
        return Windows(
            model, plan({}), config.trainer, TOKENS, generator, offset=partial(language_model._offset, config)
        )

    for epoch in (1, 2, 3):
        one = windows()
        one.begin(epoch)
        offset = offsets[epoch - 1]
        assert one.rows == 30 - offset
        assert [one.take(row).tokens for row in (0, 20)] == [40, 4 * (10 - offset)]
        whole = Windows(model, plan({}), config.trainer, TOKENS, torch.Generator())
        whole.begin(epoch)
        one.begin(epoch)
        assert one.take(0).loss == whole.take(offset).loss
        again = windows()
        again.begin(epoch)
        assert again.first == offset
