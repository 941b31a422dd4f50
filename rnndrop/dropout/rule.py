"""A dropout rule: where the noise enters × what the mask varies over × which noise × what fills the hole.

`LOCATIONS` and `KINDS` are the whole space. A new published dropout is one more row in `KINDS` and its entry in
`rnndrop.dropout.literature`, of which its page is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from rnndrop.dropout.literature import ABOUT, About
from rnndrop.dropout.noises import GROUP, NOISES, Noise, planned
from rnndrop.errors import RequestError, unknown
from rnndrop.own import imported, is_own, no_such, resolved, with_registered

KIND_GROUP = "rnndrop.kinds"

SCHEDULES = ("linear", "exponential", "early", "late", "uniform")
EXTRAS = ("flip", "block", "schedule", "until", "gradient", "smallest", "discounted")
"""What a rule may have beside kind, p, varies, noise and fill; each None, or false, unless it is asked for."""


@dataclass(frozen=True)
class Location:
    """A place in the model where noise can enter.

    `axes` are the axes that a mask there can vary over, in the order of the mask's dimensions; `fills` are what can
    stand in a hole; `layers` is how many recurrent layers a model must have. Which of them a cell lacks is in its row
    (`rnndrop.config.cells`).
    """

    name: str
    acts_on: str
    axes: tuple[str, ...]
    fills: tuple[str, ...] = ("zero",)
    aliases: str = ""
    layers: int = 1

    @property
    def keeps_memory(self) -> bool:
        """Whether it has a previous value."""
        return "previous" in self.fills

    @property
    def is_weight(self) -> bool:
        """Whether the mask falls on a weight matrix instead of an activation."""
        return "out" in self.axes


@dataclass(frozen=True)
class Kind:
    """A named point of the space: what the mask `varies` over and what `fill`s the hole."""

    name: str
    varies: frozenset[str]
    published: str = ""
    fill: str = "zero"

    def __post_init__(self) -> None:
        axes = self.varies.split() if isinstance(self.varies, str) else self.varies  # of the user's, as "batch gate"
        object.__setattr__(self, "varies", frozenset(axes))

    @property
    def about(self) -> About:
        """Its equation, sources, implementations and aliases."""
        return ABOUT[self.name]


def _locations(*rows: Location) -> dict[str, Location]:
    return {row.name: row for row in rows}


_ACTIVATION = ("time", "batch", "feature")
_GATED = ("time", "batch", "gate", "feature")
_MEMORY = ("zero", "previous")
_WEIGHT = ("zero", "start")

LOCATIONS = _locations(
    Location("token", "the words that are read, before they are looked up", ("time", "batch", "type"),
             ("unk", "blank", "unigram", "kn", "model")),
    Location("embedding", "rows of the embedding matrix (word types)", ("batch", "type", "feature"),
             aliases="AWD dropoute; Gal x"),
    Location("input", "what enters the first recurrent layer", _GATED, aliases="AWD dropouti; Gal i"),
    Location("hidden", "what passes from one recurrent layer to the next", _GATED, aliases="AWD dropouth; Gal i",
             layers=2),
    Location("recurrent", "h(t-1), where it enters the gates", _GATED, aliases="Gal h"),
    Location("update", "the candidate, as g of an LSTM and n of a GRU", _ACTIVATION),
    Location("cell", "the memory: c of an LSTM, h of a GRU or Elman RNN", _ACTIVATION, _MEMORY),
    Location("state", "the new h before it is handed on", _ACTIVATION, _MEMORY),
    Location("carry", "the memory that is handed to the next window", ("batch",), ("initial",)),
    Location("layer", "whole recurrent layers that are as wide as what enters them", ("layer", "batch"), ("input",)),
    Location("output", "the top layer's h, before the decoder", _ACTIVATION, aliases="AWD dropout; Gal o"),
    Location("weight_ih", "the recurrent layers' input weights", ("gate", "out", "in"), _WEIGHT),
    Location("weight_hh", "the recurrent layers' recurrent weights", ("gate", "out", "in"), _WEIGHT,
             aliases="AWD wdrop"),
    Location("weight_decoder", "the decoder's weights", ("out", "in"), _WEIGHT),
)  # fmt: skip


def _kinds(*rows: tuple[str, str, str] | tuple[str, str, str, str]) -> dict[str, Kind]:
    return {row[0]: Kind(row[0], frozenset(row[1].split()), *row[2:]) for row in rows}


KINDS = _kinds(
    ("none", "", "no dropout"),
    ("naive", "time batch feature", "Zaremba et al. 2014; on recurrent too: Gal & Ghahramani's baseline on sentiment"),
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
    ("unk", "time batch", "Bowman et al. 2016: word dropout", "unk"),
    ("blank", "time batch", "Xie et al. 2017: blank noising", "blank"),
    ("unigram", "time batch", "Xie et al. 2017: unigram noising", "unigram"),
    ("kn", "time batch", "Xie et al. 2017: bigram Kneser-Ney noising", "kn"),
    ("sampled", "time batch", "Bengio et al. 2015: scheduled sampling, in its parallel form", "model"),
    ("reset", "batch", "Melis et al. 2018: the state of a sequence starts anew", "initial"),
    ("layer_drop", "layer", "Huang et al. 2016: stochastic depth; Fan et al. 2020: LayerDrop", "input"),
    ("stochastic_depth", "layer batch", "stochastic depth with a draw for each sequence, as DropPath", "input"),
    ("mixout", "in", "Lee et al. 2020: all weights of an input fall back to those of the start", "start"),
    ("mixconnect", "gate out in", "Lee et al. 2020: single weights fall back to those of the start", "start"),
)  # fmt: skip


def kinds_at(location: str) -> list[str]:
    """Names of our kinds that have a meaning at `location`."""
    return [kind for kind in KINDS if _varies_at(KINDS[kind], LOCATIONS[location]) is not None]


def kind_names(location: str) -> list[str]:
    """The names that `kind` takes at `location`, those of other packages too."""
    return with_registered(kinds_at(location), KIND_GROUP)


def noise_names(location: str) -> list[str]:
    """The names that `noise` takes at `location`, those of other packages too."""
    return with_registered(noises_at(location), GROUP)


def noises_at(location: str) -> list[str]:
    """Names of our noises that have a meaning at `location`."""
    place = LOCATIONS[location]
    return [name for name, noise in NOISES.items() if _takes_noise(place, noise)]


def in_parts(location: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a rule whose kind is the user's own, by the parts that this names; others as they are.

    So nothing that is kept of a run depends on their file. Raises RequestError.
    """
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind in KINDS or not is_own(path := resolved(kind, KINDS, KIND_GROUP)):
        return settings
    place, key = LOCATIONS[location], f"dropout.{location}.kind"
    found = imported(key, path, Kind).row
    over = _varies_at(found, place)
    if over is None:
        raise _without_meaning(place, path, found)
    axes = [axis for axis in place.axes if axis in over]
    varies, fill = settings.get("varies"), settings.get("fill")
    fill = found.fill if fill is None and found.fill != place.fills[0] else fill
    return {**settings, "kind": "none", "varies": axes if varies is None else varies, "fill": fill}


