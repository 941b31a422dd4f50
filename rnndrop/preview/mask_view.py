"""The masks of a plan as small matrices to look at; `rnndrop masks` prints them, `mask_figure` plots them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnndrop.config.cells import cell_named
from rnndrop.config.schema import Config
from rnndrop.config.tasks import task_spec
from rnndrop.dropout import learned
from rnndrop.dropout.masks import Sizes, draw
from rnndrop.dropout.noises import noise_named
from rnndrop.dropout.plan import check_own
from rnndrop.dropout.rule import LOCATIONS, Rule, in_words
from rnndrop.errors import RequestError
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel

STEPS, WIDTH, BATCH = 24, 16, 8  # a window, a layer or vocabulary, and a batch are cut down to these

HOLE = "#ece7dd"
"""The colour of 0. The scales of SHADES, from 0 to 2, and of HELD, from 0 to 1, grow steadily darker."""
SHADES = (HOLE, "#4f9bcb", "#0b3c6f")
HELD = (HOLE, "#c8500a")


@dataclass(frozen=True)
class Scale:
    """How the entries of a tile are shown: a colour for each whole number from 0 on, and in a figure what stands there.

    `about` is what the plain text of a terminal says of entries that are more than kept or dropped.
    """

    colours: tuple[str, ...]
    ends: tuple[str, ...]
    about: str = ""

    @property
    def top(self) -> int:
        """The entry of the last colour."""
        return len(self.colours) - 1


HELD_SCALE = Scale(HELD, ("new value", "previous"))
HOLES_SCALE = Scale(SHADES, ("≤ 0", "1", "≥ 2"))
FACTORS_SCALE = Scale(SHADES, HOLES_SCALE.ends, "factors: the darker the more, ≤ 0 to ≥ 2")
ADDED_SCALE = Scale(SHADES, ("≤ −2p", "+ 0", "≥ 2p"), "added: the darker the more, ≤ −2p to ≥ 2p")

_SHOWN = {
    "token": ("batch", "time"),
    "embedding": ("type", "feature"),
    "carry": ("batch", "window"),
    "layer": ("layer", "batch"),
}
"""Rows and columns of a tile, where they are not those of an activation or a weight."""


@dataclass(frozen=True)
class View:
    """The mask of one rule, cut down: `tiles` maps a label (a sequence, a gate) to a matrix of `rows` × `columns`."""

    rule: Rule
    rows: str
    columns: str
    tiles: Mapping[str, NDArray[np.float32]]
    shape: tuple[Any, ...]  # of the whole mask; V stands for the size of the vocabulary
    summary: str

    @property
    def title(self) -> str:
        """Location, kind (or what varies) and rate."""
        kind = self.rule.kind if self.rule.kind != "custom" else f"varies {'+'.join(sorted(self.rule.varies))}"
        noise = "" if self.rule.noise == "bernoulli" else f" {self.rule.noise}"
        return f"{self.rule.location} · {kind}{noise} · p = {self.rule.p:g}{in_words(self.rule.extras)}"

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of each tile."""
        height, width = next(iter(self.tiles.values())).shape
        return height, width

    @property
    def size(self) -> str:
        """The shape of the whole mask with the names of its axes."""
        axes = LOCATIONS[self.rule.location].axes
        return ", ".join(f"{axis} {length}" for axis, length in zip(axes, self.shape, strict=True))

    @property
    def scale(self) -> Scale:
        """How its entries are shown; those of noise that is added have been brought to 0 for -2p, 2 for 2p."""
        noise = noise_named(self.rule.noise)
        if self.rule.fill == "previous":
            return HELD_SCALE
        return ADDED_SCALE if noise.added else HOLES_SCALE if noise.holes else FACTORS_SCALE


def views(config: Config, seed: int) -> list[View]:
    """Draw a mask of each active rule, cut down, for a window of `config`'s model and the lowest layer that has it.

    Learned noise is drawn as it begins, and words are shown where they would be replaced. Raises RequestError where
    there is no mask to draw.
    """
    model = config.model
    if model.module is not None:
        raise RequestError(f"model.module={model.module} draws its masks itself: there is no plan to show.")
    small = model.model_copy(
        update={"hidden": min(model.hidden, WIDTH), "embedding": min(model.embedding or model.hidden, WIDTH)}
    )
    sizes, whole = _sizes(small.model_dump()), _sizes(model.model_dump())
    of_reviews = "trainer.window" in task_spec(config.task).idle  # each as long as it is, up to a bound
    longest = config.data.chunk_tokens if of_reviews and config.data.chunk_tokens else config.trainer.window
    steps, batch = min(longest, STEPS), min(config.trainer.batch_size, BATCH)
    generator = torch.Generator().manual_seed(seed)
    check_own(config.twin_plan)
    rules = list(config.twin_plan.active)
    if not rules:
        raise RequestError(
            f"dropout={config.dropout.name} draws no mask for this model.\n"
            "Choose a plan (rnndrop masks dropout=variational) or a rule (dropout.cell.kind=locked dropout.cell.p=0.5)."
        )
    shown = []
    for rule in rules:
        lengths = _lengths(rule.location, sizes, steps, batch)
        real = _lengths(rule.location, whole, longest, config.trainer.batch_size)
        symbols = real | {"type": "V"} | ({"out": "V"} if rule.location == "weight_decoder" else {})
        mask = _drawn(rule, lengths, real, generator)
        if rule.location == "layer":
            mask = _kept(mask, [width_in != width for width_in, width in whole.layers])
        shown.append(_view(rule, mask, lengths, symbols, cell_named(model.cell).gates))
    return shown


