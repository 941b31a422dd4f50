"""Records as somebody's own program writes them: without the checksum, which would tell that they were edited."""

from __future__ import annotations

import json
from typing import Any

from rnndrop.store.records import SUM


def as_json(record: dict[str, Any]) -> str:
    """The text of a record that was changed."""
    return json.dumps({name: value for name, value in record.items() if name != SUM})