def _without_meaning(place: Location, name: str, kind: Kind) -> RequestError:
    filled = f", filled with {kind.fill!r}," if kind.fill != "zero" else ""
    return RequestError(
        f"dropout.{place.name}.kind={name} has no meaning: {name!r} varies over {' '.join(sorted(kind.varies))}{filled}"
        f" and a mask on {place.name} can vary over {' '.join(place.axes)}.\n"
        f"Kinds for {place.name}: {' '.join(kinds_at(place.name))}"
    )


def _takes_noise(place: Location, noise: Noise) -> bool:
    on_weights = noise.added or noise.learned
    return noise.holes or ("zero" in place.fills and (place.is_weight or not on_weights))


def _varies_at(kind: Kind, location: Location) -> frozenset[str] | None:
    """What `kind` varies over at `location`, or None where it has no meaning."""
    if kind.name == "none":
        return frozenset()
    if kind.fill not in location.fills:
        return None
    if kind.varies <= set(location.axes):
        return kind.varies
    if location.is_weight and kind.varies <= {"gate", "out", "in"}:
        return kind.varies & set(location.axes)  # the decoder's weights have no gates
    return None


def takes(place: Location, part: str) -> bool:
    """Whether a part of a rule has a meaning at a location."""
    return {
        "flip": "time" in place.axes and place.name != "token",
        "block": "time" in place.axes and place.name != "token",
        "gradient": place.name == "recurrent",
        "smallest": place.is_weight,
        "discounted": place.name == "token",
    }.get(part, True)


