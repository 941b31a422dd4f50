"""From overrides to checked configurations: Hydra reads the YAML of `conf/` and the grammar of `key=value`.

Nothing after this file sees a Hydra object.
"""

from __future__ import annotations

import math
import os
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from itertools import product, takewhile
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from rnndrop.config import cells, corpora, folders, private_hydra, tasks
from rnndrop.config.cells import CELLS
from rnndrop.config.corpora import FILES
from rnndrop.config.identity import GONE
from rnndrop.config.schema import Config, RuleSettings, checked, gone
from rnndrop.dropout.rule import LOCATIONS, takes
from rnndrop.errors import RequestError, shorten, suggestion, unknown
from rnndrop.own import OWN, is_own, registered
from rnndrop.paths import path_of
from rnndrop.values import Group

GROUPS: tuple[str, ...] = get_args(Group)
LIMIT = 100_000  # runs of one grid
PATHS = ("root", *FILES)  # of `data`
MOST_THREADS = max(256, 16 * (os.cpu_count() or 1))  # this machine may plan for a larger one

ROWS = {
    "task": (tasks.SETTING, tasks.GROUP),
    "data": ("data.name", corpora.GROUP),
    "model": (cells.SETTING, cells.GROUP),
}
"""Groups that take the name of a row too: the setting that holds it, and where other packages register theirs."""

_BESIDE_ROWS = {"task": "language_model", "data": "base"}  # the option that a row is chosen beside
_NO_CHOICE = ("base", "default")  # what the others start from
_AMBIGUOUS = re.compile(r"^\s*['\"]|[][{},]")  # of a text that Hydra cannot read: it is not plain what was meant
_PATHS = ("output", *(f"data.{name}" for name in PATHS))
_NESTED = "a range or a glob cannot be part of a list. Write the values out, or give it alone."
_OPTION = re.compile(r"model\.options(\.\w+)?")  # of the user's own model, who alone knows which there are
_WHOLE_NUMBER = re.compile(r"([a-z_]+(?:\.[a-z_]+)*)=(0|-?[1-9][0-9]{0,17})")


@dataclass(frozen=True)
class Override:
    """One `key=value` as it was typed, and what it says: `value`, or `sweep`, Hydra's object for several values."""

    text: str
    key: str
    value: Any = None
    sweep: Any = None


def compose(overrides: Sequence[str]) -> Config:
    """Compose and check the configuration of one run: groups first, then values in their order. Raises RequestError."""
    read = [_read(text) for text in overrides]
    for own in read:
        if own.sweep is not None:
            raise RequestError(f"{own.text} names several values: use `rnndrop sweep` for a grid.{_quoting(own)}")
    sources, options = folders.sources(), tuple(_option(own) for own in read if own.key in GROUPS)
    values = [*_named(read), *(own for own in read if own.key not in GROUPS)]
    tree = dict(_defaults(options, sources))
    for own in values:
        _set(tree, own)
    refers = _refers(options, sources) or any("${" in str(own.value) for own in values)
    try:
        config = checked(_resolved(tree) if refers else tree)
    except RequestError as error:
        chosen = [str(file) for own in read if own.key in GROUPS for file in folders.users(own.key, own.value)]
        raise RequestError("\n".join([str(error), *(f"{file} is part of it." for file in chosen)])) from None
    _check_threads(config.trainer.threads)
    if not config.output:
        raise RequestError("output= names no folder.")
    _check_path("output", config.output, "0" * 200)  # what will be in it has long names
    for name in PATHS:
        _check_path(f"data.{name}", getattr(config.data, name) or "")
    return config


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """Expand Hydra's sweep grammar (`a=1,2`, `range(3)`, …) into the overrides of each run, the last key fastest.

    Of two for one key the later counts, as in `compose`, where a dictionary only adds to what is there. Raises
    RequestError.
    """
    axes: list[list[str]] = []
    for own in _counting([_read(text) for text in overrides]):
        axes.append([own.text] if own.sweep is None else [f"{own.key}={value}" for value in _values(own)])
        if math.prod(map(len, axes)) > LIMIT:
            raise RequestError(f"The grid has more than {LIMIT:,} runs. Split it, or give fewer values.")
    return [list(job) for job in product(*axes)]


