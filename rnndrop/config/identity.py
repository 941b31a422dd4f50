"""What a run is: the one place that says which settings count, and how each is spelled. No torch, no pandas.

Run ids, the labels of reports and the question whether two configurations are the same run all come from here. What
does nothing is no part of a run: a rule at p = 0 or at a location that the model does not have, a setting that another
one switches off, a setting that came later and stands at the default of the schema. Nor is what is only measured
after training.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from rnndrop.config import cells, corpora, modules, tasks
from rnndrop.config.cells import CELLS
from rnndrop.config.corpora import CORPORA, FILES
from rnndrop.config.tasks import TASKS
from rnndrop.dropout.plan import rules_at
from rnndrop.dropout.rule import EXTRAS, LOCATIONS, Rule
from rnndrop.errors import RequestError
from rnndrop.own import is_own, source_hash
from rnndrop.paths import path_of, sha256_of

if TYPE_CHECKING:
    from rnndrop.config.schema import Config

GONE = {"trainer.tensorboard": "tracker=[tensorboard]"}
"""Settings that records of before have, none of which changed what a run computes, with what is typed instead."""

ELSEWHERE = frozenset(
    ("seed", "output", "label", "tracker", "data.root", "trainer.device", "trainer.deterministic", "trainer.threads",
     "trainer.checkpoint_epochs", "trainer.checkpoint_seconds", "trainer.keep_weights", *GONE)
)  # fmt: skip
"""Settings that do not change what a run computes."""

MODES = {"mc": "samples", "cache": "size", "dynamic": "rule", "temperature": "tune"}
"""What is measured after training: its group below `evaluation`, and the setting there that asks for it."""

FORMER_SCHEMA = 1  # of the records of before
FORMER_DIGITS = 8  # of the run ids of before; they named runs by 32 bits
DIGITS = 16  # 64 bits: among a million configurations two share an id with a chance of 3 in 100 million
SIGNIFICANT = 12  # digits of a number: .3 and .30000000000000004 are one rate

# A setting does nothing where the others are so.
_IDLE: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "trainer.decay_after": lambda s: s["trainer.decay"] == 1,
    "trainer.scaled_decay": lambda s: s["trainer.weight_decay"] == 0 or s["trainer.optimizer"] == "adamw",
    **dict.fromkeys(("model.cell", "trainer.init"), lambda s: s["model.module"] is not None),
    "data.split": lambda s: not corpora.cuts(CORPORA[s["data.name"]], s["data.file"]),
    **{f"twin.{name}": lambda s: s["twin.loss"] is None for name in ("weight", "masks", "share", "alone", "both")},
    **{f"data.{name}": lambda s: not CORPORA[s["data.name"]].files for name in FILES},
}


@dataclass(frozen=True)
class Rules:
    """The dropout of a configuration: its settings as `canonical` has them, and whether any rule does something."""

    settings: dict[str, Any]
    active: bool


def canonical(tree: Mapping[str, Any], rules: Rules | None = None) -> dict[str, Any]:
    """The settings that count, by dotted name, each in its one spelling; lists are tuples.

    `tree` is a resolved configuration: of a Config, or of a record, which may be an older one. A rule that does
    nothing reads as `none`; settings that do nothing are not there; those that came later have what they stood for.
    `rules`: what `canonical_rules` says of it, where that is known.
    """
    rules = rules or canonical_rules(tree)
    return {**_settings(tree, rules.active, _later_defaults()), **rules.settings}


def is_one_run(settings: Mapping[str, Any]) -> bool:
    """Whether every seed is the same run: all that is drawn under `canonical` settings has a seed of its own."""
    seeds = [value for name, value in settings.items() if name.startswith("seeds.")]
    return bool(seeds) and None not in seeds


def canonical_rules(tree: Mapping[str, Any]) -> Rules:
    """The part of `canonical` that follows from the dropout and the number of layers, whatever else is set."""
    found = _rules(tree)
    others = {name: value for name, value in _leaves({"dropout": tree.get("dropout", {})}) if not _extra(name)}
    own = {f"dropout.{place}.{part}": value for place, each in found.items() for part, value in _spelled(each).items()}
    return Rules({**others, **own}, _active(found))


def identity(
    tree: Mapping[str, Any], revised: bool = True, noises: Mapping[str, str | None] = MappingProxyType({})
) -> dict[str, Any]:
    """What a run's id is made of: the settings of `canonical` that do something, and the rules without their names.

    `revised`: with the definitions of today; records of before (`former`) mean what they meant then. `noises`: the
    sources of the user's own.
    """
    neutral = dict(_leaves(_neutral()))
    one_gate = [cell.name for cell in CELLS.values() if len(cell.gates) == 1]
    found = _rules(tree)
    settings = _settings(tree, _active(found))
    kept = {name: value for name, value in settings.items() if not (name in neutral and neutral[name] == value)}
    if revised and length_counted_twice(kept):
        kept["trainer.random_window"] = [True, {"definition": 2}]
    ungated = {"gate"} if tree["model"]["cell"] in one_gate else set()  # of the user's own only their file knows
    for place, rules in found.items():
        for index, own in enumerate(own for own in rules if own.active):
            parts = {"p": rounded(own.p), "varies": sorted(own.varies - ungated)}
            noise = [own.noise, noises[own.noise]] if own.noise in noises else own.noise
            parts |= {"noise": noise} if noise != "bernoulli" else {}
            parts |= {"fill": own.fill} if own.fill != "zero" else {}
            parts |= {"definition": 2} if revised and redefined(own.location, own.fill, own.schedule) else {}
            parts |= {name: rounded(value) for name, value in own.extras.items()}
            kept[f"dropout.{place}" + (f".also.{index}" if index else "")] = parts
    return kept


def run_id(config: Config) -> str:
    """Sixteen hex digits that name what `config` computes, whatever its seed and wherever it runs."""
    return _run_id(*_seedless(config))


@lru_cache(maxsize=4096)
def _run_id(config: Config, sources: Sources) -> str:
    return digest(identity(_tree(config, sources), noises=dict(sources.noises)))


def float32_id(config: Config) -> str:
    """The run id of the same in float32: what runs share that differ in how their products are rounded."""
    trainer = config.trainer.model_copy(update={"precision": "float32"})
    return run_id(config.model_copy(update={"trainer": trainer}))


def former(name: str) -> bool:
    """Whether a run id is one of before."""
    return len(name) == FORMER_DIGITS


def shown_digits(ids: Iterable[str]) -> int:
    """How many digits of these run ids tell them apart: eight where that is enough."""
    whole = set(ids)
    return next((digits for digits in range(8, DIGITS) if len({run[:digits] for run in whole}) == len(whole)), DIGITS)


PATHS = frozenset(f"data.{name}" for name in FILES)  # of an identity: their content is in the run id


def owner(config: Config) -> Any:
    """Run id, seed and what they stand for, as JSON has it: what a checkpoint says of whose it is."""
    return json.loads(json.dumps([run_id(config), config.seed, identity(config.model_dump(mode="json"))]))


def is_owner(owner: Any, found: Any) -> bool:
    """Whether what a checkpoint says of whose it is, `found`, is `owner`, wherever the same files lie now."""

    def named(each: Any) -> Any:
        run, seed, settings = each
        return run, seed, {name: value for name, value in settings.items() if name not in PATHS}

    return bool(named(owner) == named(found))


def asked(config: Config) -> dict[str, dict[str, Any]]:
    """Which of `MODES` a configuration asks for, with their settings."""
    settings = {mode: getattr(config.evaluation, mode).model_dump() for mode in MODES}
    return {mode: own for mode, own in settings.items() if own[MODES[mode]]}


def recorded(config: Config) -> dict[str, Any]:
    """The settings that a record keeps: all but who else is told of the run."""
    return config.model_dump(mode="json", exclude={"tracker"})


def key_of(override: str) -> str:
    """The setting that an override is for: `seed` of `+seed=1`."""
    return override.partition("=")[0].strip().lstrip("+~")


def of_identity(overrides: Iterable[str]) -> list[str]:
    """The overrides that change what a run computes: not its seed, nor where it runs and what it is called."""
    return [each for each in overrides if key_of(each) not in ELSEWHERE]


def untracked(overrides: Iterable[str]) -> list[str]:
    """The overrides that a record keeps, and that repeat its run: the same, and none that is gone."""
    return [each for each in overrides if key_of(each) not in ("tracker", *GONE)]


def later(mode: str) -> dict[str, Any]:
    """The settings of a mode that records do not name where they stand at these values: those that came later."""
    prefix = f"evaluation.{mode}."
    return {name.removeprefix(prefix): value for name, value in _neutral().items() if name.startswith(prefix)}


def rounded(value: Any) -> Any:
    """A setting with its numbers in their one spelling: 12 significant digits, whole ones as integers."""
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is int:
        return value
    if isinstance(value, float):
        return _shortest(value)
    return tuple(map(rounded, value)) if isinstance(value, (list, tuple)) else value


@lru_cache(maxsize=4096)
def _shortest(value: float) -> float:
    number = float(f"{value:.{SIGNIFICANT}g}")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def former_id(config: Config) -> str:
    """The eight digits that named this run in records of before, by the full configuration of then."""
    return _former_id(*_seedless(config))


@lru_cache(maxsize=4096)
def _former_id(config: Config, sources: Sources) -> str:
    tree = _tree(config, sources)
    for name in ELSEWHERE:
        _drop(tree, name)
    for name, value in _neutral().items():
        _drop(tree, name, value)
    del tree["evaluation"]["temperature"]  # it came when ids had sixteen digits
    for mode in ("cache", "dynamic"):
        if not tree["evaluation"][mode][MODES[mode]]:
            del tree["evaluation"][mode]
    return hashlib.sha256(json.dumps([FORMER_SCHEMA, tree], sort_keys=True).encode()).hexdigest()[:FORMER_DIGITS]


def _drop(tree: dict[str, Any], name: str, *values: Any) -> None:
    """Take a setting out of a tree; where `values` are given, if it is one of them."""
    *parents, last = name.split(".")
    for parent in parents:
        tree = tree[parent]
    if last in tree and (not values or tree[last] in values):
        del tree[last]


def digest(content: Any) -> str:
    """An id: the run id of what `identity` returned, or that of a decision or a search."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The settings of a tree by dotted name, in order. A list: generators within generators take five times as long."""
    found: list[tuple[str, Any]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, value))
    return found


