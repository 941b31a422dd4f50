"""A plan: one rule per location."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rnndrop.dropout.rule import LOCATIONS, Rule, rule
from rnndrop.errors import RequestError, unknown


@dataclass(frozen=True)
class Plan:
    """The rules of a model, one for each location; a location without one has no dropout."""

    rules: Mapping[str, Rule]

    def __getitem__(self, location: str) -> Rule:
        return self.rules[location]

    @property
    def active(self) -> Iterator[Rule]:
        """The rules that do something, in the order of `LOCATIONS`."""
        return (rule for rule in self.rules.values() if rule.active)

    def __str__(self) -> str:
        return " · ".join(map(str, self.active)) or "no dropout"


def plan(settings: Mapping[str, Mapping[str, Any]], cell: str = "lstm", layers: int | None = None) -> Plan:
    """Build the plan from `{location: {kind, p, varies, noise, fill}}`, for a model of so many recurrent layers.

    A rule that cannot act there is `none`. Raises RequestError for an unknown location or a rule without meaning there
    or for `cell`.
    """
    for location in settings:
        if location not in LOCATIONS:
            raise unknown("dropout location", location, LOCATIONS)
    rules = {location: rule(location, **settings.get(location, {})) for location in LOCATIONS}
    for location, place in LOCATIONS.items():
        if rules[location].active and cell in place.not_for:
            raise RequestError(f"dropout.{location} has no meaning for model.cell={cell}: it acts on {place.acts_on}.")
    return Plan({location: own.within(layers) for location, own in rules.items()})
