"""Evidence about a mean that may be looked at after every value: e-processes of Student's t, and their interval.

The values d are taken as normal and independent, with a mean and a standard deviation that nobody knows. All functions
take the running sums S = Σd and V = Σd² of n values, of any shapes that broadcast, and answer with natural logarithms.
Robbins (1970) and Lai (1976) had the mixtures; Wang & Ramdas (arXiv:2310.03722) the e-processes. No torch here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_TINY = np.finfo(float).tiny


def ln_evidence(total: ArrayLike, squares: ArrayLike, n: ArrayLike, c2: float) -> Floats:
    """ln E against a mean of 0: E_n = √(c²/(n+c²)) · [(n+c²)V / ((n+c²)V − S²)]^{n/2}.

    E is the likelihood of the values, but for their unit, where mean/std is drawn from N(0, 1/c²), over that where it
    is 0. It is 1 after one value. If the mean is 0, it ever reaches 1/α with a chance of at most α, however long one
    goes on. Values that are all 0 have no unit: they count as a mean of exactly 0.
    """
    n = np.asarray(n, float)
    squared = _t(total, squares, n) ** 2
    return np.asarray(0.5 * np.log(c2 / (n + c2)) - n / 2 * np.log1p(-squared / (n + c2)))


def ln_one_sided(total: ArrayLike, squares: ArrayLike, n: ArrayLike, c2: float) -> Floats:
    """ln E against a mean of 0 or less: mean/std is drawn from the positive half of N(0, 1/c²).

    It is 2 E_n · F_n(√n T/√(n+c²−T²)) with T = S/√V and Student's distribution function F_n at n degrees of freedom:
    the posterior chance that mean/std is positive. It grows with T, and T where the same is added to all values. So a
    mean below 0 gives less evidence than a mean of 0, path by path, and the chance to ever reach 1/α is at most α for
    all of them.
    """
    from scipy.special import stdtr  # not scipy.stats, which takes a second to import

    n = np.asarray(n, float)
    t = _t(total, squares, n)
    positive = stdtr(n, np.sqrt(n) * t / np.sqrt(n + c2 - t**2))
    return np.asarray(math.log(2) + ln_evidence(total, squares, n, c2) + np.log(np.maximum(positive, _TINY)))


def half_width(std: ArrayLike, n: ArrayLike, c2: float, alpha: float) -> Floats:
    """Half the width of the confidence sequence: the means against which E has not reached 1/α; infinite at first.

    `std` divides by n. All intervals together hold the true mean with a chance of at least 1 − α.
    """
    n = np.asarray(n, float)
    ratio = ((n + c2) / (c2 * alpha**2)) ** (1 / n)
    room = n - (ratio - 1) * c2
    bounded = room > 0
    width = np.asarray(std, float) * np.sqrt((ratio - 1) * (n + c2) / np.where(bounded, room, 1.0))
    return np.asarray(np.where(bounded, width, np.inf))


def earliest(c2: float, alpha: float) -> int:
    """The fewest values after which E can reach 1/α, were they all alike."""
    n = 1
    while ln_evidence(n, n, n, c2) < -math.log(alpha):
        n += 1
    return n


def _t(total: ArrayLike, squares: ArrayLike, n: Floats) -> Floats:
    """S/√V, from −√n to √n; 0 where all values are 0."""
    total, squares = np.asarray(total, float), np.asarray(squares, float)
    t = total / np.sqrt(np.where(squares > 0, squares, 1.0))
    return np.asarray(np.clip(t, -np.sqrt(n), np.sqrt(n)))