def _settings(tree: Mapping[str, Any], masked: bool, absent: Mapping[str, Any] = {}) -> dict[str, Any]:
    """The settings that count, but those of the dropout; `masked`: whether a rule of that does something.

    `absent`: what one has, in its one spelling, that the tree does not name.
    """
    groups = {name: group for name, group in tree.items() if name != "dropout"}
    if isinstance(groups.get("evaluation"), dict):
        groups["evaluation"] = {name: value for name, value in groups["evaluation"].items() if name not in MODES}
    flat = {name: rounded(value) for name, value in _leaves(groups) if name not in ELSEWHERE}
    if (root := groups.get("data", {}).get("root")) and is_own(_name(flat.get("data.name", ""))):
        flat["data.root"] = root  # ours have one content wherever they lie, of the user's own nobody knows
    flat |= {name: value for name, value in absent.items() if name not in flat}
    if flat.get("model.embedding") == flat.get("model.hidden"):
        flat["model.embedding"] = None  # as wide as the layers
    idle = {name for name, off in _IDLE.items() if name in flat and _holds(off, flat)}
    idle.update(TASKS[task].idle if (task := _task(flat)) in TASKS else ())
    own = flat.get("model.module") is not None
    idle.update(() if own else (f"model.options.{name}" for name in tree.get("model", {}).get("options", ())))
    idle.update(_undrawn(flat, masked or own or is_own(_task(flat))))
    return {name: value for name, value in flat.items() if name not in idle}


