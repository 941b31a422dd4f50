"""Write docs/kinds/KIND.md, docs/space.md and docs/published.md from the tables of the code.

    python scripts/kind_pages.py            # write them
    python scripts/kind_pages.py --check    # write nothing; exit 1 and name the pages that are stale

What follows from a rule (shapes, times of drawing, evaluation) is derived from it; the prose of a kind is its entry in
`rnndrop.dropout.literature`; the named plans are those of conf/dropout.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from rnndrop.config.cells import CELLS
from rnndrop.config.compose import choices, compose
from rnndrop.dropout.literature import PROJECTS
from rnndrop.dropout.rule import KINDS, LOCATIONS, Kind, Location, Rule, kinds_at, rule

DOCS = Path(__file__).parent.parent / "docs"


@dataclass(frozen=True)
class Entry:
    """A published regulariser: an item of docs/published.yaml, which says what its parts are."""

    number: int
    name: str
    source: str
    equation: str
    asked: str = ""
    drawn: str = ""
    evaluated: str = ""
    loss: str = ""
    remarks: str = ""


CATALOGUE = [Entry(**each) for each in yaml.safe_load((DOCS / "published.yaml").read_text("utf-8"))]
HERE = [entry for entry in CATALOGUE if entry.asked]  # what can be asked for
PARTS = [entry for entry in CATALOGUE if not entry.asked and entry.remarks.startswith("In part")]
GENERATED = "<!-- Written by scripts/kind_pages.py from the tables of the code: edit those. -->\n"
SYMBOLS = (
    "T steps of the window, B sequences of the batch, G gates (LSTM 4: i f g o; GRU 3: r z n; Elman 1), E width of the"
    " embedding, H width of a layer, I width of what enters a layer (E for the lowest, else H), L layers, V word types"
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
        DOCS / "published.md": _published_page(),
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
        "layer": "L",
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

Notation: t time, b sequence, k gate, j feature, v word type; x the activation at the location, W a weight there.

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
        f"The mask varies over **{over}**; along an axis of length 1 it is constant.\n\n"
        f"{_table(('location', 'axes', 'mask', 'acts on'), rows)}\n\n{SYMBOLS}."
    )


def _shape(kind: Kind, place: Location) -> str:
    shape = rule(place.name, kind.name, 0.5).shape(lengths(place.name))
    return f"({', '.join(map(str, shape))})"


def _ordered(axes: frozenset[str]) -> list[str]:
    order = ("layer", "time", "batch", "type", "gate", "feature", "out", "in")
    return [axis for axis in order if axis in axes]


def _drawn(kind: Kind) -> str:
    """When the mask is drawn and what shares it, from what it varies over."""
    if not kind.varies:
        return "Never."
    parts = ["At the start of every BPTT window in training."]
    if "layer" in kind.varies:
        alone = "sequence of the batch" if "batch" in kind.varies else "window"
        return f"{parts[0]} Each layer has its own draw for each {alone}."
    if kind.varies <= {"gate", "out", "in"}:
        return f"{parts[0]} All steps and all sequences of the window share the weights, and so share the mask."
    parts.append(
        "It has a separate value for every step." if "time" in kind.varies else "All steps of the window share it."
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
            " (`evaluation.mc.samples=N`) draws masks as training does. The noise is always Bernoulli."
        )
    if kind.name in kinds_at("token"):
        return (
            "The text is read as it is, in Monte-Carlo evaluation too: only the words of training are noised. The"
            " noise is always Bernoulli."
        )
    if kind.fill in ("input", "initial"):
        sampled = "draws masks as training does" if kind.fill == "input" else "does not reset either"
        return (
            f"Nothing is left out, and nothing is scaled. Monte-Carlo evaluation {sampled}. The noise is always"
            " Bernoulli."
        )
    embedding = (
        " On `embedding` it does so only with `evaluation.mc.embedding=true`."
        if kind.name in kinds_at("embedding")
        else ""
    )
    return (
        "The identity, repeatable: nothing is drawn, as the mean of the mask is 1 (a kept entry is 1/(1−p))."
        f" Monte-Carlo evaluation (`evaluation.mc.samples=N`) draws masks as training does.{embedding}"
        + (
            " With `noise=gaussian` the mask is N(1, p/(1−p)): the same mean and variance, and no holes."
            if kind.fill == "zero"
            else " The noise is always Bernoulli."
        )
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
    usual = ("recurrent", "cell", "weight_hh", "embedding", "token", "carry", "layer")
    place = next(name for name in usual if kind.name in kinds_at(name))
    data = "data=pydoc " if kind.name == "unk" else ""  # the default corpus has no <unk>
    alone = f"On its own: `rnndrop run {data}dropout.{place}.kind={kind.name} dropout.{place}.p=0.3`."
    drawn = f"To draw its masks: `rnndrop masks dropout.{place}.kind={kind.name} dropout.{place}.p=0.3`."
    return f"{_list(lines) if lines else 'None.'}\n\n{alone} {drawn}"


def _space_page() -> str:
    return _linked(
        f"""{GENERATED}
