"""What each setting means, takes and defaults to: the schema in words, for `rnndrop help` and docs/settings.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from inspect import getdoc
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rnndrop.config.compose import GROUPS, check_key, choices, compose
from rnndrop.config.schema import Config, OneOf, RuleSettings
from rnndrop.config.trackers import TRACKERS
from rnndrop.dropout.rule import KINDS, LOCATIONS, SCHEDULES, kind_names, noise_names, takes
from rnndrop.own import OWN


@dataclass(frozen=True)
class Setting:
    """A setting in words. `takes` is its type and bounds or its `choices`; `example` is overrides that use it."""

    key: str
    meaning: str
    takes: str
    choices: tuple[str, ...]
    default: Any
    example: str


@dataclass(frozen=True)
class Group:
    """A group: its `settings`, the groups of dropout's locations with what they act on, and its named `options`."""

    key: str
    meaning: str
    settings: tuple[Setting, ...]
    groups: dict[str, str]
    options: tuple[str, ...]


def explain(key: str) -> Setting | Group:
    """The setting or group of that name. Raises RequestError, with a guess, where there is none."""
    check_key(key)
    key = "model.options" if key.startswith("model.options.") else key
    if key in settings():
        return settings()[key]
    if key == "experiment":
        return Group(key, "A recipe: an option that sets the others.", (), {}, tuple(choices(key)))
    below = {f"dropout.{place}": _acts(place) for place in LOCATIONS if key == "dropout"}
    inside = tuple(
        each for name, each in settings().items()
        if name.startswith(f"{key}.") and name.rpartition(".")[0] not in below
    )  # fmt: skip
    return Group(key, _groups()[key], inside, below, tuple(choices(key)) if key in GROUPS else ())


@cache
def settings() -> dict[str, Setting]:
    """Every setting by its key, in the order of the schema."""
    defaults = compose([]).model_dump(mode="json")
    return {each.key: each for each in _walk(Config, defaults, "")}


def keys() -> list[str]:
    """What `explain` takes."""
    return list(dict.fromkeys([*GROUPS, *_groups(), *settings()]))


def spelled(value: Any) -> str:
    """A value as YAML has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _acts(place: str) -> str:
    return f"Acts on {LOCATIONS[place].acts_on}."


def _walk(model: type[BaseModel], defaults: dict[str, Any], prefix: str) -> Iterator[Setting]:
    for name, info in model.model_fields.items():
        key, value = prefix + name, defaults[name]
        if model is RuleSettings:
            if takes(LOCATIONS[prefix.split(".")[1]], name):
                yield _of_rule(key, info, value)
        elif inner := _model(info):
            yield from _walk(inner, value, f"{key}.")
        else:
            assert info.description and info.examples, key
            yield Setting(key, info.description, *_takes(info, key), value, info.examples[0])


@cache
def _groups() -> dict[str, str]:
    """Every group of settings by its key, with what it means."""

    def walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
        for name, info in model.model_fields.items():
            if inner := _model(info):
                yield prefix + name, _acts(name) if inner is RuleSettings else str(getdoc(inner))
                yield from walk(inner, f"{prefix}{name}.")

    return dict(walk(Config, ""))


def _model(info: FieldInfo) -> type[BaseModel] | None:
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


_RATE = "a number, at least 0 and below 1"


def _of_rule(key: str, info: FieldInfo, default: Any) -> Setting:
    """A part of a location's rule: what it takes depends on the location."""
    where, _, part = key.rpartition(".")
    place = LOCATIONS[where.rpartition(".")[2]]
    kinds, axes, noises = tuple(kind_names(place.name)), ",".join(place.axes), noise_names(place.name)
    parts: dict[str, tuple[str, tuple[str, ...], str]] = {
        "kind": (_or(kinds) + OWN, kinds, ""),
        "p": (_RATE, (), ""),
        "varies": (f"a list of axes from [{axes}], or null", place.axes, f"[{axes}]"),
        "noise": (_or([*noises, "null"]) + OWN, tuple(noises), noises[min(1, len(noises) - 1)]),
        "fill": (_or([*place.fills, "null"]), place.fills, place.fills[-1]),
        "flip": ("a number from 0 to 1, or null", (), "0.1"),
        "block": ("a whole number, at least 1, or null", (), "5"),
        "schedule": (_or([*SCHEDULES, "null"]), SCHEDULES, f"linear {where}.until=10"),
        "until": ("a number above 0, or null", (), f"10 {where}.schedule=linear"),
        "gradient": ("true or false", (), "true"),
        "smallest": ("a number above 0 and below 1, or null", (), "0.5"),
        "discounted": ("true or false", (), "true"),
        "also": ("a list of rules", (), f"[{{kind:{kinds[1]},p:0.1}}]"),
    }
    taken, values, own = parts[part]
    kind = next(name for name in kinds[1:] if part not in ("flip", "block") or "time" in KINDS[name].varies)
    example = f"{where}.kind={kind} {where}.p=0.3{f' {key}={own}' if own else ''}"
    return Setting(key, str(info.description), taken, values, default, example)


def _takes(info: FieldInfo, key: str) -> tuple[str, tuple[str, ...]]:
    """What a setting takes, in words, and its choices where they are few."""
    inner = [kind for kind in get_args(info.annotation) if kind is not type(None)]
    optional = type(None) in get_args(info.annotation)
    kind: Any = inner[0] if optional else info.annotation
    metadata = info.metadata
    if hasattr(kind, "__metadata__"):
        kind, metadata = kind.__origin__, kind.__metadata__
    if get_origin(kind) is tuple and get_args(kind)[1:] == (...,):
        if key == "tracker":
            return f"a list from [{','.join(TRACKERS)}], from what other packages add{OWN}", ()
        return f"a list of locations from [{','.join(LOCATIONS)}]", ()
    literal = get_args(kind) if get_origin(kind) is Literal else ()
    tables = [each.func for each in metadata if isinstance(getattr(each, "func", None), OneOf)]
    named = tuple(choices(key)) if key in GROUPS else tuple(map(str, tables[0].names if tables else literal))
    if named:
        return _or([*named, "null"] if optional else named) + (tables[0].also if tables else ""), named
    return _type(kind) + _bounds(metadata) + (", or null" if optional else ""), ()


def _type(kind: Any) -> str:
    if get_origin(kind) is tuple:
        (first, *_), count = get_args(kind), len(get_args(kind))
        return f"a list of {count} numbers, each" + _bounds(first.__metadata__).removeprefix(",")
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]


def _bounds(metadata: Iterable[Any]) -> str:
    """The bounds of a number in words, as ", at least 0 and below 1"."""
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    found = {
        word: _number(getattr(each, name))
        for each in _flat(metadata)
        for name, word in words.items()
        if getattr(each, name, None) is not None
    }
    if set(found) == {"at least", "at most"}:
        return f", from {found['at least']} to {found['at most']}"
    return f", {' and '.join(f'{word} {bound}' for word, bound in found.items())}" if found else ""


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    """The constraints of annotated-types, also of those that a `Field` holds."""
    for each in metadata:
        yield from _flat(each.metadata) if isinstance(each, FieldInfo) else [each]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}".replace("e+", "e")


def _or(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
