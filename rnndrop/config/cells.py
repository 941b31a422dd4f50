"""The recurrent cells by name. Light: settings and run ids are made of it; the equations are in `rnndrop.recurrent`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class CellSpec:
    """A recurrent cell.

    `module` has its equations: `step`, and for speed `Trace` (`rnndrop.recurrent.weights.Equations`). `gates` are their
    letters, in the order of the weights; `memories` is how many tensors a layer carries from step to step, h first.
    `bias_inside`: bias_hh must stay with the recurrent product. `library` is torch's function for a whole layer, empty
    where there is none, and `library_on_cpu` whether that is the faster one there (of others torch loops over the
    steps).
    """

    name: str
    module: str
    gates: str
    memories: int = 1
    bias_inside: bool = False
    library: str = ""
    library_on_cpu: bool = False

    @property
    def equations(self) -> Any:
        """The module with its equations."""
        return import_module(self.module)


def _table(*rows: CellSpec) -> dict[str, CellSpec]:
    return {row.name: row for row in rows}


CELLS = _table(
    CellSpec("lstm", "rnndrop.recurrent.lstm", "ifgo", memories=2, library="lstm", library_on_cpu=True),
    CellSpec("gru", "rnndrop.recurrent.gru", "rzn", bias_inside=True, library="gru"),  # r acts on bias_hh too
    CellSpec("rnn", "rnndrop.recurrent.rnn", "h", library="rnn_tanh"),
)
"""A new cell is one row here and a module; `conf/model/NAME.yaml` makes it an option of `model`."""
