"""A dropout rule: where the noise enters × what the mask varies over × which noise × what fills the hole.

`LOCATIONS` and `KINDS` are the whole space. A new published dropout is one more row in `KINDS` and its entry in
`rnndrop.dropout.literature`, of which its page is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from rnndrop.dropout.literature import ABOUT, About
from rnndrop.dropout.noises import NOISES
from rnndrop.errors import RequestError, unknown

FILLS = ("zero", "previous")


@dataclass(frozen=True)
class Location:
    """A place in the model where noise can enter.

    `axes` are the axes that a mask there can vary over, in the order of the mask's dimensions; `layers` is how many
    recurrent layers a model must have; cells in `not_for` have no such place.
    """

    name: str
    acts_on: str
    axes: tuple[str, ...]
    keeps_memory: bool = False
    aliases: str = ""
    not_for: tuple[str, ...] = ()
    layers: int = 1

    @property
    def is_weight(self) -> bool:
        """Whether the mask falls on a weight matrix instead of an activation."""
        return "out" in self.axes


@dataclass(frozen=True)
class Kind:
    """A named point of the space: what the mask `varies` over and what `fill`s the hole."""

    name: str
    varies: frozenset[str]
    published: str
    fill: str = "zero"

    @property
    def about(self) -> About:
        """Its equation, sources, implementations and aliases."""
        return ABOUT[self.name]


def _locations(*rows: Location) -> dict[str, Location]:
    return {row.name: row for row in rows}


_ACTIVATION = ("time", "batch", "feature")
_GATED = ("time", "batch", "gate", "feature")

LOCATIONS = _locations(
    Location("embedding", "rows of the embedding matrix (word types)", ("batch", "type", "feature"),
             aliases="AWD dropoute"),
    Location("input", "what enters the first recurrent layer", _GATED, aliases="AWD dropouti; Gal x"),
    Location("hidden", "what passes from one recurrent layer to the next", _GATED, aliases="AWD dropouth; Gal i",
             layers=2),
    Location("recurrent", "h(t-1), where it enters the gates", _GATED, aliases="Gal h"),
    Location("update", "the candidate g of an LSTM, n of a GRU", _ACTIVATION, not_for=("rnn",)),
    Location("cell", "the memory: c of an LSTM, h of a GRU or Elman RNN", _ACTIVATION, keeps_memory=True),
    Location("state", "the new h before it is handed on", _ACTIVATION, keeps_memory=True),
    Location("output", "the top layer's h, before the decoder", _ACTIVATION, aliases="AWD dropout; Gal o"),
    Location("weight_ih", "the recurrent layers' input weights", ("gate", "out", "in")),
    Location("weight_hh", "the recurrent layers' recurrent weights", ("gate", "out", "in"), aliases="AWD wdrop"),
    Location("weight_decoder", "the decoder's weights", ("out", "in")),
)  # fmt: skip


def _kinds(*rows: tuple[str, str, str] | tuple[str, str, str, str]) -> dict[str, Kind]:
    return {row[0]: Kind(row[0], frozenset(row[1].split()), *row[2:]) for row in rows}


KINDS = _kinds(
    ("none", "", "no dropout"),
    ("naive", "time batch feature", "Zaremba et al. 2014; on recurrent: the failing baseline"),
    ("locked", "batch feature", "Gal & Ghahramani 2016, tied; AWD-LSTM; Moon et al. 2015 on cell; "
                                "Semeniuta et al. 2016 on update"),
    ("locked_gates", "batch gate feature", "Gal & Ghahramani 2016, untied"),
    ("shared", "feature", "one mask for the whole batch; equals masking the columns of the weights"),
    ("token", "time batch", "whole vectors of single positions"),
    ("word", "type", "AWD-LSTM embedded_dropout: word types, whole batch"),
    ("word_per_sequence", "batch type", "Gal & Ghahramani 2016, embedding dropout"),
    ("dropconnect", "gate out in", "Wan et al. 2013; AWD-LSTM weight drop on weight_hh"),
    ("weight_rows", "gate out", "WeightDrop(variational=True) as usually implemented"),
    ("weight_columns", "in", "what WeightDrop(variational=True) is usually meant to be"),
    ("zoneout", "time batch feature", "Krueger et al. 2017, on cell and state", "previous"),
)  # fmt: skip


def kinds_at(location: str) -> list[str]:
    """Names of the kinds that have a meaning at `location`."""
    return [kind for kind in KINDS if _varies_at(KINDS[kind], LOCATIONS[location]) is not None]


def _varies_at(kind: Kind, location: Location) -> frozenset[str] | None:
    """What `kind` varies over at `location`, or None where it has no meaning."""
    if kind.name == "none":
        return frozenset()
    if kind.fill == "previous" and not location.keeps_memory:
        return None
    if kind.varies <= set(location.axes):
        return kind.varies
    if location.is_weight and kind.varies <= {"gate", "out", "in"}:
        return kind.varies & set(location.axes)  # the decoder's weights have no gates
    return None


@dataclass(frozen=True)
class Rule:
    """What happens at one location. Build it with `rule()`, which checks it.

    `p` is the probability of a hole (for fill "previous": of keeping the previous value);
    other noise has the same variance, p/(1-p).
    """

    location: str
    kind: str = "none"
    p: float = 0.0
    varies: frozenset[str] = field(default_factory=frozenset)
    noise: str = "bernoulli"
    fill: str = "zero"

    @property
    def active(self) -> bool:
        """Whether the rule does anything: at p = 0 every kind is `none`."""
        return self.p > 0

    def within(self, layers: int | None) -> Rule:
        """The rule in a model of so many recurrent layers: `none` where it has nothing to act on."""
        return self if layers is None or layers >= LOCATIONS[self.location].layers else Rule(self.location)

    def shape(self, lengths: Mapping[str, Any]) -> list[Any]:
        """The mask's shape: for each axis of the location its length (or symbol), or 1 where the mask does not vary."""
        return [lengths[axis] if axis in self.varies else 1 for axis in LOCATIONS[self.location].axes]

    def __str__(self) -> str:
        noise = "" if self.noise == "bernoulli" else f" {self.noise}"
        return f"{self.location} {self.kind}{noise} {self.p:g}".replace(" 0.", " .")


