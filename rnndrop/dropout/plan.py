"""A plan: the rules of a model, any number at each location."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnndrop.dropout.noises import Noise, imported, noise_named, planned
from rnndrop.dropout.rule import LOCATIONS, Rule, refuse_meaningless, rule
from rnndrop.errors import RequestError, unknown
from rnndrop.own import is_own


@dataclass(frozen=True)
class Plan:
    """The rules of a model, in the order of `LOCATIONS`; those of one location act one after the other.

    A location without one that is active has no dropout.
    """

    rules: tuple[Rule, ...]

    def __getitem__(self, location: str) -> Rule:
        """The first rule of a location."""
        return next((own for own in self.rules if own.location == location), Rule(location))

    def at(self, location: str) -> tuple[Rule, ...]:
        """The rules of a location that do something."""
        return tuple(own for own in self.rules if own.location == location and own.active)

    @property
    def active(self) -> Iterator[Rule]:
        """The rules that do something."""
        return (own for own in self.rules if own.active)

    def map(self, function: Callable[[Rule], Rule]) -> Plan:
        """The plan with `function` of each rule in its place."""
        return Plan(tuple(map(function, self.rules)))

    def without(self, *locations: str) -> Plan:
        """The plan without any dropout at some locations."""
        return self.map(lambda own: Rule(own.location) if own.location in locations else own)

    def after(self, epoch: float) -> Plan:
        """The plan after so many epochs of training: the same, but for rates with a schedule."""
        scheduled = any(own.schedule for own in self.rules)
        return self.map(lambda own: own.at(epoch)) if scheduled else self

    def __str__(self) -> str:
        return " · ".join(map(str, self.active)) or "no dropout"


def plan(settings: Mapping[str, Mapping[str, Any]], layers: int | None = None) -> Plan:
    """Build the plan from `{location: {kind, p, …, also}}`, for a model of so many recurrent layers.

    A rule that cannot act there is `none`. Raises RequestError for an unknown location or a rule without meaning there,
    and for rules of one location that cannot be combined.
    """
    for location in settings:
        if location not in LOCATIONS:
            raise unknown("dropout location", location, LOCATIONS)
    rules = {location: rules_at(location, settings.get(location, {})) for location in LOCATIONS}
    for location in LOCATIONS:
        _check_combined(location, rules[location], planned)
    return Plan(tuple(own.within(layers) for each in rules.values() for own in each))


def rules_at(location: str, settings: Mapping[str, Any]) -> list[Rule]:
    """The rules of one location: that of its own settings, and those of `also`. Raises RequestError."""
    further = enumerate(settings.get("also") or ())
    return [_rule_of(location, settings), *(_also(location, index, each) for index, each in further)]


def _rule_of(location: str, settings: Mapping[str, Any]) -> Rule:
    return rule(location, **{name: value for name, value in settings.items() if name != "also"})


def _also(location: str, index: int, settings: Mapping[str, Any]) -> Rule:
    """A further rule of a location; what is wrong with it is said of it, not of the first."""
    try:
        return _rule_of(location, settings)
    except RequestError as error:
        named = str(error).replace(f"dropout.{location}", f"dropout.{location}.also.{index}")
        raise RequestError(named) from None


def own_noises(plan: Plan) -> list[str]:
    """The noises of the user's own that a plan draws, each once."""
    return list(dict.fromkeys(own.noise for own in plan.active if is_own(own.noise)))


def check_own(plan: Plan) -> None:
    """Import the noises of the user's own, and look again at the rules that have one: by now it is known what it does.

    Raises RequestError.
    """
    for own in plan.active:
        if is_own(own.noise):
            place = LOCATIONS[own.location]
            refuse_meaningless(own, place, imported(f"dropout.{own.location}.noise", own.noise))
            _check_combined(own.location, plan.at(own.location), noise_named)


def _check_combined(location: str, rules: Sequence[Rule], noise_of: Callable[[str], Noise]) -> None:
    """Raise RequestError where the rules of a location cannot act one after the other."""
    acting = [own for own in rules if own.active and not own.gradient]
    if len(acting) > 1 and not all(_combines(own, acting[0], noise_of(own.noise)) for own in acting):
        raise RequestError(
            f"dropout.{location}.also: {' · '.join(map(str, acting))}: rules of one location are combined where"
            " each multiplies, and what fills a hole is the same."
        )


def _combines(own: Rule, other: Rule, noise: Noise) -> bool:
    multiplies = own.fill != "start" and not (noise.added or noise.learned or own.smallest)
    return own.location == "token" or (multiplies and own.fill == other.fill)
