"""Optional packages: one clear message where they are not installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rnndrop.errors import RequestError


def need(module: str, extra: str) -> Any:
    """Import an optional module. Raises RequestError that says how to get it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise RequestError(f"This needs {error.name}: pip install 'rnndrop[{extra}]'") from None
