"""Standard output and error, whatever their encoding."""

from __future__ import annotations

import io
import sys


def replace_unknown() -> None:
    """Have both streams write something else for a sign that their encoding lacks, where they would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
