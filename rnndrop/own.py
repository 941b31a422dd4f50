"""The user's own code: what a setting names by its import path, `PACKAGE.MODULE:NAME`, or as a package registers it.

Its file is found and hashed without being imported, for it may import torch; plans, run ids and reports need no more.
It is executed, as it was hashed, when it is needed. A name that an installed package registers, by an entry point of
one of the `rnndrop.` groups, stands for its import path, which is what settings and records hold.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

from rnndrop.errors import RequestError, shorten, unknown
from rnndrop.paths import sha256_of

OWN = ", or PACKAGE.MODULE:NAME of your own"

R = TypeVar("R")

_modules: dict[str, tuple[str, ModuleType]] = {}  # the user's, each with the sha256 of the source that was executed


_held: dict[Path, bytes] | None = None  # while code is held: what was read of each file


@contextmanager
def held() -> Iterator[None]:
    """Read each file of the user's code once in here: what was hashed is executed, whoever edits it meanwhile."""
    global _held
    if _held is not None:
        yield
        return
    _held = {}
    try:
        yield
    finally:
        _held = None


class Found(NamedTuple, Generic[R]):
    """What a name stands for: the `row`, the `file` that it is in, and the sha256 of the `source` that made it."""

    row: R
    file: Path
    source: str


def resolved(name: str, ours: Container[str], group: str) -> str:
    """The import path of a name that a package registers in a group; any other, and one of `ours`, as it is."""
    return name if name in ours or is_own(name) else registered(group).get(name, (name, ""))[0]


def with_registered(ours: Iterable[str], group: str) -> list[str]:
    """All names: `ours`, then those that packages register."""
    return list(dict.fromkeys([*ours, *registered(group)]))


def no_such(thing: str, name: str, ours: Iterable[str], group: str) -> RequestError:
    """The error for a name that is neither among all names nor an import path; `thing` says what is being named."""
    return RequestError(f"{unknown(thing, name, with_registered(ours, group))}{OWN}")


@cache
def registered(group: str) -> dict[str, tuple[str, str]]:
    """The names that installed packages register in a group, each with its import path and its package."""
    from importlib.metadata import entry_points

    found = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.value):
        module, _, attribute = point.value.partition("[")[0].strip().partition(":")
        found[point.name] = f"{module.strip()}:{attribute.strip()}", point.dist.name if point.dist else ""
    return dict(sorted(found.items()))


def is_own(name: str) -> bool:
    """Whether something is named by its import path, `PACKAGE.MODULE:NAME`."""
    return ":" in name


def source_of(setting: str, name: str) -> Path:
    """The file of what `setting` names, found as an import would, from the current folder too; nothing is imported.

    Raises RequestError.
    """
    module, _, attribute = name.partition(":")
    parts = module.split(".")
    if not all(part.isidentifier() for part in (*parts, attribute)):
        raise RequestError(
            f"{setting}={shorten(name, 100)}: one of your own is PACKAGE.MODULE:NAME, as mine:NAME in mine.py"
        )
    found = _found(module)
    if found is None or found.origin is None or not found.has_location:
        hint = f" Leave out .py: {setting}={module[:-3]}:{attribute}" if module.endswith(".py") else (
            f" Start in the folder of {parts[0]}, or install its package."
        )  # fmt: skip
        raise RequestError(f"{setting}={name}: no module {module} in {Path.cwd()} or where Python looks.{hint}")
    if not found.origin.endswith(".py"):
        raise RequestError(f"{setting}={name}: {found.origin} is not a file of Python's source.")
    return Path(found.origin)


def source_hash(setting: str, name: str) -> str | None:
    """What of the user's own is part of a run: the sha256 of its file and of nothing that this imports; else None.

    The name where there is no such file: who wants to compute with it will hear.
    """
    if not is_own(name):
        return None
    try:
        path = source_of(setting, name)
        return sha256_of(path) if _held is None else hashlib.sha256(_content(path)).hexdigest()
    except (RequestError, OSError):
        return name


def _content(path: Path) -> bytes:
    """What a file holds now, or held when it was first read."""
    if _held is None:
        return path.read_bytes()
    if path not in _held:
        _held[path] = path.read_bytes()
    return _held[path]