def _undrawn(flat: Mapping[str, Any], masked: bool) -> list[str]:
    """The seeds of what is not drawn.

    Random windows are drawn with the masks, unless one of the two has a seed of its own.
    """
    windows, idle = flat.get("trainer.random_window"), []
    if not windows and not flat.get("trainer.random_offset") and _task(flat) == "language_model":
        idle.append("seeds.data")
    if not masked and not (windows and flat.get("seeds.data") is None):
        idle.append("seeds.masks")
    return idle


def _task(flat: Mapping[str, Any]) -> str:
    """The task by its name."""
    return _name(flat.get("task", "language_model"))


def _name(named: Any) -> str:
    """A name, of the user's own without its source."""
    return str(named[0] if isinstance(named, (list, tuple)) else named)


def _active(rules: Mapping[str, Sequence[Rule]]) -> bool:
    return any(own.active for each in rules.values() for own in each)


def _holds(condition: Callable[[Mapping[str, Any]], bool], flat: Mapping[str, Any]) -> bool:
    try:
        return condition(flat)
    except KeyError:  # an older record, or somebody else's
        return False


def _rules(tree: Mapping[str, Any]) -> dict[str, list[Rule]]:
    """The rules of a configuration by location, those that cannot act as none; what is no rule is left out."""
    layers = tree.get("model", {}).get("layers")
    found = {}
    for place, settings in tree.get("dropout", {}).items():
        if place in LOCATIONS and isinstance(settings, dict):
            try:
                found[place] = [own.within(layers) for own in rules_at(place, settings)]
            except (RequestError, TypeError):
                continue
    return found


