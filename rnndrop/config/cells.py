"""The recurrent cells by name. Light: settings and run ids are made of it; the equations are in `rnndrop.recurrent`.

A cell of the user's own has the same row in a file of theirs, which `model.cell=PACKAGE.MODULE:NAME` names. That file
is found and hashed without being imported, for it imports torch; it is imported when the cell computes.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from rnndrop.dropout.plan import Plan
from rnndrop.dropout.rule import LOCATIONS
from rnndrop.errors import RequestError, shorten, unknown
from rnndrop.paths import sha256_of


@dataclass(frozen=True)
class CellSpec:
    """A recurrent cell.

    `module` has its equations (`rnndrop.recurrent.weights.Equations`): `step`, and for speed `Trace`; or, where no gate
    takes anything of h and the memory is linear in itself (`linear`), `terms`. `gates` are their letters, in the order
    of the weights; `about` is one line that says what the cell is; `memories` is how many tensors a layer carries from
    step to step, h first; the locations `without` have no meaning for it.
    `bias_inside`: bias_hh must stay with the recurrent product. `diagonals`: how many vectors (H,) a linear cell has
    beside the weights of its gates. `late`: of how many gates, the last, the recurrent product takes what the
    equations' `late` makes of h and the other gates. `library` is torch's function for a whole layer, empty where there
    is none, and `library_on_cpu` whether that is the faster one there (of others torch loops over the steps).
    """

    name: str
    module: str
    gates: str
    about: str = ""
    memories: int = 1
    without: tuple[str, ...] = ()
    linear: bool = False
    diagonals: int = 0
    late: int = 0
    bias_inside: bool = False
    library: str = ""
    library_on_cpu: bool = False
    source: str = ""  # of the user's own, the sha256 of its file

    def __post_init__(self) -> None:
        if self.linear:
            object.__setattr__(self, "without", tuple(dict.fromkeys((*self.without, *_OF_PRODUCTS))))

    @property
    def equations(self) -> Any:
        """The module with its equations."""
        return importlib.import_module(self.module)

    @property
    def places(self) -> list[str]:
        """The locations that have a meaning for it."""
        return [place for place in LOCATIONS if place not in self.without]


_OF_PRODUCTS = ("recurrent", "weight_hh")  # a linear cell has no recurrent product


def _table(*rows: CellSpec) -> dict[str, CellSpec]:
    return {row.name: row for row in rows}


CELLS = _table(
    CellSpec("lstm", "rnndrop.recurrent.lstm", "ifgo", "Long short-term memory (Hochreiter & Schmidhuber 1997).",
             memories=2, library="lstm", library_on_cpu=True),
    CellSpec("gru", "rnndrop.recurrent.gru", "rzn", "Gated recurrent unit (Cho et al. 2014).",
             bias_inside=True, library="gru"),  # r acts on bias_hh too
    CellSpec("gru_before", "rnndrop.recurrent.gru_before", "rzn",
             "GRU whose reset comes before the product (Cho et al. 2014; Keras).", late=1),
    CellSpec("rnn", "rnndrop.recurrent.rnn", "h", "Elman network (Elman 1990).",
             without=("update",), library="rnn_tanh"),
    CellSpec("slstm", "rnndrop.recurrent.slstm", "ifzo", "sLSTM, with one head (Beck et al. 2024).", memories=4),
    CellSpec("minlstm", "rnndrop.recurrent.minlstm", "fih", "minLSTM (Feng et al. 2024).", linear=True),
    CellSpec("mingru", "rnndrop.recurrent.mingru", "zh", "minGRU (Feng et al. 2024).", linear=True),
    CellSpec("rglru", "rnndrop.recurrent.rglru", "rix", "RG-LRU of Griffin (De et al. 2024).",
             linear=True, diagonals=1),
    CellSpec("qrnn", "rnndrop.recurrent.qrnn", "zfo", "QRNN with filters of width 1 (Bradbury et al. 2017).",
             without=("state",), linear=True),
)  # fmt: skip
"""A new cell is one row here and a module."""

_own: dict[str, CellSpec] = {}  # the user's, by the name that settings have
_modules: dict[str, tuple[str, ModuleType]] = {}  # theirs, each with the sha256 of the source that was executed


def is_own(name: str) -> bool:
    """Whether a cell is named by its import path, `PACKAGE.MODULE:NAME`."""
    return ":" in name


def cell_named(name: str) -> CellSpec:
    """The cell that `model.cell` names; the user's own is imported once. Raises RequestError."""
    if not is_own(name):
        if name not in CELLS:
            raise unknown("cell", name, CELLS)
        return CELLS[name]
    return _own.get(name) or imported(name)


