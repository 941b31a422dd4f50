"""Values as Hydra's grammar has them."""

from __future__ import annotations

import json
import re
from typing import Any


def spelled(value: Any) -> str:
    """A value of a setting as an override says it, to the last digit; strings are quoted where they need it."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{spelled(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(spelled, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[A-Za-z_][\w./:-]*", value):
        return value
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"