def _spelled(rules: Sequence[Rule]) -> dict[str, Any]:
    """The rules of a location as one would set them: a kind, or what the mask varies over where no kind has that name.

    What was not there in the first records is left out where it does nothing.
    """
    active = [own for own in rules if own.active]
    if not active:
        return {"kind": "none", "p": 0, "varies": None, "noise": None, "fill": None}
    own, *others = active
    custom = own.kind == "custom"
    fills = LOCATIONS[own.location].fills
    axes = tuple(axis for axis in LOCATIONS[own.location].axes if axis in own.varies)
    return {
        "kind": "none" if custom else own.kind,
        "p": rounded(own.p),
        "varies": axes if custom else None,
        "noise": own.noise if own.noise != "bernoulli" else None,
        "fill": own.fill if custom and own.fill != fills[0] else None,
        **{name: rounded(value) for name, value in own.extras.items()},
        **({"also": tuple(str(other).removeprefix(f"{own.location} ") for other in others)} if others else {}),
    }


@lru_cache(maxsize=4096)
def _extra(name: str) -> bool:
    """Whether a setting is a part of a rule that was not there in the first records."""
    group, _, part = name.rpartition(".")
    return group.startswith("dropout.") and part in (*EXTRAS, "also")


def redefined(place: str, fill: str, schedule: str | None = None) -> bool:
    """Whether a rule meant something else in records of before.

    Of holes in a memory, an LSTM's scale stood inside the tanh, and a window's first step read h without any. Of a rate
    that is drawn, all sequences of a window had one.
    """
    return (place in ("cell", "state") and fill == "zero") or schedule == "uniform"


def length_counted_twice(settings: Mapping[str, Any]) -> bool:
    """Whether the length of a window counted twice in records of before: in a sum over time, and in the rate too."""
    return bool(settings.get("trainer.random_window")) and settings.get("trainer.loss") == "sum_time"


