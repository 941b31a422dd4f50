"""Shell completion of groups, options, keys, values and run ids."""

from __future__ import annotations

import os
from pathlib import Path

from rnndrop.paths import OUTPUT

LAUNCHER = "hydra/launcher"
NAMES = ("dropout.name", "data.name")  # which a group sets: alone they change what is said, and not what is done


def overrides(incomplete: str) -> list[str]:
    """What `incomplete` may become: `dropout=naive`, `model.hidden=`, `trainer.optimizer=adam`, …

    Bash splits words at "=" and wants only what comes after it; the other shells hand over and want the whole word.
    """
    key, value, whole = _typed(incomplete)
    if value is None:
        from rnndrop.config.compose import GROUPS, known_keys

        names = (name for name in (*GROUPS, LAUNCHER, "tracker", *known_keys()) if name not in NAMES)
        return [f"{name}=" for name in dict.fromkeys(names) if name.startswith(key)]
    head, comma, last = value.rpartition(",")
    found = [f"{head}{comma}{name}" for name in _values(key) if name.startswith(last)]
    return [f"{key}={name}" for name in found] if whole else found


def _typed(incomplete: str) -> tuple[str, str | None, bool]:
    """The key, the value (None before the "="), and whether the shell wants the whole word."""
    words, place = os.environ.get("COMP_WORDS", "").split(), os.environ.get("COMP_CWORD", "")
    if place.isdigit() and "=" not in incomplete:
        before = words[: int(place)]
        if words[int(place) : int(place) + 1] == ["="]:
            return before[-1], "", False
        if before[-1:] == ["="] and len(before) > 1:
            return before[-2], incomplete, False
    key, equals, value = incomplete.partition("=")
    return key, value if equals else None, True


def _values(key: str) -> list[str]:
    """The values that a key can take, where they can be named."""
    from typing import Literal, get_args, get_origin

    from rnndrop.config.compose import GROUPS, choices
    from rnndrop.config.schema import Config
    from rnndrop.dropout.rule import LOCATIONS, SCHEDULES, kind_names, noise_names

    if key in GROUPS:
        return list(choices(key))
    group, _, name = key.partition(".")
    location, _, part = name.partition(".")
    if group == "dropout" and location in LOCATIONS:
        fills = list(LOCATIONS[location].fills)
        named = {
            "kind": kind_names(location),
            "noise": noise_names(location),
            "fill": fills,
            "schedule": list(SCHEDULES),
        }
        return named.get(part, [])
    if key == "tracker":
        from rnndrop.config.trackers import TRACKERS

        return [f"[{name}]" for name in TRACKERS]
    if key == LAUNCHER:
        from rnndrop.sweeps.launchers import LAUNCHERS

        return list(LAUNCHERS)
    if key == "debug":
        from .debug import PRESETS

        return list(PRESETS)
    settings = Config.model_fields.get(group)
    field = getattr(settings.annotation, "model_fields", {}).get(name) if settings else None
    if field is None:
        return []
    if get_origin(field.annotation) is Literal:
        return [str(value) for value in get_args(field.annotation)]
    return ["true", "false"] if field.annotation is bool else []


def locations(incomplete: str) -> list[str]:
    """Locations of dropout."""
    from rnndrop.dropout.rule import LOCATIONS

    return [name for name in LOCATIONS if name.startswith(incomplete)]


def keys(incomplete: str) -> list[str]:
    """Settings and groups of them."""
    from rnndrop.config.settings import keys

    return [name for name in keys() if name.startswith(incomplete)]


def metrics(incomplete: str) -> list[str]:
    """What a report can be ranked by."""
    from rnndrop.config.metrics import columns

    return [name for name in columns() if name.startswith(incomplete)]


def plans(incomplete: str) -> list[str]:
    """Dropout plans and experiments."""
    from rnndrop.config.compose import choices

    return [name for name in (*choices("dropout"), *choices("experiment")) if name.startswith(incomplete)]


def reproductions(incomplete: str) -> list[str]:
    """What `rnndrop reproduce` knows."""
    from rnndrop.config.compose import choices

    return [name for name in choices("reproduce") if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Run ids below the default output folder."""
    found = sorted(Path(OUTPUT).glob("*/seed-*"))
    return [name for path in found if (name := f"{path.parent.name}/{path.name}").startswith(incomplete)]
