"""The settings of runs side by side: those that vary, and the name that tells two plans apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnndrop.dropout.rule import EXTRAS, LOCATIONS, in_words

Settings = Mapping[str, Any]
"""Dotted name → value, as `model.hidden` → 200: see `rnndrop.config.identity.canonical`."""

NOTHING = "no dropout"
_PLAIN = ("data.", "model.", "trainer.")
"""Groups whose settings are named by their last part alone: `epochs` says what it is, `weight` (of a twin) does not."""
PARTS = ("kind", "p", "varies", "noise", "fill")  # of a rule, beside EXTRAS


def varying(settings: Sequence[Settings]) -> list[str]:
    """The names that have several values in `settings`, in the order of the configuration.

    Where another setting switches one off it is not there, which is no value of it; a rule without some part is another
    rule than one with it.
    """
    values: dict[str, list[Any]] = {}
    for names in dict.fromkeys(map(tuple, settings)):
        values.update((name, []) for name in names if name not in values)
    for each in settings:
        for name, own in values.items():
            if (name in each or name.startswith("dropout.")) and each.get(name) not in own:
                own.append(each.get(name))
    return [name for name, own in values.items() if len(own) > 1]


def brief(name: str) -> str:
    """A setting's name as a heading has it."""
    whole = not name.startswith(_PLAIN)
    return name if whole else name.removeprefix("model.") if ".options." in name else name.rpartition(".")[2]


def show(value: object) -> str:
    """A setting's value as one would type it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return f"[{','.join(map(show, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def equal(value: object, text: str) -> bool:
    """Whether a setting has the value that a user wrote: as it is shown, or another spelling of the number."""
    if show(value) == text:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**53:
        return False
    try:
        return float(text) == value
    except ValueError:
        return False


def plan_text(settings: Settings) -> str:
    """The rules that do something, as `recurrent locked .3 · output locked .5`."""
    rules = []
    for place in LOCATIONS:
        if p := settings.get(f"dropout.{place}.p"):
            kind, more = rule_words(settings, place)
            own = f"{kind} {p:g}{more}".replace(" 0.", " .")
            rules += [f"{place} {each}" for each in (own, *settings.get(f"dropout.{place}.also", ()))]
    return " · ".join(rules) or NOTHING


def rule_words(settings: Settings, place: str) -> tuple[str, str]:
    """What the rule of a location is in words, without its rate: what stands before the rate, and what after it."""
    part = {name: settings.get(f"dropout.{place}.{name}") for name in (*PARTS, *EXTRAS)}
    kind = part["kind"] if part["varies"] is None else f"over {' '.join(part['varies'])}"
    noise = part["noise"] if part["noise"] not in (None, "bernoulli") else None
    fill = part["fill"] and f"fill {part['fill']}"
    return " ".join(filter(None, (kind, noise, fill))), in_words(part)


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
        from_none = changed and each.get("dropout.name") == "none"
        labels.append("none" if plan == NOTHING else plan if from_none else _label(each, changed))
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
    """The settings of rules that a run's overrides replace, without those that do nothing but for `p=0`.

    Where they replace a location's rules as a whole, or leave it those of `also` alone, all that its rules are.
    """
    names: dict[str, None] = {}
    for override in overrides:
        name, _, value = override.lstrip("+").partition("=")
        location, _, part = name.removeprefix("dropout.").partition(".")
        place = LOCATIONS.get(location)
        if not name.startswith("dropout.") or place is None:
            continue
        if place.layers > (settings.get("model.layers") or place.layers):
            continue
        rule = f"dropout.{location}"
        whole = {"": True, "p": _nothing(value), "also": name not in settings and value != "[]"}
        if not settings[f"{rule}.p"]:
            names[f"{rule}.p"] = None
        elif part == "kind" and settings[name] == "none":  # of the user's own: its parts are what is known of it
            names.update((f"{rule}.{each}", None) for each in ("varies", "fill") if settings.get(f"{rule}.{each}"))
        elif whole.get(part):
            given = [f"{rule}.{each}" for each in (*PARTS, *EXTRAS, "also") if settings.get(f"{rule}.{each}")]
            names.update(dict.fromkeys([*given, *([f"{rule}.also"] if part == "p" else [])]))
        else:
            names[name] = None
    return list(names)


def _nothing(rate: str) -> bool:
    try:
        return float(rate) == 0
    except ValueError:  # it refers to another setting
        return False


def _label(settings: Settings, names: Iterable[str]) -> str:
    """`variational recurrent.p=0.1`: the plan's name and what is changed in it."""
    changes = [f"{name.removeprefix('dropout.')}={show(settings.get(name))}" for name in names]
    return " ".join([str(settings.get("dropout.name")), *changes])