@dataclass(frozen=True)
class Rule:
    """What happens at one location. Build it with `rule()`, which checks it.

    `p` is the probability of a hole (for fill "previous": of keeping the previous value); other noise has the same
    variance, p/(1-p), or the standard deviation p where it is added.

    `flip`: the chance that an entry is drawn anew at a step; else it is that of the step before. `block`: the least
    length of a hole, in steps. `schedule` and `until`: how the rate changes over training, and up to which epoch.
    `gradient`: the mask acts on the way back alone. `smallest`: the share of weights, by size, that can be dropped.
    `discounted`: the rate of a word is that of absolute discounting (`rnndrop.dropout.words`).
    """

    location: str
    kind: str = "none"
    p: float = 0.0
    varies: frozenset[str] = field(default_factory=frozenset)
    noise: str = "bernoulli"
    fill: str = "zero"
    flip: float | None = None
    block: int | None = None
    schedule: str | None = None
    until: float | None = None
    gradient: bool = False
    smallest: float | None = None
    discounted: bool = False

    @property
    def active(self) -> bool:
        """Whether the rule does anything: at p = 0 every kind is `none`."""
        return self.p > 0

    @property
    def extras(self) -> dict[str, Any]:
        """What it has of `EXTRAS`."""
        return {name: value for name in EXTRAS if (value := getattr(self, name))}

    def within(self, layers: int | None) -> Rule:
        """The rule in a model of so many recurrent layers: `none` where it has nothing to act on."""
        return self if layers is None or layers >= LOCATIONS[self.location].layers else Rule(self.location)

    def at(self, epoch: float) -> Rule:
        """The rule after so many epochs of training, 1.5 in the middle of the second."""
        return self if self.until is None else replace(self, p=self.p * self._share(epoch))

    def _share(self, epoch: float) -> float:
        """The part of the rate that a schedule leaves; see `rnndrop.dropout.literature`."""
        assert self.until is not None
        done = min(epoch / self.until, 1.0)
        match self.schedule:
            case "linear":
                return 1 - done
            case "exponential":
                return 1 - math.exp(-10 * epoch / self.until)
            case "early":
                return float(done < 1)
            case _:
                return float(done == 1)

    def shape(self, lengths: Mapping[str, Any]) -> list[Any]:
        """The mask's shape: for each axis of the location its length (or symbol), or 1 where the mask does not vary."""
        return [lengths[axis] if axis in self.varies else 1 for axis in LOCATIONS[self.location].axes]

    def __str__(self) -> str:
        noise = "" if self.noise == "bernoulli" else f" {self.noise}"
        place = LOCATIONS[self.location]
        axes = " ".join(axis for axis in place.axes if axis in self.varies)
        filled = f" {self.fill}" if self.fill != place.fills[0] or place.name == "token" else ""
        kind = f"over {axes}{filled}" if self.kind == "custom" else self.kind
        return f"{self.location} {kind}{noise} {self.p:g}{in_words(self.extras)}".replace(" 0.", " .")