def imported(setting: str, name: str, kind: type[R], also: Callable[[Any], R | None] = lambda value: None) -> Found[R]:
    """What `setting` names, of type `kind`, from its file as that is now. Raises RequestError where it cannot be had.

    `also` makes one of what else is taken. A module that was executed before stays unless its file has changed.
    """
    path = source_of(setting, name)
    module, _, attribute = name.partition(":")
    try:
        content = _content(path)
        source = hashlib.sha256(content).hexdigest()
        made = _executed(module, path, content, source)
    except (Exception, SystemExit) as error:
        raise raised(setting, name, path, error) from None
    value = getattr(made, attribute, None)
    row = value if isinstance(value, kind) else also(value)
    if row is None:
        there = " ".join(key for key, value in vars(made).items() if isinstance(value, kind)) or "none"
        wanted = "class" if kind is type else kind.__name__
        what = f"{attribute} is no {wanted}" if hasattr(made, attribute) else f"there is no {attribute}"
        raise RequestError(f"{setting}={name}: in {path} {what}. Of {wanted} there: {there}")
    return Found(row, path, source)


def raised(setting: str, name: str, path: Path, error: BaseException) -> RequestError:
    """What is said of an error in the user's file: where, and which."""
    return RequestError(f"{setting}={name}: {_place(error, path)} raises {_said(error)}")


def described(name: str, source: str) -> dict[str, str]:
    """What a record says of it: its name, the sha256 of its source, and its package, if it has one."""
    from importlib.metadata import packages_distributions, version

    owners = packages_distributions().get(name.partition(":")[0].partition(".")[0], [])
    package = {"package": owners[0], "version": version(owners[0])} if owners else {}
    return {"name": name, "sha256": source, **package}


_added: list[str] = []
"""The folder that was added to `sys.path`."""


def _forget(folder: Path) -> None:
    """Have the modules of a folder that is no longer in `sys.path`, and those of its packages, imported anew."""
    files = {name: getattr(made, "__file__", None) for name, made in sys.modules.items() if "." not in name}
    here = {name for name, file in files.items() if file and Path(file).parent in (folder, folder / name)}
    for name in [each for each in sys.modules if each.partition(".")[0] in here - {"__main__"}]:
        del sys.modules[name]
        _modules.pop(name, None)


def _found(module: str) -> ModuleSpec | None:
    """Where a module is; of its packages no `__init__` is run."""
    here = os.getcwd()  # noqa: PTH109 (as sys.path has it)
    if _added and here != _added[0] and _added[0] in sys.path:  # the program has changed its folder
        sys.path.remove(_added[0])
        _forget(Path(_added.pop()))
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # last: a file here hides no module of Python's
        _added[:] = [here]
    parts = module.split(".")
    for _ in ("as finders remember", "as it is"):
        where, found = None, None
        for end in range(1, len(parts) + 1):
            found = next(_specs(".".join(parts[:end]), where), None)
            if found is None or (end < len(parts) and found.submodule_search_locations is None):
                found = None
                break
            where = found.submodule_search_locations
        if found is not None:
            return found
        importlib.invalidate_caches()
    return None


def _specs(module: str, where: Any) -> Iterator[ModuleSpec]:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is not None and (spec := find(module, where)) is not None:
            yield spec


def _executed(module: str, path: Path, content: bytes, source: str) -> ModuleType:
    """The module made of this source, the very one that was hashed, in place of what was imported of another."""
    known = _modules.get(module)
    if known is not None and known[0] == source:
        return known[1]
    if parent := module.rpartition(".")[0]:
        importlib.import_module(parent)
    spec = _found(module)
    assert spec is not None
    made, before = module_from_spec(spec), sys.modules.get(module)
    sys.modules[module] = made
    try:
        exec(compile(content, str(path), "exec", dont_inherit=True), made.__dict__)
    except BaseException:
        sys.modules.pop(module)
        if before is not None:
            sys.modules[module] = before
        raise
    _modules[module] = source, made
    return made


def _place(error: BaseException, path: Path) -> str:
    """Where in the user's file an error comes from."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{path}, line {line}," if line else str(path)


def _said(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}{f': {shorten(text, 200)}' if text else ''}"
