"""Write docs/kinds/KIND.md and docs/space.md from the tables of the code.

    python scripts/kind_pages.py            # write them
    python scripts/kind_pages.py --check    # write nothing; exit 1 and name the pages that are stale

What follows from a rule (shapes, times of drawing, evaluation) is derived from it; the prose of a kind is its entry in
`rnndrop.dropout.literature`; the named plans are those of conf/dropout.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rnndrop.config.cells import CELLS
from rnndrop.config.compose import choices, compose
from rnndrop.dropout.literature import PROJECTS
from rnndrop.dropout.rule import KINDS, LOCATIONS, Kind, Location, Rule, kinds_at, rule

DOCS = Path(__file__).parent.parent / "docs"
GENERATED = "<!-- Written by scripts/kind_pages.py from the tables of the code: edit those. -->\n"
SYMBOLS = (
    "T steps of the window, B sequences of the batch, G gates (LSTM 4: i f g o; GRU 3: r z n; Elman 1), E width of the"
    " embedding, H width of a layer, I width of what enters a layer (E, above it H), V word types"
)


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or check them."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        print(*(f"stale: {path.relative_to(DOCS.parent)}" for path in stale), sep="\n", end="\n" if stale else "")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(pages()[path], "utf-8")
        print(path.relative_to(DOCS.parent))
    return 0


@cache
def pages() -> dict[Path, str]:
    """Every page with its text."""
    plans = {name: list(compose([f"dropout={name}"]).plan.active) for name in choices("dropout")}
    return {
        **{DOCS / "kinds" / f"{kind.name}.md": _kind_page(kind, plans) for kind in KINDS.values()},
        DOCS / "space.md": _space_page(),
    }


def lengths(location: str) -> dict[str, str]:
    """The symbol of each axis at a location."""
    return {
        "time": "T",
        "batch": "B",
        "gate": "G",
        "feature": "E" if location in ("embedding", "input") else "H",
        "type": "V",
        "out": "V" if location == "weight_decoder" else "H",
        "in": "I" if location == "weight_ih" else "H",
    }


def _kind_page(kind: Kind, plans: dict[str, list[Rule]]) -> str:
    about = kind.about
    return _linked(
        f"""{GENERATED}
# `{kind.name}`

{about.summary}

## Equation

```
{about.equation}
```

Notation: t time, b sequence, k gate, j feature, v word type; x the activation at the location, W a weight of it.

## Mask

{_mask_table(kind)}

## When it is drawn

{_drawn(kind)}

## Evaluation

{_evaluation(kind)}

## Published as

{_list(about.published)}

## Implementations and caveats

{_list(about.implementations)}

## Aliases

{_list(about.aliases) if about.aliases else "None."}

## Named plans that use it

{_plans(kind, plans)}

