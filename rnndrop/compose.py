"""From overrides to checked configurations: Hydra composes the YAML of `conf/` and expands grids.

Nothing after this file sees a Hydra object.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rnndrop.config import Config, checked
from rnndrop.dropout.rule import LOCATIONS
from rnndrop.errors import RequestError, suggestion, unknown

GROUPS = ("task", "data", "model", "dropout", "trainer", "evaluation", "experiment")
_NO_CHOICE = ("base", "default")  # what the others start from


def compose(overrides: Sequence[str]) -> Config:
    """Compose and check the configuration of one run. Raises RequestError."""
    from omegaconf import OmegaConf

    tree = OmegaConf.to_container(_compose_tree(overrides), resolve=True)
    assert isinstance(tree, dict)
    tree.pop("experiment", None)
    return checked({str(key): value for key, value in tree.items()})


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """Expand Hydra's sweep grammar (`a=1,2`, `range(3)`, …) into the overrides of each run, the last key fastest."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.errors import HydraException

    try:
        (jobs,) = BasicSweeper.split_arguments([_parsed(override) for override in overrides], None)
    except HydraException as error:
        raise RequestError(_hydra_message(error)) from None
    return [list(job) for job in jobs]


def sweeps(overrides: Sequence[str]) -> tuple[list[str], dict[str, tuple[float, float] | list[Any]]]:
    """Part overrides into those with one value and, by key, the ranges: (low, high) of `interval()`, or a list."""
    from hydra.core.override_parser.types import IntervalSweep

    fixed: list[str] = []
    searched: dict[str, tuple[float, float] | list[Any]] = {}
    for text in overrides:
        override = _parsed(text)
        if not override.is_sweep_override():
            fixed.append(text)
        elif isinstance(value := override.value(), IntervalSweep):
            if value.start is None or value.end is None or not value.start < value.end:
                raise RequestError(f"{text}: the interval is empty.")
            searched[override.key_or_group] = (float(value.start), float(value.end))
        else:
            texts = [job[0].partition("=")[2] for job in expand([text])]
            searched[override.key_or_group] = texts
    return fixed, searched


@cache
def choices(group: str) -> dict[str, str]:
    """The options of a configuration group, each with the comment that it opens with."""
    folder = Path(str(files("rnndrop.conf"))) / group
    return {file.stem: _opening(file) for file in sorted(folder.glob("*.yaml")) if file.stem not in _NO_CHOICE}


def _opening(file: Path) -> str:
    """The comment that a YAML file opens with, without its package directive and launch lines."""
    comment = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
    return " ".join(line.removeprefix("# ") for line in comment if not line.startswith(("# @", "#   ")))


def _compose_tree(overrides: Sequence[str]) -> Any:
    """Compose as Hydra does: groups first, then values in their order.

    Hydra takes a third of a second for it, so a grid's jobs share what they can: the tree of their groups.
    """
    from copy import deepcopy

    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        parsed = [_parsed(override) for override in overrides]
        for override in parsed:
            if override.is_sweep_override():
                raise RequestError(f"{override.input_line} names several values: use `rnndrop sweep` for a grid.")
            if not override.is_delete() and not override.is_add():
                _check_key(override.key_or_group, override.value())
        values = [override for override in parsed if _is_value(override)]
        if any(override.is_delete() or override.is_add() for override in parsed):
            values = []  # these take their turn among the values, so Hydra must see them all
        tree = deepcopy(_hydra_tree(tuple(override.input_line for override in parsed if override not in values)))
        for override in values:
            OmegaConf.update(tree, override.key_or_group, override.value(), merge=True)
        return tree
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(_hydra_message(error)) from None


@lru_cache(maxsize=64)
def _hydra_tree(overrides: tuple[str, ...]) -> Any:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    if not GlobalHydra().is_initialized():
        initialize_config_module("rnndrop.conf", version_base="1.3")
    return hydra_compose("config", overrides=list(overrides))


def _is_value(override: Any) -> bool:
    """Whether an override sets a value, as opposed to choosing an option of a group."""
    key = override.key_or_group
    return override.package is None and key not in GROUPS and not key.startswith("hydra") and "/" not in key


@lru_cache(maxsize=4096)
def _parsed(override: str) -> Any:
    """Hydra's override object. Raises RequestError that names the one that is no `key=value`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise RequestError(f"Cannot read {override!r}: {_hydra_message(error)}") from None


def _check_key(key: str, value: Any) -> None:
    """Raise RequestError, with a guess, for a key or a group's option that does not exist. Hydra guesses nothing."""
    group, _, rest = key.partition(".")
    if group.startswith("hydra"):
        return
    if group in GROUPS and not rest:
        for option in value if isinstance(value, list) else [value]:
            if option not in choices(group):
                raise unknown(group, "null" if option is None else str(option), choices(group))
        return
    names = known_keys()
    if key in names or any(name.startswith(key + ".") for name in names):
        return
    parts = key.split(".")
    if parts[0] == "dropout" and len(parts) > 1 and parts[1] not in LOCATIONS:
        raise unknown("dropout location", parts[1], LOCATIONS)
    top_level = [*GROUPS, *(name for name in names if "." not in name)]
    same_group = [name for name in names if name.rpartition(".")[0] == key.rpartition(".")[0]]
    valid = (same_group if rest else top_level) or list(names)
    near = suggestion(key, valid) or suggestion(key, names)
    raise RequestError(f"No setting {key!r}.{near}\nValid: {' '.join(valid if len(valid) < 40 else top_level)}")


@cache
def known_keys() -> tuple[str, ...]:
    """Every setting by its dotted name."""

    def walk(model: type[BaseModel], prefix: str) -> list[str]:
        names = []
        for name, info in model.model_fields.items():
            group = info.annotation
            if isinstance(group, type) and issubclass(group, BaseModel):
                names += walk(group, f"{prefix}{name}.")
            else:
                names.append(prefix + name)
        return names

    return tuple(walk(Config, ""))


def _hydra_message(error: BaseException) -> str:
    """Hydra's message, with its cause, without its pointers to Hydra's internals and pages."""
    messages = [str(error).partition("\nSee https://")[0].partition("\n\nConfig search path")[0].strip()]
    if error.__cause__ is not None and str(error.__cause__) not in messages[0]:
        messages.append(str(error.__cause__).strip())
    return "\n".join(messages)