def _counting(read: Sequence[Override]) -> list[Override]:
    """Those that no later one replaces."""
    kept: list[Override] = []
    for own in read:
        values = [own.value] if own.sweep is None else getattr(own.sweep, "list", [None])
        if not all(isinstance(value, dict) for value in values):
            kept = [each for each in kept if each.key != own.key]
        kept.append(own)
    return kept


@dataclass(frozen=True)
class Span:
    """What `interval(low,high)` names, or `tag(log,interval(low,high))`, of which a tenth is as much as tenfold."""

    low: float
    high: float
    log: bool = False

    def at(self, part: float) -> float:
        """The value after so much of the interval, from 0 to 1, in four digits."""
        low, high = (math.log(end) if self.log else end for end in (self.low, self.high))
        value = low + part * (high - low)
        return float(f"{math.exp(value) if self.log else value:.4g}")


def sweeps(overrides: Sequence[str], others: Sequence[str] = ()) -> tuple[list[str], dict[str, Span | list[str]]]:
    """Part overrides into those with one value and, by key, the ranges: a Span or a list of values as typed.

    `others`: keys that are no settings, and can have a range too. Of two for one key the later counts.
    """
    from hydra.core.override_parser.types import IntervalSweep

    read = [_parsed(text) if text.partition("=")[0] in others else _read(text) for text in overrides]
    found = _counting(read)
    fixed = [own.text for own in found if own.sweep is None]
    several = {own.key: own for own in found if own.sweep is not None}
    return fixed, {
        key: _span(own) if isinstance(own.sweep, IntervalSweep) else _values(own) for key, own in several.items()
    }


def _span(own: Override) -> Span:
    low, high, log = own.sweep.start, own.sweep.end, "log" in own.sweep.tags
    if low is None or high is None or not (0 if log else -math.inf) < low < high < math.inf:
        raise RequestError(f"{own.text}: the interval is empty or has no end{', or begins at 0' if log else ''}.")
    return Span(float(low), float(high), log)


def choices(group: str) -> dict[str, str]:
    """The options of a configuration group, each with the comment that it opens with; those of other packages too."""
    ours = _ours(group)
    others = registered(ROWS[group][1]) if group in ROWS else {}
    return dict(sorted({**{name: f"Of the package {owner}." for name, (_, owner) in others.items()}, **ours}.items()))


def _ours(group: str) -> dict[str, str]:
    """The options that are in folders, and our cells."""
    rows = {name: cell.about for name, cell in CELLS.items()} if group == "model" else {}
    return {**_choices(group, folders.sources()), **rows}


@lru_cache(maxsize=64)
def _choices(group: str, sources: tuple[folders.Source, ...]) -> dict[str, str]:
    every = sorted((file for source in sources for file in folders.options(group, source)), key=lambda file: file.stem)
    return {file.stem: _opening(file) for file in every if file.stem not in _NO_CHOICE}


def _opening(file: Path) -> str:
    """The comment that a YAML file opens with, without its package directive and launch lines."""
    comment = takewhile(lambda line: line.startswith("#"), file.read_text("utf-8", "replace").splitlines())
    return " ".join(line.removeprefix("# ") for line in comment if not line.startswith(("# @", "#   ")))


@cache
def known_keys() -> Mapping[str, Any]:
    """Every setting by its dotted name, with its type."""

    def walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, info in model.model_fields.items():
            group = info.annotation
            if isinstance(group, type) and issubclass(group, BaseModel):
                yield from walk(group, f"{prefix}{name}.")
            elif model is not RuleSettings or takes(LOCATIONS[prefix.split(".")[1]], name):
                yield prefix + name, group

    return dict(walk(Config, ""))


@lru_cache(maxsize=4096)
def _read(text: str) -> Override:
    """Read an override and check its key, and the option of a group. Raises RequestError."""
    _check_environment(text)
    number = _WHOLE_NUMBER.fullmatch(text)  # of a hundred thousand seeds Hydra's parser would make a minute
    own = Override(text, number[1], int(number[2])) if number else _parsed(text)
    check_key(own.key)
    if own.key in GROUPS and own.sweep is None:
        _check_option(own)
    if _is_text(own.key) and isinstance(own.value, (bool, int, float)):
        return Override(text, own.key, _typed(text))
    return own


