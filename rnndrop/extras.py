"""Optional packages, asked for in one way: one clear message where they are not installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rnndrop.errors import RequestError


def need(module: str, extra: str, who: str = "This") -> Any:
    """Import an optional module for `who`. Raises RequestError that says how to get it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise RequestError(f"{who} needs {error.name}: pip install 'rnndrop[{extra}]'") from None
