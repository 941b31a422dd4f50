"""What a decision says, in words: for the command, for reports and for the page. No torch here."""

from __future__ import annotations

import math

from rnndrop.config.metrics import metric_of
from rnndrop.decisions.document import Decision
from rnndrop.decisions.race import GOING_ON, Look, Pair, Rule

MARKS = {"undecided": "?", GOING_ON: "…"}


def percent(ln: float) -> str:
    """A difference of ln score as a change in per cent, with its sign: −3.52 %."""
    return f"{_signed(ln)} %"


def evidence(ln_e: float, digits: int = 3) -> str:
    """E, in three digits up to a million."""
    return f"{math.exp(ln_e):.{digits}g}" if ln_e < math.log(1e6) else "more than a million"


def change(pair: Pair) -> str:
    """The mean difference of a pair and its interval: −3.52 % [−5.10, −1.84]."""
    if pair.low is None or pair.high is None:
        return f"{percent(pair.mean)} [no bounds yet]"
    return f"{percent(pair.mean)} [{_signed(pair.low)}, {_signed(pair.high)}]"


def _signed(ln: float) -> str:
    value = 100 * math.expm1(min(ln, math.log(1e6)))
    return f"{value:+.2f}".replace("-", "−")


def look_lines(look: Look, number: int, names: list[str], rule: Rule) -> list[str]:
    """A line for each pair of the look after so many seeds."""
    bound = math.exp(rule.ln_bound(len(names)))
    return [_pair_line(pair, f"{number} seed{'s' * (number != 1)}", names, bound) for pair in look.pairs]


def _pair_line(pair: Pair, seeds: str, names: list[str], bound: float) -> str:
    line = (
        f"{seeds}: {names[pair.plan]} against {names[pair.against]} {change(pair)}  E {evidence(pair.ln_e)} of "
        f"{bound:.4g}  equal {evidence(min(pair.ln_e_above, pair.ln_e_below))} of {bound:.4g}"
    )
    return line if pair.standing == "open" else f"{line}  → {pair.standing}"


def margin(rule: Rule) -> str:
    """The margin in per cent: 1 %."""
    return f"{100 * math.expm1(rule.margin):.4g} %"


def sentences(decision: Decision) -> list[str]:
    """The verdict, and what else came of the contestants; a line each."""
    names = [entry.name for entry in decision.contestants]
    count = len(decision.looks)
    after = f"{count} seed{'s' * (count != 1)}"
    lines = [f"{MARKS.get(decision.verdict, '✓')} {_verdict(decision, names)}, {after}, alpha {decision.rule.alpha:g}"]
    if len(names) > 2:
        lines += [
            _standing(decision, number, pair)
            for number, look in enumerate(decision.looks, 1)
            for pair in look.pairs  # at the look that had it drop out, or at the last
            if pair.plan in look.out or (number == count and decision.contestants[pair.plan].outcome != "diverged")
        ]
    lines += [
        f"{entry.name} diverged at seed {entry.diverged_at} and is out; alpha does not cover this"
        for entry in decision.contestants
        if entry.diverged_at is not None
    ]
    return lines


def _verdict(decision: Decision, names: list[str]) -> str:
    two = decision.looks[-1].pairs[0] if len(names) == 2 and decision.looks else None
    found = f"test {metric_of(decision.metric).title}" + (f" {change(two)}" if two else "")
    if decision.verdict == "equal":
        equal = [entry.name for entry in decision.contestants if entry.outcome == "equal"]
        said = f"{' and '.join(equal)} are equal"
        if len(equal) > 2:  # each was compared with the leader alone
            leader = names[decision.looks[-1].pairs[0].against]
            said = f"{' and '.join(name for name in equal if name != leader)} are each equal to {leader}, which leads,"
        return f"{said} within {margin(decision.rule)}: {found}" + _sides(decision, two)
    if decision.best is not None:
        if two is None:
            diverged = any(entry.diverged_at is not None for entry in decision.contestants)
            others = "all others" + " that did not diverge" * diverged
            return f"{names[decision.best]} is better than {others}: {found}"
        return f"{names[0]} is {decision.verdict} than {names[1]}: {found}, E {_of_bound(two.ln_e, decision)}"
    word = "undecided" if decision.verdict == "undecided" else "not decided yet"
    if two is None:
        left = [entry.name for entry in decision.contestants if entry.outcome == "in"]
        between = f" between {' and '.join(left)}" if len(left) > 1 else f", {left[0]} alone is left" if left else ""
        return f"{word}{between}: {found}"
    return f"{word}: {names[0]} against {names[1]}, {found}, E {_of_bound(two.ln_e, decision)}"


def _sides(decision: Decision, two: Pair | None) -> str:
    """Why two are equal: what speaks against a difference of the margin, on either side."""
    if two is None:
        return ""
    low, high = percent(-decision.rule.margin), percent(decision.rule.margin)
    above, below = (_of_bound(each, decision) for each in (two.ln_e_above, two.ln_e_below))
    less = "; they differ by less than that" if two.ln_e >= decision.rule.ln_bound(2) else ""
    return f", E {above} against {low} or less, {below} against {high} or more{less}"


def _of_bound(ln_e: float, decision: Decision) -> str:
    """E beside the bound, in as many digits as it takes to see which is larger."""
    bound = decision.rule.ln_bound(len(decision.contestants))
    reached = ln_e >= bound
    digits = next((each for each in range(3, 16) if _seen(ln_e, bound, each) == reached), 16)
    return f"{evidence(ln_e, digits)} {'≥' if reached else '<'} {_bound(bound, digits)}"


def _seen(ln_e: float, bound: float, digits: int) -> bool:
    """Whether E is seen to have reached the bound when both have so many digits."""
    return ln_e >= math.log(1e6) or float(evidence(ln_e, digits)) >= float(_bound(bound, digits))


def _bound(ln: float, digits: int) -> str:
    return f"{math.exp(ln):.{max(4, digits)}g}"


def _standing(decision: Decision, number: int, pair: Pair) -> str:
    """How a contestant stands to the leader of a look, the one after so many seeds."""
    one, other = (decision.contestants[index].name for index in (pair.plan, pair.against))
    differs, same = evidence(pair.ln_e), evidence(min(pair.ln_e_above, pair.ln_e_below))
    word, shown = {
        "worse": ("worse than", f"E {differs}"),
        "equal": ("equal within the margin to", f"E {same}"),
    }.get(pair.standing, ("not distinguished from", f"E {differs} for a difference, {same} for equality"))
    return f"{one} is {word} {other}: {change(pair)}, {shown}, {number} seed{'s' * (number != 1)}"