def _check_environment(text: str) -> None:
    """Raise RequestError where the environment would be written into records that people pass on."""
    key = text.partition("=")[0].strip().lstrip("+")
    if "oc.env" in text and key not in _PATHS:
        raise RequestError(
            f"{shorten(text, 100)}: the value of an environment variable would be written into the record. Only paths "
            f"may use one: {' '.join(_PATHS)}"
        )


def _parsed(text: str) -> Override:
    """What Hydra's grammar reads. A text that it cannot read is what was typed."""
    from hydra.errors import HydraException

    if "\0" in text or text.encode(errors="ignore").decode() != text:
        raise RequestError(f"{text!r} is not text: it contains NUL or bytes that are not UTF-8.")
    key, equals, value = text.partition("=")
    try:
        found = private_hydra.parse(text)
    except (HydraException, ValueError, RecursionError) as error:
        if equals and _is_text(key.lstrip("+")) and not _AMBIGUOUS.search(value) and not _is_call(value):
            return Override(text, key.lstrip("+"), value)
        reason = re.sub(r"\w+ while evaluating ", "", str(error).partition("\n")[0])
        reason = "it is nested too deep" if isinstance(error, RecursionError) else reason
        hint = _quoting(Override(text, key)) if equals else "\nA setting is KEY=VALUE; see `rnndrop run --cfg`."
        raise RequestError(f"Cannot read {shorten(repr(text), 200)}: {shorten(reason, 200)}.{hint}") from None
    if found.is_delete():
        raise RequestError(f"{text}: a run needs every setting. Give another value: {key.lstrip('~')}=…")
    if found.package is not None:
        raise RequestError(f"{text}: a group cannot be moved to another place. Leave out @{found.package}.")
    several = found.is_sweep_override()
    if not several and _holds_sweep(found._value):
        raise RequestError(f"{text}: {_NESTED}")
    return Override(text, found.key_or_group, *((None, found._value) if several else (found.value(), None)))


def _holds_sweep(value: Any) -> bool:
    from hydra.core.override_parser.types import Glob, Sweep

    if isinstance(value, dict):
        return any(_holds_sweep(part) for pair in value.items() for part in pair)
    return any(map(_holds_sweep, value)) if isinstance(value, list) else isinstance(value, (Glob, Sweep))


def _is_text(key: str) -> bool:
    """Whether a setting takes any text, so that `2` and `true` are texts too."""
    return known_keys().get(key) in (str, str | None)


def _typed(text: str) -> str:
    return text.partition("=")[2].strip()


def _is_call(value: str) -> bool:
    """Whether a text is meant as one of the grammar's functions, as a range."""
    from hydra.core.override_parser.overrides_parser import create_functions

    name, parenthesis, _ = value.strip().partition("(")
    return bool(parenthesis) and name in create_functions().definitions


def _quoting(own: Override) -> str:
    """How to write a text that the grammar takes for something else; empty for other settings."""
    value = _typed(own.text)
    if not _is_text(own.key.lstrip("+")) or not value:
        return ""
    quoted = value.replace("'", r"\'")
    example = f"{own.key}='{quoted}'" if len(quoted) < 80 and not re.search(r'["$`\\!]', value) else f"{own.key}='…'"
    return f'\nIf it is one text, quote it for Hydra and for the shell: "{example}"'


def _values(own: Override) -> list[str]:
    """The values of a sweep, as they would be typed."""
    from hydra.core.override_parser.types import ChoiceSweep, Glob, RangeSweep
    from hydra.core.override_parser.types import Override as Spelling

    several = own.sweep
    if isinstance(several, Glob):
        if own.key not in GROUPS:
            raise RequestError(f"{own.text}: glob() is for the options of a group, such as dropout=glob(*).")
        values = several.filter(list(choices(own.key)))
    elif isinstance(several, RangeSweep):
        values = _numbers(own.text, several.start, several.stop, several.step)
    elif isinstance(several, ChoiceSweep):
        if any(map(_holds_sweep, several.list)):
            raise RequestError(f"{own.text}: {_NESTED}")
        values = [Spelling._get_value_element_as_str(value) for value in several.list]
        typed = [value.strip() for value in _typed(own.text).split(",")]
        if _is_text(own.key) and several.simple_form and len(typed) == len(values):
            values = typed  # 1e3 and 1000.0 are two texts
    else:
        raise RequestError(
            f"{own.text}: interval() is for `rnndrop tune`. A sweep takes values, such as a,b or range(…)."
        )
    if not values:
        raise RequestError(f"{own.text} names no value: nothing would run.{_valid(own.key)}")
    if getattr(several, "shuffle", False):
        random.shuffle(values)
    return values


