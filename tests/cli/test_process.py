"""What a fork of a warm process cannot show: each command finds its imports by itself, whatever came before."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e

FIRST = """
import os
from importlib import import_module
from pkgutil import iter_modules

for name in ("hydra", "matplotlib.figure", "pandas", "pydantic", "rich.progress", "scipy.stats", "torch", "typer.main"):
    import_module(name)
import rnndrop.cli

names = [module.name for module in iter_modules(rnndrop.cli.__path__)]
assert {"run", "sweep", "report", "complete"} <= set(names), names
assert [name for name in sys.modules if name.startswith("rnndrop.")] == ["rnndrop.cli"]
for name in names:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            import_module(f"rnndrop.cli.{name}")
            code = 0
        finally:
            sys.excepthook(*sys.exc_info()) if code else None
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, name
"""


def test_the_module_of_each_command_can_be_the_first() -> None:
    done = subprocess.run([sys.executable, "-c", f"import sys\n{FIRST}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
