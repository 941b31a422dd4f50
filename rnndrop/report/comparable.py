"""Whether runs may be compared: what is not the same in all of them, besides what was asked to vary."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

SHOWN = 4  # values of a kind named before "…"


def caveats(runs: pd.DataFrame) -> list[str]:
    """One line for each thing that differs among the runs of a table and bears on the comparison."""
    done = runs[runs["status"] == "finished"]
    revisions = _unique(revision(*pair) for pair in zip(done["git_revision"], done["git_dirty"], strict=True))
    found = {
        "parameters": [count(value) for value in sorted(done["parameters"].dropna().unique())],
        "epochs trained": [str(value) for value in sorted(done["epochs"].dropna().unique())],
        "device": _unique(done["device"].dropna()),
        "label": _unique(done["label"].dropna()),
        "code revision": revisions,
    }
    lines = [f"not alike: {what} {_some(values)}" for what, values in found.items() if len(values) > 1]
    if any("dirty" in each for each in revisions):
        lines.append("dirty: some runs come from a working tree with uncommitted changes")
    return lines


def revision(commit: object, dirty: object) -> str:
    """A commit in seven digits, marked where the tree had uncommitted changes."""
    if not isinstance(commit, str):
        return "installed"
    return commit[:7] + ("-dirty" if dirty is True or dirty == True else "")  # noqa: E712 (numpy's True)


def count(number: float) -> str:
    """1443600 as 1.44M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def _unique(values: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values))


def _some(values: list[str]) -> str:
    return ", ".join(values[:SHOWN]) + (f", … ({len(values)} values)" if len(values) > SHOWN else "")
