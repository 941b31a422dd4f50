"""Imports run one way: a room imports from those above it in this list, and from its own."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent / "rnndrop"
PAGE = ROOT.parent / "docs" / "architecture.md"
FLOORS = [
    ["errors", "stats", "values"],
    ["paths", "display", "extras"],
    ["own"],
    ["ops"],
    ["dropout"],
    ["config"],
    ["store"],
    ["decisions", "trackers"],
    ["data"],
    ["recurrent"],
    ["models"],
    ["training", "evaluation"],
    ["tasks"],
    ["runs"],
    ["sweeps"],
    ["report", "preview"],
    ["reproduction"],
]
LIGHT = {"config", "store", "decisions", "trackers", "report", "display"}
"""These never import torch as they are imported: a report and a plan of a sweep answer at once."""


def imports(path: Path) -> list[tuple[str, bool]]:
    """The modules that a file imports, and whether that is as it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if id(node) in checked_only:
            continue
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "rnndrop":
            names = [f"rnndrop.{alias.name}" for alias in node.names]
        found += [(name, id(node) in top) for name in names]
    return found


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def climbing(root: Path) -> list[str]:
    """The imports below `root` of a room on the same floor or above."""
    found = []
    for path in sorted(root.rglob("*.py")):
        room = path.relative_to(root).with_suffix("").parts[0]
        for name, _ in imports(path) if room != "__init__" else []:
            package, *inside = name.split(".")
            other = inside[0] if package == "rnndrop" and inside else room
            if other not in (room, "cli", "conf", "reference") and floor_of(other) >= floor_of(room):
                found.append(f"{path.relative_to(root)} imports {name}")
    return found


def test_imports_run_one_way() -> None:
    assert not climbing(ROOT)


def test_an_import_that_climbs_is_found(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "planted.py").write_text("def later():\n    from rnndrop.report.frames import load_runs\n")
    (tmp_path / "store" / "sound.py").write_text("from rnndrop.config.schema import Config\n")
    assert climbing(tmp_path) == ["store/planted.py imports rnndrop.report.frames"]


def test_what_is_light_never_imports_torch() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room in LIGHT
        for path in (ROOT / room).rglob("*.py")
        for name, at_once in imports(path)
        if at_once and name.split(".")[0] == "torch"
    ]
    assert not wrong


def test_the_house_has_rooms() -> None:
    assert len(list(ROOT.glob("*.py"))) <= 7


def test_the_page_has_the_same_rooms() -> None:
    rows = re.findall(r"^\| ((?:`\w+` )+)\|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [re.findall(r"\w+", row) for row in rows] == FLOORS


def test_the_page_names_what_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)(?:: ([\w.]+))?`", PAGE.read_text("utf-8"))
    assert len(named) > 20
    for file, name in named:
        path = next(path for path in (ROOT / file, ROOT.parent / file) if path.exists())
        tree = ast.parse(path.read_text("utf-8"))
        defined = {
            f"{prefix}{node.name}"
            for outer in [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
            for prefix in [f"{outer.name}." if isinstance(outer, ast.ClassDef) else ""]
            for node in outer.body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        }
        assert not name or name in defined, f"{file}: {name}"
