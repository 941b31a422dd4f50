"""The settings of runs side by side: flattened, those that vary, and the name that tells two plans apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnndrop.config import NOT_IDENTITY

Settings = Mapping[str, Any]
"""Dotted name → value, as `model.hidden` → 200, without what is no part of a run's identity."""

NOTHING = "no dropout"
_NOT_IDENTITY = {".".join(path) for path in NOT_IDENTITY}


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved configuration of a record as `Settings`; lists become tuples."""
    flat: dict[str, Any] = {}

    def walk(tree: Mapping[str, Any], prefix: str) -> None:
        for name, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{name}.")
            else:
                flat[prefix + name] = tuple(value) if isinstance(value, list) else value

    walk(config, "")
    return {name: value for name, value in flat.items() if name not in _NOT_IDENTITY}


def varying(settings: Sequence[Settings]) -> list[str]:
    """The names whose value is not the same in all of `settings`, in the order of the configuration."""
    if not settings:
        return []
    names = dict.fromkeys(name for keys in dict.fromkeys(map(tuple, settings)) for name in keys)
    values = {name: [each.get(name) for each in settings] for name in names}
    return [name for name, column in values.items() if column.count(column[0]) != len(column)]


def show(value: object) -> str:
    """A setting's value as one would type it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return f"[{','.join(map(show, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def plan_text(dropout: Mapping[str, Any]) -> str:
    """The active rules of a record's dropout section, as `recurrent locked .3 · output locked .5`."""
    rules = []
    for location, rule in dropout.items():
        if isinstance(rule, dict) and rule.get("p"):
            kind = rule["kind"] if rule.get("varies") is None else f"over {' '.join(rule['varies'])}"
            noise = f" {rule['noise']}" if rule.get("noise") not in (None, "bernoulli") else ""
            rules.append(f"{location} {kind}{noise} {rule['p']:g}".replace(" 0.", " ."))
    return " · ".join(rules) or NOTHING


def dropout_labels(settings: Sequence[Settings], overrides: Sequence[Iterable[str]]) -> list[str]:
    """A name for each plan: its group's name, and the rules that its overrides replace.

    Where that leaves two plans of one name alike, all that differs between those of the name is added.
    """
    labels = [_name(each, _overridden(own, each)) for each, own in zip(settings, overrides, strict=True)]
    plans = [tuple((name, value) for name, value in each.items() if name.startswith("dropout.")) for each in settings]
    alike: dict[str, set[Any]] = {}
    for label, plan in zip(labels, plans, strict=True):
        alike.setdefault(label, set()).add(plan)
    for label, different in alike.items():
        if len(different) > 1:
            where = [index for index, own in enumerate(labels) if own == label]
            names = [name for name in varying([settings[index] for index in where]) if name.startswith("dropout.")]
            for index in where:
                labels[index] = _label(settings[index], names)
    return labels


def _overridden(overrides: Iterable[str], settings: Settings) -> list[str]:
    names = [override.partition("=")[0].lstrip("+") for override in overrides]
    return [name for name in names if name.startswith("dropout.") and name in settings and name != "dropout.name"]


def _name(settings: Settings, names: Sequence[str]) -> str:
    """What is built up from `none` is best named by its rules: `recurrent locked .1`."""
    text = plan_text(_tree(settings))
    return text if names and settings.get("dropout.name") == "none" and text != NOTHING else _label(settings, names)


def _label(settings: Settings, names: Iterable[str]) -> str:
    """`variational recurrent.p=0.1`: the plan's name and what is changed in it."""
    changes = [f"{name.removeprefix('dropout.')}={show(settings.get(name))}" for name in names]
    return " ".join([str(settings.get("dropout.name")), *changes])


def _tree(settings: Settings) -> dict[str, dict[str, Any]]:
    """The rules of a flattened configuration, location by location."""
    rules: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        group, _, rest = name.partition(".")
        location, _, key = rest.partition(".")
        if group == "dropout" and key:
            rules.setdefault(location, {})[key] = value
    return rules
