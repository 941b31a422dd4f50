"""Our composing, apart from Hydra's state and by shares, gives what Hydra gives."""

from __future__ import annotations

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import OmegaConf

from rnndrop.config.cells import CELLS
from rnndrop.config.compose import compose
from rnndrop.config.schema import checked
from rnndrop.errors import RequestError

REQUESTS = [
    [],
    ["dropout=variational", "dropout.recurrent.p=0.2", "seed=3"],
    ["dropout.recurrent.p=0.2", "dropout=variational", "dropout.recurrent.p=0.4"],
    ["model=[large,medium]", "model.hidden=7", "trainer.clip=null"],
    ["experiment=zaremba_small", "trainer.epochs=1", "seed=1"],
    ["data=text", "data.file='a file.txt'", "data.split=[.8,.1,.1]"],
    ["dropout.recurrent={kind: locked, p: .25}", "dropout.recurrent.varies=[batch,feature]"],
    ["++trainer.epochs=3", "trainer.epochs=4"],
    ["trainer.patience=${trainer.epochs}", "data.split=[.6,.3,.1]", "label=run-${seed}"],
    ["task=sentiment", "dropout=variational", "dropout.input={p: .2}", "dropout.input.kind=shared"],
]


@pytest.mark.parametrize("overrides", REQUESTS, ids=" ".join)
def test_same_as_hydra(overrides: list[str]) -> None:
    mine = compose(overrides)
    with initialize_config_module("rnndrop.conf", version_base="1.3"):
        tree = OmegaConf.to_container(hydra_compose("config", overrides=overrides), resolve=True)
    assert isinstance(tree, dict)
    tree.pop("experiment", None)
    assert mine == checked({str(key): value for key, value in tree.items()})
    assert compose(overrides) == mine


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_is_an_option_of_model(cell: str) -> None:
    assert compose([f"model={cell}"]) == compose([f"model.cell={cell}"])
    assert compose([f"model=[{cell},medium]"]) == compose(["model=medium", f"model.cell={cell}"])
    assert compose(["model.cell=rnn", f"model={cell}"]).model.cell == "rnn"  # what is chosen comes before what is set
    recipe = compose(["experiment=zaremba_medium", f"model={cell}"]).model
    assert (recipe.cell, recipe.hidden) == (cell, 200)  # in place of its own choice, as with any other option


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dropout=layer_drop", "model.layers=1", "model.embedding=5"], "5 → 200"),
        (["dropout=layer_drop", "model.tie_weights=true", "model.embedding=5", "model.layers=2"], "5 → 200 → 5"),
        (["dropout=sparse", "evaluation.mc.samples=2", "evaluation.mc.rate=0.5"], "learned noise"),
        (["model.cell=gru", "model.forget_bias=1"], "no forget gate"),
    ],
)
def test_what_would_do_nothing_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(RequestError) as refused:
        compose(overrides)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["task=sentiment", "dropout.token.also=[{kind:blank,p:0.3}]"],
        ["task=sentiment", "dropout.weight_decoder.also=[{kind:dropconnect,p:0.3}]"],
        ["dropout=bayes", "twin.loss=ce", "twin.weight=1", "twin.alone=[weight_hh]"],
    ],
)
def test_rules_in_also_and_learned_noise_are_looked_at_too(overrides: list[str]) -> None:
    with pytest.raises(RequestError, match=r"no meaning for task=sentiment|learned"):
        compose(overrides)
