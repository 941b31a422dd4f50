"""`rnndrop ls`."""

from __future__ import annotations

import typer

from rnndrop.config.cells import CELLS, GROUP
from rnndrop.config.compose import choices, compose
from rnndrop.dropout.noises import planned
from rnndrop.dropout.plan import Plan
from rnndrop.dropout.rule import LOCATIONS
from rnndrop.own import with_registered

from .output import entry

FAMILIES = (
    "activations",
    "inside the cell",
    "words",
    "weights",
    "learned",
    "over training",
    "whole parts",
    "gradients",
)


def show(names: list[str], headed: bool) -> None:
    """Print the options of groups of configuration; with more than one, each below its name."""
    for name in names:
        if headed:
            typer.echo(f"{name}:")
        for heading, options in _options(name).items():
            if heading:
                typer.echo(f"{'  ' * headed}{heading}:")
            indent = "  " * (headed + bool(heading))
            for option, about in options.items():
                typer.echo(entry(f"{indent}{option:<20} ", about))


def _options(group: str) -> dict[str, dict[str, str]]:
    """The options of a group with what they are, by heading."""
    parted = {"dropout": _plans, "model": _models}
    return parted[group]() if group in parted else {"": choices(group)}


def _plans() -> dict[str, dict[str, str]]:
    """The plans with what they are, by family."""
    found: dict[str, dict[str, str]] = {name: {} for name in ("", *FAMILIES)}
    for name, about in choices("dropout").items():
        found[family(compose([f"dropout={name}"]).plan)][name] = about
    return found


def _models() -> dict[str, dict[str, str]]:
    """The cells and the sizes, of which one of each can be chosen."""
    every, cells = choices("model"), with_registered(CELLS, GROUP)
    return {
        "sizes": {name: about for name, about in every.items() if name not in cells},
        "cells": {name: every[name] for name in cells},
    }


def family(plan: Plan) -> str:
    """One of `FAMILIES`: what the noise of a plan is on, or what is special in it; empty without any."""
    rules = list(plan.active)
    places = {rule.location for rule in rules}
    found = (
        ("", not rules),
        ("words", places == {"token"}),
        ("learned", any(planned(rule.noise).learned for rule in rules)),
        ("over training", any(rule.until for rule in rules)),
        ("gradients", any(rule.gradient for rule in rules)),
        ("weights", all(LOCATIONS[place].is_weight for place in places)),
        ("whole parts", places <= {"carry", "layer"}),
        ("inside the cell", bool(places & {"update", "cell", "state"})),
        ("activations", True),
    )
    return next(name for name, holds in found if holds)
