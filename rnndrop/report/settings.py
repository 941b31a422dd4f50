"""The settings of runs side by side: flattened, those that vary, and the name that tells two plans apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnndrop.records import NOT_IDENTITY

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


def of_identity(overrides: Iterable[str]) -> list[str]:
    """The overrides that change what a run computes: not its seed, nor where it runs and what it is called."""
    return [each for each in overrides if each.lstrip("+").partition("=")[0] not in _NOT_IDENTITY]


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


def dropout_labels(
    settings: Sequence[Settings], plans: Sequence[str], overrides: Sequence[Iterable[str]], names: Iterable[str]
) -> list[str]:
    """A name for each plan: its group's name and the rules that its overrides replace; `names` are what varies.

    What is built up from `none` is best named by its rules, the words in `plans`: `recurrent locked .1`. Where that
    leaves two plans alike, all that differs between them is added.
    """
    labels = []
    for each, plan, own in zip(settings, plans, overrides, strict=True):
        changed = _overridden(own, each)
        from_none = changed and each.get("dropout.name") == "none" and plan != NOTHING
        labels.append(plan if from_none else _label(each, changed))
    differing = [name for name in names if name.startswith("dropout.")]
    alike: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        alike.setdefault(label, []).append(index)
    for same in alike.values():
        unlike = [name for name in differing if len({settings[index].get(name) for index in same}) > 1]
        for index in same if unlike else ():
            labels[index] = _label(settings[index], unlike)
    return labels


def _overridden(overrides: Iterable[str], settings: Settings) -> list[str]:
    names = [override.partition("=")[0].lstrip("+") for override in overrides]
    return [name for name in names if name.startswith("dropout.") and name in settings and name != "dropout.name"]


def _label(settings: Settings, names: Iterable[str]) -> str:
    """`variational recurrent.p=0.1`: the plan's name and what is changed in it."""
    changes = [f"{name.removeprefix('dropout.')}={show(settings.get(name))}" for name in names]
    return " ".join([str(settings.get("dropout.name")), *changes])
