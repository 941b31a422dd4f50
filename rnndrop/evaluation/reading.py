"""How far an evaluation has read, for whoever watches: what reads a stream tells it, and who wants to know listens.

Between the two are the tasks, those of users too, which need not pass it on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from rnndrop.data import batching
from rnndrop.data.vocabulary import Ids

T = TypeVar("T")
Listener = Callable[[str, float], None]
"""Told what is being read, as `mc test`, and how much of it has been, from 0 to 1."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_names: ContextVar[tuple[str, ...]] = ContextVar("names", default=())


@contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Within, `listener` is told of what this thread reads."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Within, what is read is called so, after the names around it."""
    before = _names.set((*_names.get(), name))
    try:
        yield
    finally:
        _names.reset(before)


def told(parts: Iterable[T], number: int) -> Iterator[T]:
    """The parts of a stream, so many, while the listener is told how many have been read."""
    listener, name = _listener.get(), " ".join(_names.get())
    if listener is None:
        yield from parts
        return
    for done, part in enumerate(parts):
        listener(name, done / number)
        yield part
    listener(name, 1.0)


def windows(inputs: Ids, targets: Ids, length: int) -> Iterator[tuple[Ids, Ids]]:
    """Columns (L, B) in windows, as `batching.windows`, each of them told."""
    return told(batching.windows(inputs, targets, length), math.ceil(len(inputs) / max(1, length)))


def of_splits(score: Callable[[str], float]) -> dict[str, float]:
    """The scores of the valid and the test split, each named while it is read."""
    found = {}
    for split in ("valid", "test"):
        with named(split):
            found[split] = score(split)
    return found