[The space of dropouts](../space.md)
"""
    )


def _mask_table(kind: Kind) -> str:
    """The shape at each location that takes the kind."""
    if not kind.varies:
        return "None, at every location."
    places = [place for place in LOCATIONS.values() if kind.name in kinds_at(place.name)]
    rows = [(f"`{place.name}`", " × ".join(place.axes), f"`{_shape(kind, place)}`", place.acts_on) for place in places]
    over = ", ".join(_ordered(kind.varies))
    return (
        f"It varies over **{over}**; along an axis of length 1 it is the same.\n\n"
        f"{_table(('location', 'axes', 'mask', 'acts on'), rows)}\n\n{SYMBOLS}."
    )


def _shape(kind: Kind, place: Location) -> str:
    shape = rule(place.name, kind.name, 0.5).shape(lengths(place.name))
    return f"({', '.join(map(str, shape))})"


def _ordered(axes: frozenset[str]) -> list[str]:
    order = ("time", "batch", "type", "gate", "feature", "out", "in")
    return [axis for axis in order if axis in axes]


def _drawn(kind: Kind) -> str:
    """When the mask is drawn and what shares it, from what it varies over."""
    if not kind.varies:
        return "Never."
    parts = ["At the start of every BPTT window in training."]
    if kind.varies <= {"gate", "out", "in"}:
        return f"{parts[0]} All steps and all sequences of the window share the weights, and so the mask."
    parts.append(
        "It has a separate value for every step." if "time" in kind.varies else "Every step of the window sees it."
    )
    parts.append(
        "Each sequence of the batch has its own." if "batch" in kind.varies else "All sequences of the batch share it."
    )
    if "gate" in kind.varies:
        parts.append("Each gate has its own.")
    elif "feature" in kind.varies and kind.fill == "zero":
        parts.append("Where a location has gates, they share it.")
    return " ".join(parts)


def _evaluation(kind: Kind) -> str:
    """What evaluation does, from the fill."""
    if not kind.varies:
        return "The identity: nothing changes."
    if kind.fill == "previous":
        return (
            "The expectation, p in place of the mask: p · previous + (1−p) · new. Monte-Carlo evaluation"
            " (`evaluation.mc.samples=N`) draws masks as training does. The noise is Bernoulli's."
        )
    embedding = (
        " On `embedding` it does so only with `evaluation.mc.embedding=true`."
        if kind.name in kinds_at("embedding")
        else ""
    )
    return (
        "The identity, repeatable: nothing is drawn, for the mask's mean is 1 (a kept entry is 1/(1−p)). Monte-Carlo"
        f" evaluation (`evaluation.mc.samples=N`) draws masks as training does.{embedding} With `noise=gaussian` the"
        " mask is N(1, p/(1−p)): the same mean and variance, and no holes."
    )


def _plans(kind: Kind, plans: dict[str, list[Rule]]) -> str:
    """The plans with a rule of this kind, and how to ask for the kind itself."""
    if not kind.varies:
        return "`dropout=none`, the default; every plan has it at locations that it does not mention."
    lines = []
    for name, rules in plans.items():
        if used := [each for each in rules if each.kind == kind.name]:
            places = ", ".join(
                f"`{each.location}` p = {each.p:g}{'' if each.noise == 'bernoulli' else ' ' + each.noise}"
                for each in used
            )
            lines.append(f"[`dropout={name}`](../../conf/dropout/{name}.yaml): {places}")
    place = next(name for name in ("recurrent", "cell", "weight_hh", "embedding") if kind.name in kinds_at(name))
    alone = f"By itself: `rnndrop run dropout.{place}.kind={kind.name} dropout.{place}.p=0.3`;"
    drawn = f"drawn: `rnndrop masks dropout.{place}.kind={kind.name} dropout.{place}.p=0.3`."
    return f"{_list(lines) if lines else 'None.'}\n\n{alone} {drawn}"


def _space_page() -> str:
    return _linked(
        f"""{GENERATED}
# The space of dropouts

Dropouts for recurrent networks as points of a small space:

    where the noise enters  ×  what the mask varies over  ×  which noise  ×  what fills the hole

A **rule** is such a point, `dropout.LOCATION.{{kind,p,varies,noise,fill}}`; a **plan** is one rule for each location,
`dropout=PLAN`. A kind is a named choice of `varies` and `fill`; each of the four may also be given by itself:
`dropout.recurrent.varies=[batch,gate] dropout.recurrent.noise=gaussian dropout.recurrent.p=0.2`.
The published ones are listed under [Kinds](#kinds). Not included: noise on the words themselves (Xie et al.
2017), noise and rates that are learned (concrete and variational dropout), rates that change over training, masks
correlated in time, losses between two masked passes (fraternal dropout, R-Drop), and dropping whole layers.

A combination without a meaning is refused. `rnndrop masks dropout=PLAN` draws the masks of a plan, and
[the notebook](explore_dropout.ipynb) shows in numbers what each does to a tensor.

## Locations

{_locations()}

{SYMBOLS}.

## Kinds

{_kinds()}

**Noise.** `bernoulli`: 0 with probability p, else 1/(1−p), so that the mean is 1 and evaluation is the identity.
`gaussian`: N(1, p/(1−p)), the same mean and variance (Srivastava et al. 2014, section 10). Rates are drawn in steps of
2^-16, near 0 and 1 of 2^-32; scales and expectations are those of the rate that is drawn. **Fill.** `zero`: the mask
multiplies. `previous`: a Bernoulli(p) mask d keeps the previous value, d · previous + (1−d) · new, without scale; for
`cell` and `state` alone, and evaluated at the expectation. **When.** All masks are drawn at the start of a BPTT window;
one that varies over time has a value for every step, any other holds for the window and is new in the next.

## Which kind works where

{_matrix()}

## Identities

Some rules are the same. With the same mask:

