"""One factor for all rates of a plan: what a search that is the same for every plan varies."""

from __future__ import annotations

from rnndrop.config.schema import Config, RuleSettings
from rnndrop.config.spelling import spelled


def rates(config: Config) -> list[float]:
    """The rate of every rule that drops something."""
    return [rule.p for rule in config.twin_plan.active]


def scaled(config: Config, factor: float) -> list[str]:
    """The overrides that multiply the rates of a plan by a factor, to four decimals."""
    places = dict.fromkeys(rule.location for rule in config.twin_plan.active)
    return [each for place in places for each in _scaled(place, getattr(config.dropout, place), factor)]


def _scaled(place: str, rule: RuleSettings, factor: float) -> list[str]:
    also = [each.model_dump(exclude_defaults=True) | {"p": _rate(each.p, factor)} for each in rule.also]
    return [
        f"dropout.{place}.p={_rate(rule.p, factor)}",
        *([f"dropout.{place}.also={spelled(also)}"] if also else []),
    ]


def _rate(p: float, factor: float) -> float:
    return round(p * factor, 4)