def rule(
    location: str,
    kind: str = "none",
    p: float = 0.0,
    varies: Iterable[str] | None = None,
    noise: str | None = None,
    fill: str | None = None,
) -> Rule:
    """Build the rule of one location from a kind, from `varies`, or from a kind whose parts are replaced.

    Raises RequestError, naming what the location takes, where the combination has no meaning.
    """
    return _rule(location, kind, p, None if varies is None else tuple(varies), noise, fill)


@lru_cache(maxsize=4096, typed=True)
def _rule(
    location: str, kind: str, p: float, varies: tuple[str, ...] | None, noise: str | None, fill: str | None
) -> Rule:
    """`rule`, which a grid asks for the same ones again and again."""
    if location not in LOCATIONS:
        raise unknown("dropout location", location, LOCATIONS)
    if kind not in KINDS:
        raise unknown(f"dropout kind for {location}", kind, kinds_at(location))
    where = f"dropout.{location}"
    if not 0 <= p < 1:
        raise RequestError(f"{where}.p={p:g} is not a rate: it must be at least 0 and below 1.")
    place = LOCATIONS[location]
    over = _varies_at(KINDS[kind], place) if varies is None else _checked_axes(varies, place)
    if over is None:
        raise RequestError(
            f"{where}.kind={kind} has no meaning: {kind!r} varies over {' '.join(sorted(KINDS[kind].varies))}"
            f"{', filled with the previous value,' if KINDS[kind].fill == 'previous' else ''}"
            f" and a mask on {location} can vary over {' '.join(place.axes)}.\n"
            f"Kinds for {location}: {' '.join(kinds_at(location))}"
        )
    fill = KINDS[kind].fill if fill is None else _checked_fill(fill, place)
    noise = "bernoulli" if noise is None else noise
    if noise not in NOISES:
        raise unknown(f"noise for {location}", noise, NOISES)
    if fill == "previous" and not NOISES[noise].holes:
        takers = " ".join(name for name, each in NOISES.items() if each.holes)
        raise RequestError(f"{where}: fill 'previous' takes noise {takers!r}, not {noise!r}.")
    if p > 0 and not over:
        raise RequestError(
            f"{where}.p={p:g} without a kind does nothing: give {where}.kind=… or {where}.varies=[…].\n"
            f"Kinds for {location}: {' '.join(kinds_at(location))}"
        )
    return Rule(location, _name_of(kind, over, fill, place), p, over, noise, fill)


def _checked_axes(varies: tuple[str, ...], place: Location) -> frozenset[str]:
    for axis in varies:
        if axis not in place.axes:
            raise unknown(f"axis for dropout.{place.name}.varies", axis, place.axes)
    return frozenset(varies)


def _checked_fill(fill: str, place: Location) -> str:
    if fill not in FILLS:
        raise unknown(f"fill for {place.name}", fill, FILLS)
    if fill == "previous" and not place.keeps_memory:
        raise RequestError(
            f"dropout.{place.name}.fill=previous has no meaning: {place.name} keeps no previous value."
            " It is for: " + " ".join(name for name, at in LOCATIONS.items() if at.keeps_memory)
        )
    return fill


def _name_of(kind: str, varies: frozenset[str], fill: str, place: Location) -> str:
    """The kind that (varies, fill) is, or "custom"; `kind` itself where it still holds."""
    names = [kind, *KINDS]
    return next(
        (name for name in names if _varies_at(KINDS[name], place) == varies and KINDS[name].fill == fill), "custom"
    )