def _numbers(text: str, *bounds: Any) -> list[str]:
    """Of `range(start, stop, step)`, in decimals, so that the third of 0.1, 0.2, … is 0.3; `stop` is not among them."""
    start, stop, step = (Decimal(str(bound)) for bound in bounds)
    if not (start.is_finite() and stop.is_finite() and step.is_finite() and step):
        raise RequestError(f"{text}: a range is range(stop), range(start,stop) or range(start,stop,step), step not 0.")
    count = math.ceil((stop - start) / step)
    if count > LIMIT:
        raise RequestError(f"{text} has more than {LIMIT:,} values.")
    spell = int if all(isinstance(bound, int) for bound in bounds) else float
    return [str(spell(start + number * step)) for number in range(count)]


@lru_cache(maxsize=256)
def _defaults(options: tuple[str, ...], sources: tuple[folders.Source, ...]) -> dict[str, Any]:
    """The settings with these options of the groups: what the runs of a grid share. Not to be changed."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        tree = private_hydra.defaults(options, sources)
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(_hydra_message(error)) from None
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise RequestError(f"{' '.join(options)}: cannot read a file of its settings: {error}") from None
    except (ValueError, LookupError, AttributeError) as error:  # what PyYAML says of a tag that does not fit its value
        raise RequestError(f"{' '.join(options)}: cannot read a file of its settings: {error!r}") from None
    tree.pop("experiment", None)
    return tree


@lru_cache(maxsize=256)
def _refers(options: tuple[str, ...], sources: tuple[folders.Source, ...]) -> bool:
    """Whether the settings with these options have `${…}` in them."""
    return "${" in str(_defaults(options, sources))


def _set(tree: dict[str, Any], own: Override) -> None:
    """Set a value; a dictionary changes what it names and leaves the rest. Of `tree` only the top level is changed."""
    *groups, name = own.key.split(".")
    for group in groups:
        if not isinstance(tree.get(group), dict):
            raise RequestError(f"{own.text}: {group} has been set to {tree.get(group)}, which has no {name}.")
        tree[group] = dict(tree[group])  # others may share it
        tree = tree[group]
    tree[name] = merged(tree.get(name), own.value)


def merged(old: Any, new: Any) -> Any:
    """`new`, which for a dictionary is `old` with what is in `new`; neither is changed."""
    if not isinstance(new, dict):
        return new
    kept = old if isinstance(old, dict) else {}
    return {**kept, **{name: merged(kept.get(name), value) for name, value in new.items()}}


def _resolved(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree with `${…}` replaced."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(tree), resolve=True)
    except (OmegaConfBaseException, RecursionError) as error:
        where = f"{key}: " if (key := getattr(error, "full_key", None)) else ""
        reason = str(error).splitlines()[0] if str(error) else "it refers to itself"
        raise RequestError(
            f"{where}cannot resolve ${{…}}: {reason}. Refer to a setting as ${{model.hidden}}."
        ) from None
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _check_threads(threads: int | None) -> None:
    """Raise RequestError for threads that would leave no room for anything else."""
    if threads is not None and threads > MOST_THREADS:
        raise RequestError(
            f"trainer.threads={threads}: there are {os.cpu_count()} processors; ask for at most {MOST_THREADS}."
        )


@lru_cache(maxsize=256)
def _check_path(name: str, path: str, below: str = "") -> None:
    """Raise RequestError for a path that no file can have, with what is to be `below` it."""
    try:
        (path_of(path) / below).exists()
    except RequestError as error:
        raise RequestError(f"{name}={error}") from None
    except OSError as error:
        raise RequestError(f"{name}={shorten(path, 60)}: {error.strerror}. Give another path.") from None


def check_key(key: str) -> None:
    """Raise RequestError, with a guess, for a key that does not exist. Hydra guesses nothing."""
    rest = key.partition(".")[2]
    if re.split("[./]", key)[0] == "hydra":
        raise RequestError(
            f"{key}: of Hydra's own settings only `hydra/launcher` and `hydra.launcher.…` mean something, in a sweep."
            f" Options of your own are read from ./{folders.HERE}/ and --config-dir FOLDER."
        )
    if key == "debug":
        raise RequestError("debug=… looks at one training and records nothing: use `rnndrop run debug=…`.")
    names = known_keys()
    if key in names or key in GROUPS or _OPTION.fullmatch(key) or any(name.startswith(key + ".") for name in names):
        return
    if key in GONE:
        raise RequestError(gone(key))
    parts = key.split(".")
    if parts[0] == "dropout" and len(parts) > 1 and parts[1] not in LOCATIONS:
        raise unknown("dropout location", parts[1], LOCATIONS)
    top_level = list(dict.fromkeys((*GROUPS, *(name.partition(".")[0] for name in names))))
    same_group = [name for name in names if name.rpartition(".")[0] == key.rpartition(".")[0]]
    valid = (same_group if rest else top_level) or list(names)
    near = suggestion(key, valid) or suggestion(key, names)
    raise RequestError(f"No setting {key!r}.{near}\nValid: {' '.join(valid if len(valid) < 40 else top_level)}")


def _check_option(own: Override) -> None:
    """Raise RequestError, with a guess, where a group has no such option, or takes only one."""
    if isinstance(own.value, dict) or not _ours(own.key):
        raise RequestError(f"{own.text}: a setting of this group is {own.key}.NAME=VALUE."
                           f"{_valid(own.key)}")  # fmt: skip
    if isinstance(own.value, list) and own.key != "model":
        raise RequestError(f"{own.text}: a run has one {own.key}; a grid is {own.key}=a,b.{_valid(own.key)}")
    for option in own.value if isinstance(own.value, list) else [own.value]:
        if isinstance(option, str) and option.endswith((".yaml", ".yml")):
            name = Path(option).stem
            raise RequestError(
                f"{own.text}: an option is named, not its file. Put the file into {folders.HERE / own.key}, as"
                f" {name}.yaml, and give {own.key}={name}."
            )
        if not isinstance(option, str) or not (option in _ours(own.key) or _is_row(own.key, option)):
            raise RequestError(f"{unknown(own.key, 'null' if option is None else str(option), choices(own.key))}"
                               f"{OWN if own.key in ROWS else ''}{folders.where()}")  # fmt: skip


def _option(own: Override) -> str:
    """A choice as Hydra takes it, which knows no cells, and of corpora those with a file."""
    names = [own.value] if isinstance(own.value, str) else own.value
    left = [name for name in names if not _is_row(own.key, name)]
    if not left:
        return f"{own.key}={_BESIDE_ROWS.get(own.key, '[]')}"
    return f"{own.key}={left[0]}" if isinstance(own.value, str) else f"{own.key}=[{','.join(left)}]"


def _is_row(group: str, name: str) -> bool:
    """Whether an option is the name of a row: of a cell, or of what is the user's own or another package's."""
    if group not in ROWS or name in _choices(group, folders.sources()):
        return False
    return (group == "model" and name in CELLS) or is_own(name) or name in registered(ROWS[group][1])


def _named(read: Sequence[Override]) -> list[Override]:
    """The settings that stand for rows among the options of groups, of which the last choice counts."""
    found = []
    for group, (key, _) in ROWS.items():
        chosen = next((own for own in reversed(read) if own.key == group), None)
        names = [] if chosen is None else [chosen.value] if isinstance(chosen.value, str) else chosen.value
        found += [Override(f"{group}={name}", key, name) for name in names if _is_row(group, name)]
    return found


def _valid(key: str) -> str:
    return f"\nValid: {' '.join(choices(key))}" if key in GROUPS and choices(key) else ""


def _hydra_message(error: BaseException) -> str:
    """Hydra's message, with its cause, without its pointers to Hydra's internals and pages."""
    messages = [str(error).partition("\nSee https://")[0].partition("\n\nConfig search path")[0].strip()]
    if error.__cause__ is not None and str(error.__cause__) not in messages[0]:
        messages.append(str(error.__cause__).strip())
    return "\n".join(messages)
