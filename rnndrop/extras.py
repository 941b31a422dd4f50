"""Optional packages, asked for in one way: one clear message where they are not installed."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from importlib.metadata import requires
from typing import Any

from rnndrop.errors import RequestError


def need(module: str, extra: str, who: str = "This") -> Any:
    """Import an optional module for `who`. Raises RequestError that says how to get it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise RequestError(f"{who} needs {error.name}: {how(extra)}") from None


def how(extra: str) -> str:
    """What to type for the packages of an extra, from wherever rnndrop was installed.

    Their own names: what is `rnndrop[…]` to an index need not be what was installed from a clone.
    """
    found = [re.split("[ ;]", each)[0] for each in requires("rnndrop") or [] if f'extra == "{extra}"' in each]
    return f"pip install {' '.join(map(shlex.quote, found or [f'rnndrop[{extra}]']))}"
