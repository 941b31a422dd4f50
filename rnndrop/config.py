"""What a run depends on: types, ranges and identity. The defaults live in `conf/` alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rnndrop.dropout.plan import Plan, plan
from rnndrop.dropout.rule import LOCATIONS
from rnndrop.errors import RequestError, suggestion, unknown
from rnndrop.records import NOT_IDENTITY, SCHEMA
from rnndrop.task import check_task

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """A group of settings that refuses unknown keys and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(Settings):
    """Which corpus, and how it is read."""

    name: str
    level: Literal["word", "char"]
    root: str | None
    train_tokens: Annotated[int, Field(ge=2)] | None
    train: str | None
    valid: str | None
    test: str | None
    file: str | None
    split: tuple[Fraction, Fraction, Fraction]
    min_count: Positive
    split_by: Literal["review", "chunk"] | None
    chunk_tokens: Positive | None
    types: Positive | None


class ModelSettings(Settings):
    """The shape of the language model; see `rnndrop.model`."""

    cell: Literal["lstm", "gru", "rnn"]
    hidden: Positive
    layers: Positive
    embedding: Positive | None
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
    decay: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    decay_after: Annotated[int, Field(ge=0)]
    loss: Literal["mean", "sum_time"]
    clip: Scale | None
    weight_decay: Annotated[float, Field(ge=0, lt=1)]
    scaled_decay: bool
    random_window: bool
    ar: NotNegative
    tar: NotNegative
    nonmono: Positive | None
    finetune_epochs: Annotated[int, Field(ge=0)]
    init: Scale
    init_by_width: bool
    patience: Positive | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["float32", "tf32", "bf16"]
    threads: Positive | None
    checkpoint_epochs: Positive | None
    checkpoint_seconds: Annotated[float, Field(ge=0)] | None
    tensorboard: bool


class MonteCarloSettings(Settings):
    """Monte-Carlo evaluation; see `rnndrop.montecarlo`."""

    samples: Annotated[int, Field(ge=0)]
    masks: Literal["pass", "window"]
    embedding: bool


class CacheSettings(Settings):
    """The continuous cache; see `rnndrop.cache`."""

    size: Annotated[int, Field(ge=0)]
    theta: NotNegative
    mix: Fraction


class DynamicSettings(Settings):
    """Dynamic evaluation; see `rnndrop.dynamic`."""

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

    task: Literal["language_model", "sentiment"]
    data: DataSettings
    model: ModelSettings
    dropout: DropoutSettings
    trainer: TrainerSettings
    evaluation: EvaluationSettings
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    output: str
    label: str | None = None  # records written before there were labels have none

    @property
    def plan(self) -> Plan:
        """The dropout plan: one rule a location."""
        return plan(self.dropout.model_dump(exclude={"name"}), self.model.cell)


_OWN_FILES = ("train", "valid", "test", "file")
# Settings that came later, with the value that stands for what was before: with it they are no part of the identity.
_LATER: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("task",), "language_model"),
    (("data", "split_by"), None),
    (("data", "chunk_tokens"), None),
    (("data", "types"), None),
    (("trainer", "random_window"), False),
    (("trainer", "ar"), 0.0),
    (("trainer", "tar"), 0.0),
    (("trainer", "nonmono"), None),
    (("trainer", "finetune_epochs"), 0),
    (("trainer", "init_by_width"), False),
    (("trainer", "precision"), "float32"),
)


def run_id(config: Config) -> str:
    """Eight hex digits that name what `config` computes, whatever its seed, device and paths.

    The user's own files count by content, not by path.
    """
    identity = config.model_dump(mode="json")
    for path, neutral in [*((path, ...) for path in NOT_IDENTITY), *_LATER]:
        group = identity
        for parent in path[:-1]:
            group = group[parent]
        if neutral is ... or group[path[-1]] == neutral:
            del group[path[-1]]
    for mode, switch in (("cache", "size"), ("dynamic", "rule")):
        if not identity["evaluation"][mode][switch]:
            del identity["evaluation"][mode]
    for key in _OWN_FILES:
        if identity["data"][key] is not None:
            identity["data"][key] = _content_hash(identity["data"][key])
    text = json.dumps([SCHEMA, identity], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _content_hash(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return path  # reading the corpus will say what is wrong


def checked(tree: dict[str, Any]) -> Config:
    """Check a resolved tree of settings. Raises RequestError with one line for each problem."""
    for location in tree.get("dropout", {}):
        if location != "name" and location not in LOCATIONS:
            raise unknown("dropout location", location, LOCATIONS)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise RequestError("\n".join(_explain(problem, tree) for problem in error.errors())) from None
    _ = config.plan  # a rule without meaning is refused here
    check_task(config.model_dump())
    return config


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
    value = problem["input"]
    return f"{key}={value}: {problem['msg'][0].lower()}{problem['msg'][1:]}."
