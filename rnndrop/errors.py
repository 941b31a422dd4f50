"""Errors that are the user's to mend: one readable message, no traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RequestError(ValueError):
    """The request was wrong. The message names the thing and says what would be right. Exit code 2."""


class NotWrittenError(OSError):
    """A record could not be written; the message says what to do. Exit code 1."""


def suggestion(name: str, choices: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the closest of `choices`, or an empty string."""
    close = get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown(thing: str, name: str, choices: Iterable[str]) -> RequestError:
    """The error for a `name` that is not among `choices`; `thing` says what is being named."""
    choices = list(choices)
    valid = f"\nValid: {' '.join(choices)}" if choices else " There is none."
    return RequestError(f"No {thing} {name!r}.{suggestion(name, choices)}{valid}")


def shorten(text: str, length: int) -> str:
    """The beginning of a text that is too long for a message."""
    return text if len(text) <= length else text[: length - 1] + "…"
