"""A kind: whole gates of whole sequences."""

from __future__ import annotations

from rnndrop.dropout.rule import Kind

ROW = Kind("toy_gates", frozenset({"batch", "gate"}), "nobody")
