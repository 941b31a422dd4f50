"""What the parts of a record are: their types, and for its settings those of the schema, as far as it has them.

A record comes from anywhere: an older version, another program, a disk that forgets. What is of another type than it
ought to be is found here, once, and not by whoever meets it first.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator
from typing_extensions import TypedDict

from rnndrop.config.schema import Config
from rnndrop.display.foreign import plain
from rnndrop.errors import shorten

Number = Annotated[float, Field(allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Modes = dict[str, Number | str | bool | None]  # how something was measured, as {"samples": 100, "masks": "pass"}


class Part(BaseModel):
    """A part of a record: what it has beyond these keys is left to whoever reads it."""

    model_config = ConfigDict(extra="allow", strict=True)


class Data(Part):
    """Which corpus it was."""

    name: str = ""
    level: str | None = None
    sha256: str | None = None
    source: dict[str, str] | None = None
    oov_rate: dict[str, Number] = {}
    floor_perplexity: Number | None = None
    floor_perplexity_valid: Number | None = None


class Fingerprint(Data):
    """What a corpus says of itself, before anything is trained on it."""

    sha256: Name
    train_tokens: Whole = 0
    valid_tokens: Whole = 0
    test_tokens: Whole = 0
    vocab_size: Whole = 0


class Model(Part):
    """How large the model was."""

    parameters: Whole | None = None
    learned: dict[str, dict[str, Number]] | None = None
    task: dict[str, str] | None = None
    cell: dict[str, str] | None = None
    noises: list[dict[str, str]] = []
    module: dict[str, str] | None = None


class Metrics(Part):
    """The scores, and how far the training came."""

    __pydantic_extra__: dict[str, Number | Modes | None] = Field(init=False)
    best_epoch: Whole | None = None
    epochs: Whole | None = None
    diverged_step: Whole | None = None
    pruned: Whole | None = None
    pruned_step: Whole | None = None
    mc: Modes | None = None
    cache: Modes | None = None
    dynamic: Modes | None = None
    temperature: Modes | None = None


class Timing(Part):
    """How long it took."""

    train_seconds: Number | None = None
    tokens_per_second: Number | None = None
    resumed_from_steps: list[Whole] = []


class Environment(Part):
    """Where it ran."""

    __pydantic_extra__: dict[str, str | Number | bool | None] = Field(init=False)
    git_dirty: bool | None = None
    earlier: list[dict[str, str | Number | bool | None]] = []


class Row(Part):
    """An epoch in a run's history."""

    __pydantic_extra__: dict[str, Number | str | bool | None] = Field(init=False)
    epoch: Whole
    seconds: Number = 0
    tokens_per_second: Number | None = None

    @model_validator(mode="after")
    def _scores(self) -> Self:
        """What belongs to a split is a number."""
        for name, value in (self.__pydantic_extra__ or {}).items():
            if name.startswith(("train_", "valid_")) and type(value) not in (int, float):
                raise ValueError(f"{name} is {value!r}")
        return self


class Beat(Part):
    """A sign of life."""

    host: str
    pid: Whole
    epoch: Whole = 0
    epochs: Whole = 0
    fraction: Number = 0
    train: float = 0
    tokens_per_second: Number = 0
    valid: list[Number] = []
    left: Number | None = None
    measuring: str = ""
    measured: Number = 0
    overrides: list[str] = []

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if "epoch" in self.model_fields_set and not self.model_fields_set >= {"epochs", "train", "tokens_per_second"}:
            raise ValueError("an epoch without `epochs`, `train` and `tokens_per_second`")
        return self


def _partial(model: type[BaseModel]) -> Any:
    """The same settings, each of which may be missing; others are let pass.

    As a dictionary's type: nobody wants the objects, which would take most of the time to read a record.
    """
    fields: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        kind: Any = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = _partial(kind)
        fields[name] = Annotated[kind, *info.metadata] if info.metadata else kind
    made: Any = TypedDict  # from fields that mypy cannot see
    found: Any = made(f"Recorded{model.__name__}", fields, total=False)
    found.__pydantic_config__ = ConfigDict(extra="allow", strict=True)
    return found


NEEDED = frozenset(("schema", "run_id", "seed", "status", "overrides", "config"))
"""The keys without which there is no record."""


@cache
def _record(whole: bool = True) -> type[BaseModel]:
    """A record; if not `whole`, some of its keys, each of which is checked by itself in both."""
    parts: dict[str, Any] = {
        "schema": Literal[1],
        "run_id": Name,
        "seed": Whole,
        "status": Literal["finished", "failed", "diverged", "interrupted"],
        "overrides": list[str],
        "config": _partial(Config),
        "data": Data,
        "model": Model,
        "metrics": Metrics,
        "timing": Timing,
        "environment": Environment,
        "error": str | None,
        "files": dict[str, str],
    }
    needed = NEEDED if whole else ()
    fields: dict[str, Any] = {  # by an alias: a model has a `schema` of its own
        f"{name}_": (Annotated[kind, Field(alias=name)], ... if name in needed else None)
        for name, kind in parts.items()
    }
    return create_model("Record", __base__=Part, **fields)


def check_record(text: str) -> None:
    """Raise ValueError, with the first of the problems, where the JSON of a record is not what it ought to be."""
    _check(_record(), text)


def check_part(text: str) -> None:
    """The same for a record of which some keys are left out."""
    _check(_record(whole=False), text)


def check_fingerprint(text: str) -> None:
    """The same for what a record will say of its data."""
    _check(Fingerprint, text)


def check_row(text: bytes) -> None:
    """The same for a row of a history."""
    _check(Row, text)


def check_beat(text: bytes) -> None:
    """The same for a sign of life."""
    _check(Beat, text)


def _check(model: type[BaseModel], text: str | bytes) -> None:
    try:
        model.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        place = plain(".".join(map(str, problem["loc"])))
        value = shorten(repr(problem["input"]), 60) if place else ""
        raise ValueError(f"{place}: {problem['msg']}, not {value}" if place else problem["msg"]) from None