def of_before(name: str, tree: Mapping[str, Any]) -> bool:
    """Whether a run id, of these settings, is one of before they were `redefined`."""
    now, then = identity(tree), [identity(tree, revised=False)]
    if length_counted_twice(now):  # the latest of them: all others were redefined by then
        then.append({**now, "trainer.random_window": True})
    return name != digest(now) and name in map(digest, then)


@cache
def _neutral() -> dict[str, Any]:
    """The settings that came after the first records, with the value that stands for what was before."""
    from pydantic import BaseModel

    from rnndrop.config.schema import Config

    def walk(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for name, info in model.model_fields.items():
            if not info.is_required():
                value = info.default
                if isinstance(value, BaseModel):
                    value = value.model_dump(mode="json")
                yield prefix + name, list(value) if isinstance(value, tuple) else value
            elif isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
                yield from walk(info.annotation, f"{prefix}{name}.")

    return dict(walk(Config))


@cache
def _later_defaults() -> dict[str, Any]:
    """Those of `_neutral` that count in every run, but those of the dropout, each in its one spelling."""
    left_out = ("dropout.", *(f"evaluation.{mode}." for mode in MODES))
    leaves = _leaves(_neutral())
    return {name: rounded(value) for name, value in leaves if name not in ELSEWHERE and not name.startswith(left_out)}


class Sources(NamedTuple):
    """What is in the user's `FILES`, and the sources of their code, of noises (name, source); all as sha256."""

    files: tuple[str | None, ...]
    task: str | None
    cell: str | None
    module: str | None
    corpus: str | None
    noises: tuple[tuple[str, str | None], ...]


def _seedless(config: Config) -> tuple[Config, Sources]:
    """What runs that differ in their seed share, and what of the user's own counts by its content."""
    paths, folders = (getattr(config.data, name) for name in FILES), is_own(config.data.name)
    sources = Sources(
        tuple(None if path is None else content_hash(path, folders) for path in paths),
        source_hash(tasks.SETTING, config.task),
        source_hash(cells.SETTING, config.model.cell),
        source_hash(modules.SETTING, config.model.module or ""),
        source_hash(corpora.SETTING, config.data.name),
        tuple((name, source_hash("noise", name)) for name in _own_noises(config)),
    )
    return config.model_copy(update={"seed": 0, "output": "", "label": None, "tracker": ()}), sources


def _own_noises(config: Config) -> list[str]:
    """The noises of the user's own in a configuration, whether or not they do anything."""
    places = (value for name, value in config.dropout if name != "name")
    named = {own.noise for place in places for own in (place, *place.also) if own.noise}
    return sorted(filter(is_own, named)) if named else []


def _tree(config: Config, sources: Sources) -> dict[str, Any]:
    """The configuration as a tree, the user's files by their content, their code by name and source."""
    tree = config.model_dump(mode="json")
    tree["data"].update(zip(FILES, sources.files, strict=True))
    own = (("model", "cell", sources.cell), ("model", "module", sources.module), ("data", "name", sources.corpus))
    for group, name, source in own:
        if source is not None:
            tree[group][name] = [tree[group][name], source]
    if sources.task is not None:
        tree["task"] = [tree["task"], sources.task]
    return tree


def _below(folder: Path) -> Iterator[Path]:
    """What is in a folder and in those below it; links to folders are followed, once each."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()  # else the file system decides by which name a folder is seen first
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place, each) for each in names)


def content_hash(name: str, folders: bool) -> str:
    """The sha256 of a user's file, or with `folders` of all in a folder, which a corpus of their own may read.

    Its name where it cannot be read: reading the corpus will say what is wrong.
    """
    path = path_of(name)
    try:
        if folders and path.is_dir():
            there = sorted(each for each in _below(path) if each.is_file())
            content = "\n".join(f"{each.relative_to(path)} {sha256_of(each)}" for each in there)
            return hashlib.sha256(content.encode()).hexdigest()
        return sha256_of(path) if path.is_file() else name  # a pipe can be read once
    except (OSError, ValueError):
        return name