def in_words(extras: Mapping[str, Any]) -> str:
    """What a rule has of `EXTRAS`, as ` flip .1 gradient`."""
    given = {name: value for name in EXTRAS if (value := extras.get(name))}
    return "".join(f" {name}" if value is True else f" {name} {_plain(value)}" for name, value in given.items())


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def rule(
    location: str,
    kind: str = "none",
    p: float = 0.0,
    varies: Iterable[str] | None = None,
    noise: str | None = None,
    fill: str | None = None,
    **extras: Any,
) -> Rule:
    """Build the rule of one location from a kind, from `varies`, or from a kind whose parts are replaced.

    `extras` are of `EXTRAS`. Raises RequestError, naming what the location takes, where the combination has no meaning.
    """
    asked = tuple((name, value) for name, value in extras.items() if value is not None and value is not False)
    return _rule(location, kind, p, None if varies is None else tuple(varies), noise, fill, asked)


@lru_cache(maxsize=4096, typed=True)
def _rule(
    location: str, kind: str, p: float, varies: tuple[str, ...] | None, noise: str | None, fill: str | None,
    extras: tuple[tuple[str, Any], ...],
) -> Rule:  # fmt: skip
    """`rule`, which a grid asks for the same ones again and again."""
    if location not in LOCATIONS:
        raise unknown("dropout location", location, LOCATIONS)
    if kind not in KINDS:
        raise no_such(f"dropout kind for {location}", kind, kinds_at(location), KIND_GROUP)
    where = f"dropout.{location}"
    if not 0 <= p < 1:
        raise RequestError(f"{where}.p={p:g} is not a rate: it must be at least 0 and below 1.")
    place = LOCATIONS[location]
    over = _varies_at(KINDS[kind], place) if varies is None else _checked_axes(varies, place)
    if over is None:
        raise _without_meaning(place, kind, KINDS[kind])
    own_fill = place.fills[0] if kind == "none" else KINDS[kind].fill
    fill = own_fill if fill is None else _checked_fill(fill, place)
    noise = "bernoulli" if noise is None else resolved(noise, NOISES, GROUP)
    if noise not in NOISES and not is_own(noise):
        raise no_such(f"noise for {location}", noise, NOISES, GROUP)
    if p > 0 and not over and varies is not None:
        raise RequestError(
            f"{where}.varies=[] is a mask that varies over nothing: name some of {' '.join(place.axes)}."
        )
    if p > 0 and not over:
        raise RequestError(
            f"{where}.p={p:g} without a kind does nothing: give {where}.kind=… or {where}.varies=[…].\n"
            f"Kinds for {location}: {' '.join(kinds_at(location))}"
        )
    made = Rule(location, kind, p, over, noise, fill, **(dict(extras) if p > 0 else {}))
    if made.active:
        refuse_meaningless(made, place, planned(noise))
    return _reduced(made, place)


def refuse_meaningless(own: Rule, place: Location, noise: Noise) -> None:
    """Raise RequestError where parts of a rule do not go together."""
    for wrong, reason in _conflicts(own, place, noise):
        if wrong:
            raise RequestError(f"dropout.{own.location}{reason}")


