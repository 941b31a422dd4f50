"""Thousands of records that say mostly the same: what stands in several of them is parsed, checked and summed up once.

The JSON of a record, as `Record.to_json` lays it out, is cut between its keys, and between those of its configuration.
Pieces that are a JSON object of one key each are together the object that they were cut from.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any

from rnndrop.store import record_schema

_REMEMBERED = 4096  # pieces; runs that are alike are read one after the other
_START, _CONFIG = '{\n "', 'config": {\n  "'
_sorted = json.JSONEncoder(sort_keys=True).encode

_Piece = tuple[str, Any, str]
"""A key, its value, and both as in the text that a checksum is of."""


class Pieces:
    """The pieces that were met so far."""

    def __init__(self) -> None:
        self._part = lru_cache(_REMEMBERED)(_part)
        self._setting = lru_cache(_REMEMBERED)(_setting)

    def content(self, text: str, sum_key: str) -> dict[str, Any] | None:
        """What the JSON of a record holds, without its checksum, which is right. Its values are not to be changed.

        None where it is laid out otherwise or anything is wrong with it: whoever reads it as a whole finds out what.
        """
        own, _, named = text.rpartition(f',\n "{sum_key}": ')
        if not own.startswith(_START):
            return None
        try:
            pieces = own[len(_START) :].split(',\n "')
            content, whole = _object(
                [self._config(each) if each.startswith(_CONFIG) else self._part(each) for each in pieces]
            )
        except (ValueError, RecursionError):
            return None
        sound = named == f'"{hashlib.sha256(whole.encode()).hexdigest()}"\n}}'
        return content if sound and content.keys() >= record_schema.NEEDED else None

    def _config(self, text: str) -> _Piece:
        if not text.endswith("\n }"):
            return self._part(text)
        value, whole = _object(list(map(self._setting, text[len(_CONFIG) : -len("\n }")].split(',\n  "'))))
        return "config", value, f'"config": {whole}'


def _object(pieces: list[_Piece]) -> tuple[dict[str, Any], str]:
    """The object of some pieces, and as `json.dumps` writes it with its keys in order.

    Raises ValueError where a key stands there twice.
    """
    value = {key: own for key, own, _ in pieces}
    if len(value) < len(pieces):
        raise ValueError("a key twice")
    return value, "{" + ", ".join(sorted([text for _, _, text in pieces])) + "}"


def _part(text: str) -> _Piece:
    record_schema.check_part(f'{{"{text}}}')
    return _piece(text)


def _setting(text: str) -> _Piece:
    record_schema.check_part(f'{{"config": {{"{text}}}}}')
    return _piece(text)


def _piece(text: str) -> _Piece:
    """A piece as an object of its own. Raises ValueError where it is none, or has more than one key."""
    member = json.loads(f'{{"{text}}}')
    ((key, value),) = member.items()
    return key, value, _sorted(member)[1:-1]
