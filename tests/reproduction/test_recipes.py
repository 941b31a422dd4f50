"""The recipes: each says what it is, has the published size, composes with any plan and trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rnndrop
from rnndrop.config.compose import choices, compose
from rnndrop.config.schema import Config
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.training.optimizer import learning_rate
from tests.conftest import ROOT

RECIPES = sorted(choices("experiment"))


def test_the_recipes_of_the_papers_are_there() -> None:
    named = "zaremba_small zaremba_medium zaremba_large gal_medium gal_medium_untied gal_large gal_large_untied"
    assert {*named.split(), "moon_medium", "awd_ptb", "awd_wt2", "zoneout_ptb_char", "demo"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_opens_with_citation_launch_line_expectation_and_hardware(name: str) -> None:
    text = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text("utf-8")
    opening = [line for line in text.splitlines()[1:] if line.startswith("#")]
    assert f"  rnndrop run experiment={name}" in "\n".join(opening)
    assert any(line.startswith(("# Published: ", "# Expected")) for line in opening)
    assert any(line.startswith("# Hardware and time: ") for line in opening)


def tiny(name: str, tmp_path: Path) -> tuple[Config, list[str]]:
    """The recipe with few units, on a small text that makes two windows an epoch."""
    full = compose([f"experiment={name}"])
    words = np.random.default_rng(0).choice(list("abcdefgh"), size=(2500, 10))
    (tmp_path / "text.txt").write_text("\n".join(" ".join(line) for line in words))
    overrides = [
        f"experiment={name}", "data=text", f"data.file={tmp_path}/text.txt", f"data.level={full.data.level}",
        f"data.train_tokens={1 + full.trainer.batch_size * 3 * full.trainer.window // 2}", "model.hidden=8",
        "trainer.epochs=1", f"trainer.finetune_epochs={min(1, full.trainer.finetune_epochs)}", "trainer.device=cpu",
        "trainer.threads=1", f"evaluation.mc.samples={min(2, full.evaluation.mc.samples)}",
        "evaluation.batch_size=50", f"output={tmp_path}",
    ]  # fmt: skip
    overrides += ["model.embedding=6"] if full.model.embedding else []
    return compose(overrides), overrides


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_for_two_steps(name: str, tmp_path: Path) -> None:
    config, overrides = tiny(name, tmp_path)
    steps: list[int] = []
    record = rnndrop.run(overrides, lambda progress: steps.append(progress.step))
    assert record.status == "finished", record.error
    assert max(steps) >= 2 * record.metrics["epochs"]
    assert record.metrics["epochs"] == 1 + config.trainer.finetune_epochs
    assert ("test_perplexity_mc" in record.metrics) == bool(config.evaluation.mc.samples)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_takes_another_plan(name: str) -> None:
    assert not list(compose([f"experiment={name}", "dropout=none"]).plan.active)
    naive = compose([f"experiment={name}", "dropout=naive"])
    assert str(naive.plan) == str(compose(["dropout=naive", f"model.layers={naive.model.layers}"]).plan)


PARAMETERS = {
    "zaremba_small": 4_653_200,
    "zaremba_medium": 19_780_400,  # "20M"
    "zaremba_large": 66_034_000,  # "66M"
    "gal_medium_untied": 19_780_400,
    "awd_ptb": 24_221_600,  # as the released code prints
    "awd_wt2": 33_556_078,  # as the released code prints
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_size_is_the_published_one(name: str) -> None:
    config = compose([f"experiment={name}"])
    with torch.device("meta"):
        types = {"ptb": 10_000, "wikitext2": 33_278}[config.data.name]
        model = LanguageModel(ModelSettings(**config.model.model_dump()), types)
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "last_full", "decay"),
    [("zaremba_medium", 7, 1.2), ("zaremba_large", 15, 1.15), ("gal_large", 11, 1.15), ("gal_medium_untied", 7, 1.2)],
)
def test_the_rate_first_drops_after_epoch_max_epoch_plus_1(name: str, last_full: int, decay: float) -> None:
    trainer = compose([f"experiment={name}"]).trainer
    assert learning_rate(trainer, last_full) == 1.0
    assert learning_rate(trainer, last_full + 1) == pytest.approx(1 / decay)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("gal_large", {"embedding": 0.3, "input": 0.5, "hidden": 0.5, "recurrent": 0.3, "output": 0.5}),
        ("gal_large_untied", {"embedding": 0.3, "input": 0.5, "hidden": 0.5, "recurrent": 0.3, "output": 0.5}),
        ("gal_medium", {"embedding": 0.2, "input": 0.35, "hidden": 0.35, "recurrent": 0.2, "output": 0.35}),
        ("gal_medium_untied", {"embedding": 0.2, "input": 0.35, "hidden": 0.35, "recurrent": 0.2, "output": 0.35}),
        ("zaremba_large", {"input": 0.65, "hidden": 0.65, "output": 0.65}),
        ("awd_ptb", {"embedding": 0.1, "input": 0.4, "hidden": 0.25, "output": 0.4, "weight_hh": 0.5}),
        ("awd_wt2", {"embedding": 0.1, "input": 0.65, "hidden": 0.2, "output": 0.4, "weight_hh": 0.5}),
    ],
)
def test_published_rates(name: str, rates: dict[str, Any]) -> None:
    config = compose([f"experiment={name}"])
    assert {rule.location: rule.p for rule in config.plan.active} == rates
    plan = {"gal": "variational", "zaremba": "zaremba", "awd": "awd"}[name.partition("_")[0]]
    assert config.dropout.name == plan + ("_untied" if name.endswith("_untied") else "")
    if plan == "variational":  # section 5.1: one rate for embeddings and recurrent layers, one for inputs and outputs
        assert rates["embedding"] == rates["recurrent"] and rates["input"] == rates["hidden"] == rates["output"]