def _conflicts(own: Rule, place: Location, noise: Noise) -> Iterable[tuple[bool, str]]:
    meaningless = [name for name in own.extras if not takes(place, name)]
    over_time = "time" in own.varies
    holed = " ".join(name for name, each in NOISES.items() if each.holes)
    plain = own.fill == "zero" and noise.holes
    return (
        (bool(meaningless), f".{''.join(meaningless[:1])} has no meaning: a rule for {own.location} does not take it."),
        (
            own.fill != "zero" and not noise.holes,
            f": fill {own.fill!r} takes noise {holed!r}, not {own.noise!r}.",
        ),
        (
            not _takes_noise(place, noise),
            f".noise={own.noise} has no meaning. Noises for {own.location}: {' '.join(noises_at(own.location))}",
        ),
        (
            own.flip is not None and not (0 <= own.flip <= 1 and over_time),
            f".flip={own.flip}: it is a chance for each step, from 0 to 1, of a mask that varies over time.",
        ),
        (
            own.block is not None and not (own.block >= 1 and over_time and noise.holes),
            f".block={own.block}: it is a number of steps, at least 1, of holes in a mask that varies over time.",
        ),
        (own.block is not None and own.flip is not None, ": give flip or block, not both."),
        (
            own.flip == 0 and own.varies == {"time"},
            ".flip=0 leaves nothing that the mask varies over: give more axes than time, or a flip above 0.",
        ),
        (
            own.noise == "dirichlet" and (own.flip is not None or not own.varies & {"feature", "in", "type"}),
            ".noise=dirichlet is for a mask that varies over features, inputs or types, with flip=null: its"
            " entries have a fixed sum.",
        ),
        (
            noise.learned and noise.added and own.varies != set(place.axes),
            f".noise={own.noise} has a draw of its own for each weight, and this mask varies over"
            f" {' '.join(axis for axis in place.axes if axis in own.varies)}: give kind=dropconnect, or"
            " noise=concrete, which masks can share.",
        ),
        (
            (own.schedule in (None, "uniform")) != (own.until is None) or (own.until is not None and own.until <= 0),
            ".schedule needs until, a number of epochs above 0 (uniform takes none), and until a schedule.",
        ),
        (
            own.schedule == "uniform" and own.location != "token",
            ".schedule=uniform, a rate that is drawn anew for each sequence of a window, is for dropout.token.",
        ),
        (
            own.schedule is not None and (own.schedule not in SCHEDULES or own.fill == "previous" or noise.learned),
            f".schedule={own.schedule} has no meaning here. Schedules: {' '.join(SCHEDULES)}. What keeps a previous"
            " value is evaluated at its rate, and a learned noise has none that is set.",
        ),
        (
            own.gradient and not (plain and "gate" not in own.varies),
            ".gradient=true is for holes that all gates share.",
        ),
        (
            own.smallest is not None and not (plain and 0 < own.smallest < 1),
            f".smallest={own.smallest}: it is a share, above 0 and below 1, of weights that holes can drop. For all of"
            " them give null: what is kept is then scaled, as in DropConnect.",
        ),
    )


def _reduced(own: Rule, place: Location) -> Rule:
    """The rule in its one spelling: by the kind that it is, without extras that change nothing."""
    if own.flip == 0:
        own = replace(own, varies=own.varies - {"time"})
    own = replace(
        own,
        flip=None if own.flip in (0, 1) else own.flip,
        block=None if own.block == 1 else own.block,
        discounted=own.discounted and own.fill != "kn",  # whose rates are so in any case
    )
    return replace(own, kind=_name_of(own.kind, own.varies, own.fill, place))


def _checked_axes(varies: tuple[str, ...], place: Location) -> frozenset[str]:
    for axis in varies:
        if axis not in place.axes:
            raise unknown(f"axis for dropout.{place.name}.varies", axis, place.axes)
    return frozenset(varies)


def _checked_fill(fill: str, place: Location) -> str:
    every = tuple(dict.fromkeys(name for at in LOCATIONS.values() for name in at.fills))
    if fill not in every:
        raise unknown(f"fill for {place.name}", fill, place.fills)
    if fill not in place.fills:
        raise RequestError(
            f"dropout.{place.name}.fill={fill} has no meaning: {place.name} takes {' '.join(place.fills)}."
            " It is for: " + " ".join(name for name, at in LOCATIONS.items() if fill in at.fills)
        )
    return fill


def _name_of(kind: str, varies: frozenset[str], fill: str, place: Location) -> str:
    """The kind that (varies, fill) is, or "custom"; `kind` itself where it still holds."""
    names = [kind, *KINDS]
    return next(
        (name for name in names if _varies_at(KINDS[name], place) == varies and KINDS[name].fill == fill), "custom"
    )