# The space of dropouts

Dropouts for recurrent networks as points of a small space:

    where the noise enters  ×  what the mask varies over  ×  which noise  ×  what fills the hole

A **rule** is such a point, `dropout.LOCATION.{{kind,p,varies,noise,fill}}`; a **plan** has the rules of all locations,
`dropout=PLAN`. A kind is a named choice of `varies` and `fill`; each of the four may also be given by itself:
`dropout.recurrent.varies=[batch,gate] dropout.recurrent.noise=gaussian dropout.recurrent.p=0.2`.
A location can have several rules, and a rule can have [more parts](#more-parts-of-a-rule). [What was
published](published.md) lists {len(CATALOGUE)} regularisers of recurrent networks, of which {len(HERE)} can be asked
for here, and says why the others cannot.

A combination without a meaning is refused. `rnndrop masks dropout=PLAN` draws the masks of a plan, and
[the notebook](explore_dropout.ipynb) shows in numbers what each does to a tensor.

## Locations

{_locations()}

{SYMBOLS}.

## Cells

{_cells()}

In a **linear** cell the gates depend on x(t) alone, and the memory is h = a ⊙ h′ + b with a and b computed from x(t): all steps
of a window are one [scan](performance.md#linear-cells). It has no recurrent product, so `recurrent` and `weight_hh` are refused;
every other mask keeps the scan. Only the cells are here, in place of an LSTM, without the blocks that their papers build around
them (skip connections, normalisation, convolutions, MLPs). The equations of a cell are in its file. [A cell of your own](guide/cells.md)
is a file too. What each dropout did to six of them: [results](../results/README.md#modern_cells).

## Kinds

{_kinds()}

**Noise.** `bernoulli`: 0 with probability p, else 1/(1−p), so that the mean is 1 and evaluation is the identity.
`gaussian`: N(1, p/(1−p)), the same mean and variance (Srivastava et al. 2014, section 10). `dirichlet`: k times a
Dirichlet draw over the k features, inputs or types, with the same variance; its entries add up to k. Where k is too small
for that variance (p/(1−p) ≥ k−1), the mask is 1. On weights only: `additive`, N(0, p²) added to them, and three that are
[learned](#learned-noise). Bernoulli rates are rounded to steps of 2^-16, near 0 and 1 of 2^-32; scales and expectations are those of the
rounded rate. **Fill.** `zero`: the mask multiplies. `previous`: a Bernoulli(p) mask d keeps the previous value,
d · previous + (1−d) · new, without scale; it is for `cell` and `state` only, and is evaluated at the expectation. `unk`, `blank`,
`unigram`, `kn`, `model`: another word, for `token`. `input`: what enters the layer. `initial`: the zero state. `start`: the first
weights. **When.** All masks are drawn at the start of a BPTT window. A mask that varies over time has a value for every step; any
other holds for the window, and the next window has a new one.

## More parts of a rule

| part | what it does | where |
|---|---|---|
| `also=[{{kind: …, p: …}}]` | more rules of the same location, each a factor of its own, such as `token` and `locked` on `input` at once; on `token` one after the other | where each multiplies and the fill is the same |
| `flip=f` | an entry is drawn again at a step with chance f, else it stays: the correlation over k steps is (1−f)^k. The chain starts again with each window of training | masks that vary over time, except on `token` |
| `block=n` | holes of at least n steps: one begins at a step with chance 1−(1−p)^(1/n), so the share of holes is p; holes may begin before the window | holes in masks that vary over time, except on `token` |
| `schedule=linear until=e` | the rate falls with every window, from p to 0 at epoch e | everywhere except with fill `previous` and learned noise |
| `schedule=exponential until=e` | the rate rises: p (1 − exp(−10 t/e)) at epoch t | the same |
| `schedule=early`, `late` | `early`: p before epoch e, then 0; `late`: 0 before epoch e, then p | the same |
| `schedule=uniform` | the rate is drawn from U(0, p) for each sequence of a window | `token` |
| `gradient=true` | the forward pass does not change; in the backward pass the gradient of h(t−1) through the gates is multiplied by a mask of 0 and 1 | `recurrent` |
| `smallest=s` | of the weights that enter a unit, only the share s < 1 with the smallest absolute values can be dropped; nothing is scaled, and evaluation uses all weights | `dropconnect`, `weight_rows`, `weight_columns` |
| `discounted=true` | the rate of a word v is p · N1+(v,·)/c(v), as in absolute discounting; `kn` always has it | `token` |

Monte-Carlo evaluation draws these masks at the full p, whatever the schedule. A chain of `flip` and a hole of `block` go on for as
long as a mask that does not vary over time is kept: a pass or a window (`evaluation.mc.masks`). Monte-Carlo evaluation reads the text
as it is, resets no state and has no gradient to mask. A deterministic evaluation has none of these parts.

## Learned noise

On `weight_ih`, `weight_hh` and `weight_decoder` the strength of the noise can be learned together with the weights, by the same
optimiser; `p` is its initial value. The divergence of the weights' posterior from a prior, divided by the number of training tokens,
is added to the loss of a token. A record has what was learned under `model.learned`, and `rnndrop show` prints it.

With `task=sentiment` the divergence, divided by the number of training chunks, is added to the squared error. That is the bound of a
Gaussian likelihood of variance 1/2, in units of the standardised rating. The code of Gal et al. adds 2/(τ N) times the divergence to a
squared error, so its variance is 1/τ: ours is τ = 2.

`sparse` and `bayes` draw for each single weight (`dropconnect`), which is what their divergence counts. For a mask that weights share,
use `concrete`.

| `noise` | the weights | what is learned | divergence | evaluation |
|---|---|---|---|---|
| `concrete` | m ⊙ W, m = (1 − σ((ln p/(1−p) + ln u/(1−u))/0.1)) / (1−p) | p, one for each layer's matrix | ℓ²/2 · ‖W‖²/(1−p) − K · H(p), K entries of the mask, ℓ = 0.01 (Gal, Hron & Kendall 2017, in whose notebooks ℓ = 0.0001) | W |
| `sparse` | W + σ ε | ln σ² of each entry of the mask, begins at ln p² | from a log-uniform prior, with α = σ²/W² and the fit of Molchanov et al. 2017 | W, without the weights of ln α ≥ 3 |
| `bayes` | W + σ ε | ρ, where σ = ln(1 + e^ρ) is p at first | from 1/4 N(0, e^−2) + 3/4 N(0, e^−14), estimated from the sample that was drawn (Fortunato et al. 2017) | W |

## Which kind works where

{_matrix()}

## Identities

Some rules are equal. With the same mask:

| this | equals | because |
|---|---|---|
| every kind at p = 0 | `none`, bit for bit | the rule draws nothing |
| `shared` on `recurrent` | `weight_columns` on `weight_hh` | U (m ⊙ h) = (U diag m) h |
| `shared` on `input` or `hidden` | `weight_columns` on `weight_ih` | the same for W |
| `locked` at batch size 1 | `shared` | one sequence is the whole batch |
| `locked_gates` with equal masks for all gates | `locked` | the gates' products add up to one |
| `word_per_sequence` at batch size 1 | `word` | one sequence is the whole batch |
| `naive` with `flip=0`, `flip=1`, `block=1` | `locked`, `naive`, `naive` | the rule is the same, and so is its run |
| `mixconnect`, `mixout` where the first weights are 0 | `dropconnect`, `weight_columns` | W₀ + m ⊙ (W − W₀) |
| `sparse` or `bayes` whose strength is not trained | `additive` of the same p | W + p ε |
| dropout of the input gate (Semeniuta et al. 2016) | the same on `update` | (m ⊙ i) ⊙ g = i ⊙ (m ⊙ g) |
| a [twin](guide/twin.md) of weight 0 that does not share the cross-entropy | no twin | its masks have a generator of their own |
| fill zero, constant over the window, on `cell` | the same on `state` | tanh(0) = 0; what an LSTM keeps as c differs |

`weight_rows` equals none of these: it removes what enters a gate of a unit, not an input.
The rows are tested in [tests/dropout](../tests/dropout/test_contract.py), the twin's in
[tests/training](../tests/training/test_twin.py), the last one in
[tests/faults/test_2_numbers.py](../tests/faults/test_2_numbers.py); the notebook shows the first five in numbers.

## The rule of `cell` and `state`

These two act on a memory, which is carried from step to step. A scale on what is carried would compound to
(1/(1−p))^t (as on a GRU in tensorflow#11650), so a memory has two faces: what is **kept** for the next step and what is **read** now.

    fill previous   kept = d ⊙ previous + (1−d) ⊙ new       read = the same
    fill zero       kept = (m ≠ 0) ⊙ new                    read = m ⊙ new

- What a mask zeroes is zeroed in the memory too. Its scale acts only on h, and only where h is read: by the gates of
  the next step, the layer above and the decoder. So the carried state is unscaled, and Gaussian noise, which has no
  holes, leaves what is kept untouched.
- LSTM, `cell`, fill zero: c = (m ≠ 0) ⊙ (f ⊙ c′ + i ⊙ g) is kept; of h = o ⊙ tanh(c), m ⊙ h is read. The mask on c is
  that of Moon et al. 2015; that the scale acts on h is our choice, because o ⊙ tanh(m ⊙ c) would not have the mean that
  evaluation reads, o ⊙ tanh(c). LSTM, `state`: h is kept and read; c does not see the mask.
- GRU and Elman network: their memory is h, on which `cell` and `state` act alike. The h(t−1) that the GRU's z gate
  carries over is the kept one.
- With both fills, one at each location, the values that zoneout holds are zeroed and scaled like new ones.
- The next window gets the kept face, without scale, and also what was read last: its first step reads the latter, as if
  there had been no cut.
- Zoneout on `cell`: the LSTM's h sees the candidate c = f ⊙ c′ + i ⊙ g, not the held c (Krueger et al. 2017, section
  3.2). Its h on `state` is kept and read alike.
- The linear cells `mingru`, `minlstm` and `rglru` have h as their memory, like a GRU. The memory of `qrnn` is c, and its h = o ⊙ c is
  not carried. What is read of c is m ⊙ c; with zoneout it is what is held (Bradbury et al. 2017, section 2.1).
- sLSTM: h is masked as in an LSTM. Zeros of a mask on `cell` empty c and h, and the normaliser n goes on. Zoneout holds c and n
  together, because they are one quotient, and h sees the candidates of both.
- `recurrent` masks h(t−1) only where it enters the gates: neither the LSTM's c nor the z ⊙ h(t−1) of the GRU sees it.

## More than a rule

A loss between two passes under different masks is a [twin](guide/twin.md): fraternal dropout, expectation-linear dropout, the
Π-model, R-Drop, masked-input regularisation. Penalties on h (`trainer.ar`, `trainer.tar`, `trainer.norm_stabiliser`), the
adversarial softmax and the [evaluation family](guide/papers.md) are settings beside the plan.
"""  # noqa: E501
    )


def _published_page() -> str:
    """Every regulariser of the catalogue."""
    rows = [(each.number, f"[{each.name}](#{each.number})", _command(each)) for each in CATALOGUE]
    return _linked(
        f"""{GENERATED}
# What was published

{len(CATALOGUE)} regularisers of the dropout family for recurrent sequence models, from papers and released code, of which
**{len(HERE)} can be asked for**, and parts of {len(PARTS)} others; each entry says which. All of those are tested: models and losses against
the same equations written out a second time, draws by their rates, counts and limits. Differences from the source are stated.
[The space](space.md) has the locations, kinds and noises that they are made of.

{_table(("", "what", "here"), [tuple(map(str, row)) for row in rows])}

{"".join(map(_published, CATALOGUE))}
Symbols: t time, b sequence, j feature, v word type; x the activation at the location, W a weight, m the mask, z logits, p and q
the predictions of two passes. Numbers quoted from memory are marked as such.
"""  # noqa: E501
    )


def _command(entry: Entry) -> str:
    if not entry.asked:
        return "in part" if entry in PARTS else "no"
    return f"`{entry.asked}`"


def _published(entry: Entry) -> str:
    """The section of one regulariser."""
    facts = [("drawn", entry.drawn), ("evaluation", entry.evaluated), ("loss", entry.loss)]
    lines = [f"- {name}: {text}" for name, text in facts if text]
    asked = entry.asked if entry.asked.startswith("rnndrop") else f"rnndrop run {entry.asked}"
    return "\n".join(
        [
            f'### <a id="{entry.number}"></a>{entry.number}. {entry.name}\n',
            f"{entry.source}.\n",
            f"```\n{entry.equation}\n```\n",
            *([f"`{asked}`\n"] if entry.asked else []),
            *([*lines, ""] if lines else []),
            *([f"{entry.remarks}\n"] if entry.remarks else []),
            "",
        ]
    )


def _locations() -> str:
    rows = [
        (
            f"`{place.name}`",
            place.acts_on,
            " ".join(f"`{axis}`" for axis in place.axes),
            f"`({', '.join(lengths(place.name)[axis] for axis in place.axes)})`",
            place.aliases or "–",
            _cells_with(place.name),
        )
        for place in LOCATIONS.values()
    ]
    return _table(("location", "acts on", "a mask can vary over", "lengths", "aliases", "cells"), rows)


def _cells() -> str:
    rows = [
        (
            f"`{cell.name}`",
            cell.about.removesuffix("."),
            " ".join(cell.gates),
            "linear" if cell.linear else "",
            " ".join(f"`{place}`" for place in cell.without) or "–",
            f"[{cell.name}.py](../{cell.module.replace('.', '/')}.py)",
        )
        for cell in CELLS.values()
    ]
    return _table(("`model.cell`", "what it is", "gates", "", "has no", "equations"), rows)


def _cells_with(place: str) -> str:
    without = [cell.name for cell in CELLS.values() if place in cell.without]
    return f"all but {', '.join(without)}" if without else "all"


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
