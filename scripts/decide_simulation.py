"""How often `rnndrop decide` errs and how many seeds it takes, on simulated differences (docs/guide/decisions.md).

python scripts/decide_simulation.py
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from tabulate import tabulate

from rnndrop.decisions.evidence import Floats, half_width
from rnndrop.decisions.planning import EQUAL, OPEN, ends
from rnndrop.decisions.race import Rule, race

RULE = Rule()
NO_MARGIN = replace(RULE, margin=1e-9)  # of which equality is never shown: better, worse or undecided
RATIOS = (1, 2, 4, 8)
CORRELATION = 0.12  # of the scores of two plans over seeds, as measured
STDS = (0.006, 0.01, 0.015, 0.02, 0.03, 0.05)  # of ln perplexity over seeds
WANTED = {1: 16.0, 2: 6.5, 3: 4.8, 5: 4.0}
FIXED = 10


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start = time.perf_counter()
    dice = np.random.default_rng(given.seed)
    tables = (false_alarms, other_shapes, seeds_needed, wrong_equal, equal_reached, small_difference, of_several)
    for table in tables:
        title, header, rows = table(given.races, dice)
        print(f"**{title}**\n\n{tabulate(rows, header, tablefmt='github', disable_numparse=True)}\n")
    print(f"{given.races:,} races a cell, --seed {given.seed}, {time.perf_counter() - start:.0f} s")


Table = tuple[str, Sequence[str], Iterable[Sequence[str]]]


def share(of: np.ndarray) -> str:
    """A share of races in per cent."""
    return f"{100 * of.mean():.2f} %"


def two_plans(dice: np.random.Generator, races: int, seeds: int, ratio: float, correlation: float) -> Floats:
    """Differences of two plans that are equally good; the std of the one is `ratio` times that of the other."""
    one, other = dice.standard_normal((2, races, seeds))
    other = correlation * one + math.sqrt(1 - correlation**2) * other
    return np.asarray(one - ratio * other)


def false_alarms(races: int, dice: np.random.Generator) -> Table:
    """Better or worse of plans that are equally good, and what a t test at every look would say."""
    rows = []
    for ratio in RATIOS:
        for correlation in (0.0, CORRELATION):
            found = two_plans(dice, races, 100, ratio, correlation)
            alarms = [share(ends(NO_MARGIN, found[:, :most]).verdict != OPEN) for most in (20, 100)]
            rows.append([f"{ratio}", f"{correlation:g}", *alarms, share(t_tests(found[:, :20]))])
    header = ["ratio of the stds", "correlation", "by 20 seeds", "by 100 seeds", "t tests at 3 to 20 seeds"]
    return "False alarms: better or worse, where the plans are equally good", header, rows


def t_tests(differences: Floats) -> np.ndarray:
    """Whether an ordinary t test at 5 % says that there is a difference at one of the looks from three seeds on."""
    from scipy.special import stdtrit

    n = np.arange(1, differences.shape[1] + 1)
    mean = differences.cumsum(axis=1) / n
    variance = np.maximum((differences**2).cumsum(axis=1) / n - mean**2, 0)
    t = np.abs(mean[:, 2:]) * np.sqrt((n[2:] - 1) / variance[:, 2:])
    return np.asarray((t > stdtrit(n[2:] - 1, 0.975)).any(axis=1))


def other_shapes(races: int, dice: np.random.Generator) -> Table:
    """The same where differences are not normal, which the error rate takes them to be."""
    size = (races, 100)
    outlier = np.where(dice.random(size) < 0.05, 10.0, 1.0) * dice.standard_normal(size)
    shapes = {
        "Student's t, 3 degrees of freedom": dice.standard_t(3, size),
        "uniform": dice.uniform(-1, 1, size),
        "one seed in 20 with a tenfold std": outlier,
        "skewness 0.5: gamma": dice.gamma(16, 1.0, size) - 16,
        "skewness 1: gamma": dice.gamma(4, 1.0, size) - 4,
        "skewness 2: exponential": dice.exponential(1.0, size) - 1,
        "skewness 6: log-normal": np.exp(dice.standard_normal(size)) - math.exp(0.5),
    }
    rows = [
        [name, *(share(ends(NO_MARGIN, found[:, :most]).verdict != OPEN) for most in (20, 100))]
        for name, found in shapes.items()
    ]
    return "The same, where the differences are not normal", ["differences", "by 20 seeds", "by 100 seeds"], rows


def seeds_needed(races: int, dice: np.random.Generator) -> Table:
    """Mean seeds by the size of the effect, against a fixed number."""
    rows = []
    for effect, wanted in WANTED.items():
        found = ends(NO_MARGIN, dice.standard_normal((races, 60)) + effect)
        mean = found.seeds.mean()
        by_20 = share((found.verdict != OPEN) & (found.seeds <= 20))
        rows.append([f"{effect}", f"{mean:.2f}", f"{wanted:g}", by_20, f"{mean / FIXED:.2f}"])
    header = [
        "effect in std of the differences",
        "mean seeds",
        "wanted",
        "decided by 20",
        f"trainings, of {FIXED} fixed",
    ]
    return "Seeds that a decision takes (at most 60)", header, rows


def wrong_equal(races: int, dice: np.random.Generator) -> Table:
    """Equal, where the true difference is exactly the margin."""
    return "Wrong: equal within 1 %, where the true difference is exactly 1 %", *by_std(races, dice, RULE.margin)


def equal_reached(races: int, dice: np.random.Generator) -> Table:
    """Equal, where the plans are equally good."""
    return "Equal within 1 %, where there is no difference", *by_std(races, dice, 0.0)


def by_std(races: int, dice: np.random.Generator, effect: float) -> tuple[Sequence[str], Iterable[Sequence[str]]]:
    """How often equality is claimed by so many seeds."""
    rows = []
    for std in STDS:
        differences = math.sqrt(2) * std * dice.standard_normal((races, 100)) + effect
        found = ends(RULE, differences)
        equal = found.verdict == EQUAL
        shares = [share(equal & (found.seeds <= most)) for most in (10, 20, 40, 100)]
        rows.append([f"{std:g}", *shares, share(interval_within(differences[:, :20]))])
    header = ["std of ln perplexity over seeds, either plan", "by 10 seeds", "by 20", "by 40", "by 100",
              "by 20 if the interval decided"]  # fmt: skip
    return header, rows


def interval_within(differences: Floats) -> np.ndarray:
    """Whether the interval of the confidence sequence lies within the margin at one of the looks."""
    n = np.arange(1, differences.shape[1] + 1)
    mean = differences.cumsum(axis=1) / n
    std = np.sqrt(np.maximum((differences**2).cumsum(axis=1) / n - mean**2, 0))
    return np.asarray((np.abs(mean) + half_width(std, n, RULE.c2, RULE.alpha) < RULE.margin).any(axis=1))


def small_difference(races: int, dice: np.random.Generator) -> Table:
    """What is said of a difference of half the margin."""
    rows = []
    for std in (0.001, 0.003, *STDS[:3]):
        found = ends(RULE, math.sqrt(2) * std * dice.standard_normal((races, 20)) + math.log1p(0.005))
        wrong = (found.verdict != OPEN) & (found.verdict != EQUAL)
        rows.append([f"{std:g}", share(wrong), share(found.verdict == EQUAL), share(found.verdict == OPEN)])
    header = ["std of ln perplexity over seeds", "better/worse", "equal", "undecided"]
    return "A true difference of .5 %, half the margin, by 20 seeds", header, rows


def of_several(races: int, dice: np.random.Generator) -> Table:
    """Races of four plans: whether a best one drops out, and how many trainings there are."""
    rows = []
    for name, best in (
        ("all equally good", 4),
        ("one better by 3 std", 1),
        ("two equally good, two worse by 3 std", 2),
    ):
        count, std = min(races, 2000), 0.02
        means = np.array([0.0] * best + [3 * std] * (4 - best))
        lost, trainings = 0, 0
        for _ in range(count):
            scores = means + std * dice.standard_normal((20, 4))
            of = race(NO_MARGIN, range(20), scores.tolist(), 4)
            lost += any(outcome == "worse" for outcome in of.outcomes[:best])
            trainings += sum(len({pair.plan for pair in look.pairs}) + 1 for look in of.looks)
        rows.append([name, f"{100 * lost / count:.2f} %", f"{trainings / count:.1f}"])
    header = ["four plans, at most 20 seeds each (2,000 races)", "a best one drops out", "mean trainings, of 80"]
    return "Several plans (effects in std of one plan)", header, rows


if __name__ == "__main__":
    main()