def check_places(cell: CellSpec, plan: Plan) -> None:
    """Raise RequestError where a rule of the plan has no meaning for the cell."""
    for own in plan.active:
        if own.location in cell.without:
            raise RequestError(
                f"dropout.{own.location} has no meaning for model.cell={cell.name}: it acts on "
                f"{LOCATIONS[own.location].acts_on}. Give dropout.{own.location}.p=0.\nValid: {' '.join(cell.places)}"
            )


# ---- the user's own ----------------------------------------------------------------------------------------------


def source_of(name: str) -> Path:
    """The file of a cell of the user's own, found as an import would, from the current folder too; nothing is imported.

    Raises RequestError.
    """
    module, _, attribute = name.partition(":")
    parts = module.split(".")
    if not all(part.isidentifier() for part in (*parts, attribute)):
        raise RequestError(
            f"model.cell={shorten(name, 100)}: a cell of your own is PACKAGE.MODULE:NAME, as mine:Cell in mine.py"
        )
    found = _found(module)
    if found is None or found.origin is None or not found.has_location:
        hint = f" Leave out .py: model.cell={module[:-3]}:{attribute}" if module.endswith(".py") else (
            f" Start in the folder of {parts[0]}, or install its package."
        )  # fmt: skip
        raise RequestError(f"model.cell={name}: no module {module} in {Path.cwd()} or where Python looks.{hint}")
    if not found.origin.endswith(".py"):
        raise RequestError(f"model.cell={name}: {found.origin} is not a file of Python's source.")
    return Path(found.origin)


def source_hash(name: str) -> str | None:
    """What of a cell's source is part of a run: the sha256 of its own file and of nothing that this imports; else None.

    The name where there is no such file: who wants to compute with it will hear.
    """
    if not is_own(name):
        return None
    try:
        return sha256_of(source_of(name))
    except (RequestError, OSError):
        return name


def imported(name: str) -> CellSpec:
    """A cell of the user's own from its file as that is now. Raises RequestError where it cannot be had.

    What was imported before stays unless the file has changed.
    """
    path = source_of(name)
    module, _, attribute = name.partition(":")
    try:
        content = path.read_bytes()
        source = hashlib.sha256(content).hexdigest()
        if (known := _own.get(name)) is not None and known.source == source:
            return known
        made = _executed(module, path, content, source)
    except (Exception, SystemExit) as error:
        raise RequestError(f"model.cell={name}: {_place(error, path)} raises {_said(error)}") from None
    row = getattr(made, attribute, None)
    if not isinstance(row, CellSpec):
        there = " ".join(key for key, value in vars(made).items() if isinstance(value, CellSpec)) or "none"
        what = f"{attribute} is no CellSpec" if hasattr(made, attribute) else f"there is no {attribute}"
        raise RequestError(f"model.cell={name}: in {path} {what}. Rows of cells there: {there}")
    _check_row(name, path, row)
    _own[name] = replace(row, name=name, source=source)
    return _own[name]


def _check_row(name: str, path: Path, row: CellSpec) -> None:
    needed = "terms" if row.linear else "step"
    wrong = [f"no location {place!r}" for place in row.without if place not in LOCATIONS]
    wrong += [] if row.gates and row.memories >= 1 else ["a cell has gates and at least one memory"]
    try:
        wrong += [] if callable(getattr(row.equations, needed, None)) else [f"{row.module} has no function {needed}"]
    except ImportError as error:
        wrong.append(str(error))
    if wrong:
        raise RequestError(f"model.cell={name}: in {path}: {'; '.join(wrong)}.")


def described(name: str) -> dict[str, str]:
    """What a record says of a cell of the user's own: its names, its source and its package, if it has one."""
    from importlib.metadata import packages_distributions, version

    owners = packages_distributions().get(name.partition(":")[0].partition(".")[0], [])
    package = {"package": owners[0], "version": version(owners[0])} if owners else {}
    return {"name": name, "sha256": cell_named(name).source, **package}


def _found(module: str) -> ModuleSpec | None:
    """Where a module is; of its packages no `__init__` is run."""
    here = os.getcwd()  # noqa: PTH109 (as sys.path has it)
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # last: a file here hides no module of Python's
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
