"""Where options of the groups of settings lie: in rnndrop, in `./rnndrop_conf/`, and in what `--config-dir` names.

A user's folder is built as `conf/` is: `dropout/NAME.yaml` is `dropout=NAME`. Its files may change while a program
runs, as in a notebook; so whoever keeps what was read asks `sources()` whether it is still that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import get_args

from rnndrop.config.cells import CELLS
from rnndrop.errors import RequestError, shorten
from rnndrop.paths import path_of
from rnndrop.values import Listed

OURS = Path(str(files("rnndrop.conf")))
HERE = Path("rnndrop_conf")

_named: list[Path] = []


@dataclass(frozen=True)
class Source:
    """A folder of options; of a user's also what its files were when it was looked at."""

    folder: Path
    stamps: tuple[tuple[str, int, int, int], ...] = ()


def use(folder: str) -> None:
    """Read options from this folder too, from now on. Raises RequestError where it holds none."""
    path = path_of(folder).absolute()
    if not path.is_dir():
        raise RequestError(f"--config-dir {shorten(folder, 200)}: no such folder.")
    if not any((path / group).is_dir() for group in get_args(Listed)):
        raise RequestError(
            f"--config-dir {shorten(folder, 200)}: it has no folder of a group: put a dropout of yours into "
            f"{path / 'dropout'}.\nGroups: {' '.join(get_args(Listed))}"
        )
    _named[:] = [path]


def own() -> list[Path]:
    """The user's folders."""
    here = [HERE.absolute()] if os.path.isdir(HERE) else []  # noqa: PTH112 (of a folder that is closed to us: no)
    return list(dict.fromkeys([*_named, *here]))


def sources() -> tuple[Source, ...]:
    """Our folder and the user's. Raises RequestError where two of them have an option of one name."""
    found = own()
    return _distinct((Source(OURS), *map(_looked_at, found))) if found else (Source(OURS),)


def options(group: str, source: Source) -> list[Path]:
    """The files of a group, by name."""
    found = (path for path in (source.folder / group).glob("*.yaml") if not path.name.startswith("."))
    return sorted(found, key=lambda path: path.stem)


def file_of(group: str, name: str) -> Path:
    """The file of an option that `sources` holds."""
    return next(path for source in sources() if (path := source.folder / group / f"{name}.yaml").is_file())


def users(group: str, name: object) -> list[Path]:
    """The file of an option of this name that is the user's, if it is one."""
    return [path for folder in own() if (path := folder / group / f"{name}.yaml").is_file()]


def _looked_at(folder: Path) -> Source:
    stamps = []
    for path in sorted(path for depth in ("*/*", "*/*/*") for path in folder.glob(depth)):
        if path.suffix == ".yml" and path.relative_to(folder).parts[0] in get_args(Listed):
            raise RequestError(f"{path}: the name of an option ends in .yaml. Rename it.")
        if path.suffix == ".yaml" and not path.name.startswith("."):  # an editor's own
            try:
                status = path.stat()
            except OSError as error:
                raise RequestError(f"Cannot read {path}: {error.strerror}.") from None
            stamps.append((str(path.relative_to(folder)), status.st_mtime_ns, status.st_size, status.st_ino))
    return Source(folder, tuple(stamps))


_OF_CELLS = frozenset(f"model/{cell}.yaml" for cell in CELLS)


@lru_cache(maxsize=8)
def _distinct(found: tuple[Source, ...]) -> tuple[Source, ...]:
    for index, source in enumerate(found):
        for name, *_ in source.stamps:
            if name in _OF_CELLS:
                raise RequestError(f"{source.folder / name}: rnndrop has a cell of this name. Give it another one.")
            if other := next((each for each in found[:index] if (each.folder / name).is_file()), None):
                whose = "rnndrop" if other.folder == OURS else str(other.folder)
                raise RequestError(f"{source.folder / name}: {whose} has an option of this name. Give it another one.")
    return found


def where() -> str:
    """A line that says which folders of the user's are read; empty without any."""
    found = " and ".join(map(str, own()))
    return f"\nOptions of your own are read from {found}." if found else ""
