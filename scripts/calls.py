"""Crash points and failing system calls: `calls.c` is built, preloaded, and armed in the fork that runs a command."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("calls.c")


def compiler() -> str | None:
    """A C compiler of this machine, where `LD_PRELOAD` works."""
    return (shutil.which("cc") or shutil.which("gcc")) if sys.platform == "linux" else None


def preload() -> None:
    """Build the library and start this script again with it; do nothing where that has happened."""
    if preloaded():
        library = Path(os.environ.pop("LD_PRELOAD"))
        library.unlink()
        library.parent.rmdir()
        return
    library = Path(tempfile.mkdtemp()) / "calls.so"
    compile_ = [str(compiler()), "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
    subprocess.run(compile_, check=True)
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "LD_PRELOAD": str(library)})


def preloaded() -> bool:
    """Whether the library is in this process."""
    return hasattr(ctypes.CDLL(None), "seen")


def arm(folder: Path, at: int, error: int = 0, lasting: bool = False) -> None:
    """Count the calls below `folder` from here on; at number `at` (0: never) fail with an errno, or be killed.

    `lasting`: so do all calls after it.
    """
    ctypes.CDLL(None).arm(os.fsencode(folder), ctypes.c_long(at), error, int(lasting))


def seen() -> list[str]:
    """The names of the calls since this process was armed."""
    library = ctypes.CDLL(None)
    library.told.restype = ctypes.c_char_p
    return [library.told(ctypes.c_long(number)).decode() for number in range(1, library.seen() + 1)]
