"""A model of the user's own, `model.module=PACKAGE.MODULE:NAME`: what it is called with, and what means nothing for it.

Light: plans, run ids and reports need no more. The model itself is in `rnndrop.models.own`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnndrop.config.tasks import check_refused
from rnndrop.dropout.rule import LOCATIONS
from rnndrop.errors import RequestError

SETTING = "model.module"
SIZES = ("hidden", "layers", "embedding", "tie_weights")  # the settings of a model that it is called with

_OWN_DROPOUT = (
    "your model brings its own dropout. Put WeightDrop, LockedDropout or EmbeddingDropout of rnndrop.dropout.modules"
    " into it, and give dropout=none."
)
_LOGITS = "it needs h of the top layer, but your model returns logits."
REFUSED = {
    **{f"dropout.{place}.p": _OWN_DROPOUT for place in LOCATIONS},
    "model.forget_bias": "it draws its own initial weights.",
    "trainer.init_by_width": "it draws its own initial weights.",
    "twin.loss": "its second pass draws the masks of a plan, but your model draws its own.",
    **dict.fromkeys([f"trainer.{name}" for name in ("ar", "tar", "norm_stabiliser", "adversarial_softmax")], _LOGITS),
    "evaluation.cache.size": _LOGITS,
    "evaluation.mc.rate": "it multiplies the rates of a plan.",
}
"""Settings that are an error where they ask for something, with the reason."""


def arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    """What the class is called with beside the size of the vocabulary, by keyword, from the settings of a model."""
    sizes = {name: model[name] for name in SIZES}
    return {**sizes, "embedding": model["embedding"] or model["hidden"], **model["options"]}


def check_module(tree: Mapping[str, Any]) -> None:
    """Raise RequestError where the settings of a checked configuration have no meaning for its `model.module`."""
    name = f"{SETTING}={tree['model']['module']}"
    for key in tree["model"]["options"]:
        if key in SIZES:
            raise RequestError(f"model.options.{key}: give model.{key} instead; {SETTING} is called with it.")
        if not key.isidentifier():
            raise RequestError(f"model.options.{key}: it is a keyword argument of the class, as model.options.p.")
    check_refused(tree, REFUSED, name)
    if tree["trainer"]["precision"] == "bf16":
        raise RequestError(f"trainer.precision=bf16 has no meaning for {name}: it rounds what our own products take.")
    mc = tree["evaluation"]["mc"]
    if mc["samples"] and (mc["masks"] != "window" or not mc["embedding"]):
        raise RequestError(
            f"evaluation.mc: {name} draws all of its masks each time that it reads a window. Give"
            " evaluation.mc.masks=window evaluation.mc.embedding=true."
        )
