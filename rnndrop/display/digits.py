"""Numbers as people read them: one rule for every display, so that what differs in a record differs in print."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DIGITS = 4


def number(value: float, like: float | None = None, sign: str = "", digits: int = DIGITS) -> str:
    """Four `digits`, but at least one decimal below 10,000 and none above: 1234.5, 87.31, 2.378, 0.1572.

    From a million on: 3.37e+11. `like`: the number whose decimals to take instead, as a deviation takes those of its
    mean. `sign`: "+" to have one in any case.
    """
    return f"{value:{sign}{_form(value if like is None else like, digits)}}"


def plus_minus(value: float, std: float | None, digits: int = DIGITS) -> str:
    """A mean and its deviation, in the decimals of the mean; without the deviation where there is none."""
    mean = number(value, digits=digits)
    return mean if std is None or math.isnan(std) else f"{mean} ± {number(std, like=value, digits=digits)}"


def size(count: int) -> str:
    """Bytes as people read them: 512 B, 12 kB, 3.4 MB."""
    if count < 1000:
        return f"{count} B"
    unit, name = next(((unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB")) if count >= unit), (1e3, "kB"))
    return f"{count / unit:.3g} {name}" if count < 999 * unit else f"{count / unit:,.0f} {name}"


def count(many: float) -> str:
    """1443600 as 1.44M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if many >= 0.9995 * size:  # 999,600 is 1M, in three digits
            return f"{many / size:.3g}{unit}"
    return f"{many:.0f}"


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with null for each number that is not finite, as JSON has none."""
    return {
        name: None if isinstance(each, float) and not math.isfinite(each) else each for name, each in values.items()
    }


def as_printed(value: float | None, std: float | None = None) -> str:
    """A published number, with the digits that it was published with, at least one decimal; empty for none."""
    numbers = [each for each in (value, std) if each is not None and not math.isnan(each)]
    shown = [f"{each:.1f}" if round(each, 1) == each else f"{each:g}" for each in numbers]
    return " ± ".join(shown)


def _form(value: float, digits: int) -> str:
    size = abs(value)
    if not size or not math.isfinite(size):
        return ".1f"
    if size >= 1e6:
        return ".3g"
    return ".0f" if size >= 9999.95 else f".{min(max(1, digits - 1 - math.floor(math.log10(size))), digits)}f"