def _kept(mask: Tensor, always: list[bool]) -> Tensor:
    """A mask on whole layers with those kept that always run: they are not as wide as their input."""
    axis = LOCATIONS["layer"].axes.index("layer")
    shape = [len(always) if at == axis else length for at, length in enumerate(mask.shape)]
    running = torch.tensor([depth for depth, each in enumerate(always) if each], dtype=torch.long)
    return mask.expand(shape).clone().index_fill_(axis, running, 1)


def _drawn(rule: Rule, lengths: dict[str, Any], real: dict[str, Any], generator: torch.Generator) -> Tensor:
    """The mask of a rule; of learned noise as it begins. `real` are the lengths before they were cut down."""
    if rule.noise == "dirichlet":  # what one unit gets is shared with all others
        axes = LOCATIONS[rule.location].axes
        last = [axis for axis in axes if axis in rule.varies][-1]
        mask = draw(rule, lengths | {last: real[last]}, generator, torch.float32)
        return mask.narrow(axes.index(last), 0, lengths[last])
    if not noise_named(rule.noise).learned:
        return draw(rule, lengths, generator, torch.float32)
    shape = rule.shape(lengths)
    scale, shift = learned.draw(rule.noise, shape, learned.initial(rule.noise, rule.p, shape), generator)
    return scale if scale is not None else cast(Tensor, shift)


def _sizes(model: dict[str, Any]) -> Sizes:
    """The widths of a model, without its weights."""
    with torch.device("meta"):
        return LanguageModel(ModelSettings(**model), WIDTH).sizes


def _lengths(location: str, sizes: Sizes, steps: int, batch: int) -> dict[str, Any]:
    """The length of each axis at a location of the lowest layer that has it."""
    width_in, width = sizes.layers[1 if location == "hidden" else 0]
    feature = {"embedding": sizes.embedding, "input": width_in, "hidden": width_in, "output": sizes.output}
    return {
        "time": steps,
        "batch": batch,
        "gate": sizes.gates,
        "feature": feature.get(location, width),
        "type": sizes.vocabulary,
        "out": sizes.vocabulary if location == "weight_decoder" else width,
        "in": {"weight_ih": width_in, "weight_decoder": sizes.output}.get(location, width),
        "layer": len(sizes.layers),
    }


def _view(rule: Rule, mask: Tensor, lengths: dict[str, Any], symbols: dict[str, Any], gates: str) -> View:
    axes: tuple[str, ...] = LOCATIONS[rule.location].axes
    rows, columns = _SHOWN.get(rule.location, ("out", "in") if "out" in axes else ("feature", "time"))
    rows, columns = ("type", "batch") if rule.location == "token" and "type" in rule.varies else (rows, columns)
    shown = 1 + mask / (2 * rule.p) if noise_named(rule.noise).added else mask
    whole = shown.expand([lengths[axis] for axis in axes])
    if columns not in axes:  # of a mask with one axis
        axes, whole = (*axes, columns), whole.unsqueeze(-1)

    def tile(**at: int) -> NDArray[np.float32]:
        matrix = whole[tuple(slice(None) if axis in (rows, columns) else at.get(axis, 0) for axis in axes)]
        array: NDArray[np.float32] = (matrix if axes.index(rows) < axes.index(columns) else matrix.T).numpy()
        return array

    if "gate" in rule.varies:
        tiles = {f"gate {gate}": tile(gate=index) for index, gate in enumerate(gates)}
    elif "batch" in rule.varies and "batch" not in (rows, columns):
        tiles = {f"sequence {index + 1}": tile(batch=index) for index in range(min(2, lengths["batch"]))}
    else:
        apart = [axis for axis in ("batch", "gate") if axis in axes and axis not in (rows, columns)]
        tiles = {{"batch": "every sequence", "gate": "every gate"}[apart[0]] if apart else "": tile()}
    return View(rule, rows, columns, tiles, tuple(rule.shape(symbols)), _summary(rule, mask))


def _summary(rule: Rule, mask: Tensor) -> str:
    """What came of the rate in the entries that were drawn, and of what more there is than the tiles show."""
    return _count(rule, mask) + (", sequence 1 shown" if {"gate", "batch"} <= rule.varies else "")


def _count(rule: Rule, mask: Tensor) -> str:
    if not noise_named(rule.noise).holes:
        return f"mean {mask.mean():.2f}, std {mask.std():.2f}"
    if rule.fill == "previous":
        return f"{mask.mean():.0%} keep the previous value"
    scale = float(mask.max())
    return f"{(mask != 0).float().mean():.0%} kept" + (f", × {scale:.3g}" if scale > 1 else "") + _limits(rule)


def _limits(rule: Rule) -> str:
    """What of a rule lets less be dropped than is shown."""
    if rule.smallest is not None:
        return f" of the smallest {rule.smallest:.0%}"
    if rule.fill == "kn" or rule.discounted:
        return ", before discounting"
    return ", at its full rate" if rule.schedule else ""