| this | equals | because |
|---|---|---|
| every kind at p = 0 | `none`, bit for bit | the rule draws nothing |
| `shared` on `recurrent` | `weight_columns` on `weight_hh` | U (m ⊙ h) = (U diag m) h |
| `shared` on `input` or `hidden` | `weight_columns` on `weight_ih` | the same of W |
| `locked` at batch size 1 | `shared` | one sequence is the whole batch |
| `locked_gates` with equal masks for all gates | `locked` | the gates' products add up to one |
| `word_per_sequence` at batch size 1 | `word` | one sequence is the whole batch |
| fill zero, constant over the window, on `cell` | the same on `state` | tanh(0) = 0; what an LSTM keeps as c differs |

`weight_rows` is none of these: it removes what enters a gate of a unit, not an input.
The first five rows are tests in [tests/dropout/test_contract.py](../tests/dropout/test_contract.py), the last one in
[tests/faults/test_2_numbers.py](../tests/faults/test_2_numbers.py); the notebook shows the first five in numbers.

## The rule of `cell` and `state`

These two act on a memory, which is carried from step to step. A scale on what is carried would compound to
(1/(1−p))^t (tensorflow#11650), so a memory has two faces: what is **kept** for the next step and what is **read** now.

    fill previous   kept = d ⊙ previous + (1−d) ⊙ new       read = the same
    fill zero       kept = (m ≠ 0) ⊙ new                    read = m ⊙ new

- What a mask zeroes is zeroed in the memory too. Its scale acts only on h, and only where h is read: by the gates of
  the next step, the layer above and the decoder. So the carried state is unscaled, and Gaussian noise, which has no
  holes, leaves what is kept untouched.
- LSTM, `cell`, fill zero: c = (m ≠ 0) ⊙ (f ⊙ c′ + i ⊙ g) is kept; of h = o ⊙ tanh(c), m ⊙ h is read. The mask on c is
  that of Moon et al. 2015; that the scale acts on h is our choice, for o ⊙ tanh(m ⊙ c) would not have the mean that
  evaluation reads, o ⊙ tanh(c). LSTM, `state`: h is kept and read, c does not see the mask.
- GRU and Elman network: their memory is h, on which `cell` and `state` act alike. The h(t−1) that the GRU's z gate
  carries over is the kept one.
- With both fills, one at each location, what zoneout holds is zeroed and scaled as what is new.
- From window to window the kept face is handed on, without scale, and beside it what was read last: the first step of a
  window reads that, as if there had been no cut.
- Zoneout on `cell`: the LSTM's h sees the candidate c = f ⊙ c′ + i ⊙ g, not the held c (Krueger et al. 2017, section
  3.2). Its h on `state` is kept and read alike.
- `recurrent` masks h(t−1) only where it enters the gates: neither the LSTM's c nor the z ⊙ h(t−1) of the GRU sees it.

## More than a rule

Learned rates (concrete dropout), fraternal dropout and activation regularisation are not masks of this space, but
losses or parameters beside it.
"""
    )


def _locations() -> str:
    rows = [
        (
            f"`{place.name}`",
            place.acts_on,
            " ".join(f"`{axis}`" for axis in place.axes),
            f"`({', '.join(lengths(place.name)[axis] for axis in place.axes)})`",
            place.aliases or "–",
            ", ".join(cell for cell in CELLS if cell not in place.not_for) if place.not_for else "all",
        )
        for place in LOCATIONS.values()
    ]
    return _table(("location", "acts on", "a mask can vary over", "lengths", "aliases", "cells"), rows)


def _kinds() -> str:
    rows = [
        (
            f"[`{kind.name}`](kinds/{kind.name}.md)",
            ", ".join(_ordered(kind.varies)) or "–",
            kind.fill if kind.varies else "–",
            kind.published,
        )
        for kind in KINDS.values()
    ]
    return _table(("kind", "varies over", "fill", "published as"), rows)


def _matrix() -> str:
    names = [name for name in KINDS if name != "none"]
    rows = [(f"`{place}`", *("●" if name in kinds_at(place) else "" for name in names)) for place in LOCATIONS]
    return "`none` works everywhere.\n\n" + _table(("", *(f"[`{n}`](kinds/{n}.md)" for n in names)), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |") for cells in lines)


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _linked(text: str) -> str:
    """Links for `project#number` and `arXiv:number`."""

    def issue(match: re.Match[str]) -> str:
        project, number = match.groups()
        return f"[{project}#{number}](https://github.com/{PROJECTS[project]}/issues/{number})"

    names = "|".join(map(re.escape, sorted(PROJECTS, key=len, reverse=True)))
    text = re.sub(rf"\b({names})#(\d+)", issue, text)
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
