"""What a run depends on: types and ranges. The defaults live in `conf/`.

A default here marks a setting that came after the first records: it is what the runs of then did, so that a run that
leaves it there is the run it was (`rnndrop.config.identity`).
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rnndrop.config.identity import rounded
from rnndrop.config.task import check_task
from rnndrop.dropout.plan import Plan, plan
from rnndrop.dropout.rule import LOCATIONS
from rnndrop.errors import RequestError, shorten, suggestion, unknown
from rnndrop.paths import path_of
from rnndrop.values import Masks

MOST = 10**9  # of anything counted: torch, the displays and files take no more
LARGEST = 1e30  # float32 ends at 3e38

Positive = Annotated[int, Field(ge=1, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Scale = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]


class Settings(BaseModel):
    """A group of settings that refuses unknown keys and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class DataSettings(Settings):
    """Which corpus, and how it is read."""

    name: str
    level: Literal["word", "char"]
    root: str | None
    train_tokens: Annotated[int, Field(ge=2, le=MOST)] | None
    train: str | None
    valid: str | None
    test: str | None
    file: str | None
    split: tuple[Fraction, Fraction, Fraction]
    min_count: Positive
    split_by: Literal["review", "chunk"] | None = None
    chunk_tokens: Positive | None = None
    types: Positive | None = None


class ModelSettings(Settings):
    """The shape of the language model; see `rnndrop.models.language_model`."""

    cell: Literal["lstm", "gru", "rnn"]
    hidden: Annotated[int, Field(ge=1, le=10**6)]
    layers: Annotated[int, Field(ge=1, le=1000)]
    embedding: Annotated[int, Field(ge=1, le=10**6)] | None
    tie_weights: bool


class RuleSettings(Settings):
    """One location's rule; see `rnndrop.dropout.rule`."""

    kind: str
    p: float
    varies: tuple[str, ...] | None
    noise: str | None
    fill: str | None


class DropoutSettings(Settings):
    """A named plan: one rule a location."""

    name: str
    embedding: RuleSettings
    input: RuleSettings
    hidden: RuleSettings
    recurrent: RuleSettings
    update: RuleSettings
    cell: RuleSettings
    state: RuleSettings
    output: RuleSettings
    weight_ih: RuleSettings
    weight_hh: RuleSettings
    weight_decoder: RuleSettings


class TrainerSettings(Settings):
    """How the model is trained; see `conf/trainer/default.yaml` for the meaning of each."""

    epochs: Positive
    batch_size: Positive
    window: Positive
    optimizer: Literal["sgd", "adam", "adamw"]
    learning_rate: Scale
    decay: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)]
    decay_after: Count
    loss: Literal["mean", "sum_time"]
    clip: Scale | None
    weight_decay: Annotated[float, Field(ge=0, lt=1)]
    scaled_decay: bool
    random_window: bool = False
    ar: NotNegative = 0.0
    tar: NotNegative = 0.0
    nonmono: Positive | None = None
    finetune_epochs: Count = 0
    init: Scale
    init_by_width: bool = False
    patience: Positive | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    threads: Positive | None
    checkpoint_epochs: Positive | None
    checkpoint_seconds: Annotated[float, Field(ge=0)] | None
    tensorboard: bool


class MonteCarloSettings(Settings):
    """Monte-Carlo evaluation; see `rnndrop.evaluation.monte_carlo`."""

    samples: Count
    masks: Masks
    embedding: bool


class CacheSettings(Settings):
    """The continuous cache; see `rnndrop.evaluation.neural_cache`."""

    size: Count
    theta: NotNegative
    mix: Fraction


class DynamicSettings(Settings):
    """Dynamic evaluation; see `rnndrop.evaluation.dynamic`."""

    rule: Literal["sgd", "rms"] | None
    window: Positive
    learning_rate: Scale
    decay: Annotated[float, Field(ge=0, le=1)]
    epsilon: Scale
    batch_size: Positive


class EvaluationSettings(Settings):
    """How perplexity is measured."""

    batch_size: Positive
    window: Positive
    mc: MonteCarloSettings
    cache: CacheSettings
    dynamic: DynamicSettings


class Config(Settings):
    """Everything that one run depends on."""

    task: Literal["language_model", "sentiment"] = "language_model"
    data: DataSettings
    model: ModelSettings
    dropout: DropoutSettings
    trainer: TrainerSettings
    evaluation: EvaluationSettings
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    output: str
    label: str | None = None

    @property
    def plan(self) -> Plan:
        """The dropout plan: one rule a location."""
        return _plan(self.dropout, self.model.cell, self.model.layers)

    @property
    def without_effect(self) -> list[str]:
        """A line for each rule that does nothing in this model, and why."""
        asked = _plan(self.dropout, self.model.cell, None)
        layers = self.model.layers
        return [
            f"dropout.{rule.location} does nothing here: it acts on {LOCATIONS[rule.location].acts_on}, "
            f"and model.layers={layers}."
            for rule in asked.active
            if not rule.within(layers).active
        ]


@lru_cache(maxsize=256)
def _plan(dropout: DropoutSettings, cell: str, layers: int | None) -> Plan:
    return plan(dropout.model_dump(exclude={"name"}), cell, layers)


def checked(tree: dict[str, Any]) -> Config:
    """Check a resolved tree of settings. Raises RequestError with one line for each problem."""
    for location in tree.get("dropout", {}):
        if location != "name" and location not in LOCATIONS:
            raise unknown("dropout location", location, LOCATIONS)
    try:
        config = Config.model_validate({name: _group(name, value) for name, value in tree.items()})
    except ValidationError as error:
        raise RequestError("\n".join(_explain(problem, tree) for problem in error.errors())) from None
    _ = config.plan  # a rule without meaning is refused here
    check_task(config.model_dump())
    return config.model_copy(update={"output": str(path_of(config.output))}) if config.output[:1] == "~" else config


def _group(name: str, value: Any) -> Any:
    """A group of settings, the same object for the same settings: the runs of a grid share most. Others rounded."""
    kind = Config.model_fields[name].annotation if name in Config.model_fields else None
    if not (isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Settings)):
        return _rounded({name: value})[name]
    try:
        return _known_group(kind, json.dumps(value))
    except (TypeError, ValueError, RecursionError):  # the check of the whole will say where and why
        return _rounded(value)


@lru_cache(maxsize=4096)
def _known_group(kind: type[Settings], spelled: str) -> Settings:
    return kind.model_validate(_rounded(json.loads(spelled)))


def _rounded(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: _rounded(value) if isinstance(value, dict) else rounded(value) for name, value in tree.items()}


def _explain(problem: Any, tree: dict[str, Any]) -> str:
    """One line for a pydantic problem: the key, the value, what was expected."""
    parts = [str(part) for part in problem["loc"]]
    key = ".".join(parts)
    if problem["type"] == "extra_forbidden":
        group: Any = tree
        for part in parts[:-1]:
            group = group[part]
        model: Any = Config
        for part in parts[:-1]:
            model = model.model_fields[part].annotation
        return f"No setting {key!r}.{suggestion(parts[-1], model.model_fields)}"
    if problem["type"] == "missing":
        return f"The setting {key!r} is missing."
    value = shorten(str(problem["input"]), 100)
    return f"{key}={value}: {problem['msg'][0].lower()}{problem['msg'][1:]}."
