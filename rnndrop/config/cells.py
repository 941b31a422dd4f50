"""The recurrent cells by name. Light: settings and run ids are made of it; the equations are in `rnndrop.recurrent`.

A cell of the user's own has the same row in a file of theirs, which `model.cell=PACKAGE.MODULE:NAME` names
(`rnndrop.own`). It is imported when the cell computes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from rnndrop import own
from rnndrop.dropout.plan import Plan
from rnndrop.dropout.rule import LOCATIONS
from rnndrop.errors import RequestError

GROUP = "rnndrop.cells"
SETTING = "model.cell"


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
        return import_module(self.module)

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
             "GRU that resets before the product, as Keras did (Cho et al. 2014).", late=1),
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


def cell_named(name: str) -> CellSpec:
    """The cell that `model.cell` names; the user's own is imported once. Raises RequestError."""
    if not own.is_own(name):
        if name not in CELLS:
            raise own.no_such("cell", name, CELLS, GROUP)
        return CELLS[name]
    return _own.get(name) or imported(name)


def check_places(cell: CellSpec, plan: Plan) -> None:
    """Raise RequestError where a rule of the plan has no meaning for the cell."""
    for rule in plan.active:
        if rule.location in cell.without:
            raise RequestError(
                f"dropout.{rule.location} has no meaning for model.cell={cell.name}: it acts on "
                f"{LOCATIONS[rule.location].acts_on}. Give dropout.{rule.location}.p=0.\nValid: {' '.join(cell.places)}"
            )


def imported(name: str) -> CellSpec:
    """A cell of the user's own from its file as that is now. Raises RequestError where it cannot be had.

    What was imported before stays unless the file has changed.
    """
    row, file, source = own.imported(SETTING, name, CellSpec)
    if (known := _own.get(name)) is None or known.source != source:
        _check_row(name, file, row)
        _own[name] = replace(row, name=name, source=source)
    return _own[name]


def _given(row: CellSpec, name: str) -> bool:
    return bool(getattr(row, name) != getattr(CellSpec, name))


def _check_row(name: str, path: Path, row: CellSpec) -> None:
    needed = ("terms",) if row.linear else ("step", "late") if row.late else ("step",)
    wrong = [f"no location {place!r}" for place in row.without if place not in LOCATIONS]
    wrong += [] if row.gates and row.memories >= 1 else ["a cell has gates and at least one memory"]
    wrong += [] if not row.late or 0 < row.late < len(row.gates) else [f"late={row.late} is not some of its gates"]
    if row.linear:
        wrong += [f"{what} has no meaning with linear=True" for what in ("late", "memories") if _given(row, what)]
    elif row.diagonals:
        wrong.append("diagonals has a meaning with linear=True alone")
    try:
        has = {name: callable(getattr(row.equations, name, None)) for name in needed}
        wrong += [f"{row.module} has no function {name}" for name in needed if not has[name]]
    except ImportError as error:
        wrong.append(str(error))
    if wrong:
        raise RequestError(f"{SETTING}={name}: in {path}: {'; '.join(wrong)}.")
