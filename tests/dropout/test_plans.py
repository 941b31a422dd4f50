"""Property-based: any plan over any shape trains a step with a finite loss, or is refused with a readable message."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnndrop.config.cells import CELLS
from rnndrop.config.compose import choices, compose
from rnndrop.dropout.masks import draw_masks, evaluation_masks
from rnndrop.dropout.noises import NOISES
from rnndrop.dropout.plan import plan
from rnndrop.dropout.rule import KINDS, LOCATIONS, SCHEDULES, kinds_at, rule, takes
from rnndrop.errors import RequestError
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import nll_sum

rates = st.one_of(st.just(0.0), st.floats(0, 0.95))
cells = st.sampled_from(list(CELLS))


@st.composite
def sensible_rules(draw: Any, location: str) -> dict[str, Any]:
    place = LOCATIONS[location]
    kind = draw(st.sampled_from([kind for kind in kinds_at(location) if kind != "none"]))
    plain = KINDS[kind].fill == "zero"
    names = [each.name for each in NOISES.values() if each.holes or (plain and (place.is_weight or not special(each)))]
    names = [name for name in names if name != "dirichlet" or KINDS[kind].varies & {"feature", "in", "type"}]
    names = [name for name in names if name not in ("sparse", "bayes") or kind == "dropconnect"]
    found = {"kind": kind, "p": draw(rates), "noise": draw(st.sampled_from(names))}
    holes = NOISES[found["noise"]].holes
    possible: dict[str, Any] = {}
    if "time" in KINDS[kind].varies and location != "token" and found["noise"] != "dirichlet":
        possible |= {"flip": st.floats(0, 1)} | ({"block": st.integers(1, 6)} if holes else {})
    if plain and not NOISES[found["noise"]].learned:
        possible["schedule"] = st.sampled_from(SCHEDULES[:4])
    if plain and holes and takes(place, "gradient") and "gate" not in KINDS[kind].varies:
        possible["gradient"] = st.just(True)
    if plain and holes and place.is_weight:
        possible["smallest"] = st.floats(0.01, 0.99)
    if possible and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(possible)))
        found[name] = draw(possible[name])
        found |= {"until": draw(st.floats(0.1, 9))} if name == "schedule" else {}
    if draw(st.booleans()) and not (special(NOISES[found["noise"]]) or {"gradient", "smallest"} & set(found)):
        alike = [name for name in kinds_at(location) if name != "none" and KINDS[name].fill == KINDS[kind].fill]
        if KINDS[kind].fill in ("zero", "previous"):
            found["also"] = [{"kind": draw(st.sampled_from(alike)), "p": draw(rates)}]
    return found


def special(noise: Any) -> bool:
    return bool(noise.added or noise.learned)


plans = st.fixed_dictionaries({}, optional={location: sensible_rules(location) for location in LOCATIONS})
anything = st.fixed_dictionaries(
    {"location": st.sampled_from([*LOCATIONS, "nowhere"]), "kind": st.sampled_from([*KINDS, "nothing"])},
    optional={
        "p": st.one_of(rates, st.floats(-1, 2), st.just(math.nan)),
        "varies": st.none()
        | st.lists(st.sampled_from(["time", "batch", "gate", "feature", "type", "out", "in", "layer", "x"])),
        "noise": st.none() | st.sampled_from([*NOISES, "pink"]),
        "fill": st.none() | st.sampled_from([*(fill for place in LOCATIONS.values() for fill in place.fills), "sand"]),
        "flip": st.none() | st.floats(-1, 2) | st.just(math.nan),
        "block": st.none() | st.integers(-1, 9),
        "schedule": st.none() | st.sampled_from([*SCHEDULES, "sine"]),
        "until": st.none() | st.floats(-1, 9),
        "gradient": st.booleans(),
        "smallest": st.none() | st.floats(-1, 2),
        "discounted": st.booleans(),
    },
)


@settings(max_examples=150, deadline=None)
@given(plans, cells, st.tuples(*[st.integers(1, 4)] * 6), st.booleans(), st.integers(0, 2**31))
def test_any_plan_gives_a_finite_loss(
    rules: dict[str, Any], cell: str, shape: tuple[int, ...], tied: bool, seed: int
) -> None:
    steps, batch, vocabulary, hidden, layers, width = shape
    rules = {location: each for location, each in rules.items() if location not in CELLS[cell].without}
    dropout = plan(rules)
    model = LanguageModel(ModelSettings(cell, hidden, layers, width, tied), vocabulary)
    generator = torch.Generator().manual_seed(seed)
    model.initialize(0.5, generator)
    model.hold(dropout)
    words = torch.randint(vocabulary, (steps + 1, batch), generator=generator)
    drawn = draw_masks(dropout.after(0.7), model.sizes, steps, batch, generator, held=model.held)
    for masks in (drawn, evaluation_masks(dropout, model.sizes, generator, held=model.held)):
        features, _ = model.features(words[:-1], model.initial_state(batch), masks)
        loss = nll_sum(features, *model.decoder_weights(masks), words[1:])
        loss.backward()
        assert torch.isfinite(loss)
        assert all(p.grad is None or bool(torch.isfinite(p.grad.to_dense()).all()) for p in model.parameters())


@settings(max_examples=400, deadline=None)
@given(anything)
def test_any_rule_is_right_or_refused_by_name(request: dict[str, Any]) -> None:
    try:
        each = rule(**request)
    except RequestError as error:
        assert request["location"] in str(error) or request["kind"] in str(error)
        return
    assert 0 <= each.p < 1 and each.varies <= set(LOCATIONS[each.location].axes)
    assert each.kind == "custom" or each.kind in kinds_at(each.location)
    if each.kind not in ("custom", "none"):
        assert rule(each.location, each.kind, each.p, noise=each.noise, **each.extras) == each


def test_a_custom_rule_is_known_by_the_kind_that_it_is() -> None:
    assert rule("recurrent", "none", 0.2, varies=["feature", "batch"]).kind == "locked"
    assert rule("recurrent", "none", 0.2, varies=["gate"]).kind == "custom"
    assert rule("cell", "naive", 0.2, fill="previous").kind == "zoneout"
    assert rule("weight_decoder", "dropconnect", 0.2).varies == {"out", "in"}


@pytest.mark.parametrize("name", sorted(choices("dropout")))
def test_every_named_plan_composes_and_opens_with_what_it_is(name: str) -> None:
    config = compose([f"dropout={name}"])
    assert config.dropout.name == name
    assert len(choices("dropout")[name]) > 20
    assert name == "none" or any(config.plan.active)


NEWER = (
    "annealed", "bayes", "blank_noising", "concrete", "curriculum", "dirichlet", "drifting", "early", "h_detach",
    "kn_noising", "layer_drop", "masked_input", "melis", "mixconnect", "mixout", "scheduled_sampling", "spans",
    "sparse", "stochastic_depth", "targeted", "token_and_locked", "unigram_noising", "variational_noising",
    "weight_noise", "word_dropout",
)  # fmt: skip


def test_the_missions_plans() -> None:
    described = {name: str(compose([f"dropout={name}"]).plan) for name in choices("dropout")}
    names = "none naive zaremba variational variational_untied variational_weight dropconnect locked embedding awd"
    assert set(described) == {
        *names.split(),
        "rnndrop",
        "recurrent_update",
        "zoneout",
        "zoneout_words",
        "gaussian",
        "shared",
        *NEWER,
    }
    assert described["token_and_locked"].startswith("input locked .3 · input token .1 · hidden locked .3")
    assert described["masked_input"] == "token blank .5 schedule uniform"
    assert described["h_detach"] == "recurrent token .25 gradient"
    assert described["awd"] == (
        "embedding word .1 · input locked .4 · hidden locked .25 · output locked .4 · weight_hh dropconnect .5"
    )
    assert described["zoneout"] == "cell zoneout .5 · state zoneout .05"
    assert described["zoneout_words"] == (
        "input naive .5 · hidden naive .5 · cell zoneout .25 · state zoneout .025 · output naive .5"
    )
