"""Time a training step of the language model: ours for every plan against nn.LSTM, loops, WeightDrop and Keras.

    python scripts/bench_step.py --hidden 650 --threads 2

A step is forward, backward, clipping and SGD on one window of a 2-layer LSTM language model with 10,000 words. All
contestants take turns in one process, round by round, so that what disturbs the machine disturbs all of them; a time
is the median over the rounds, `ratio` is to `nn.LSTM` without dropout in float32, `floor_ratio` is to the step's matrix
products ÷ the rate of a large product of its precision in the same rounds (of float32 the better of torch.mm and
oneDNN), and `noise` is median ÷ minimum: well above 1.1, something else was using the machine. The masks of all plans
have p = .5; in bf16 they take part where the processor has such products, Keras where it can be imported.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.util
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as in the command; read once, by torch's OpenMP

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional as F

from rnndrop.config.cells import CELLS, CellSpec
from rnndrop.config.compose import compose
from rnndrop.dropout.masks import draw_masks
from rnndrop.dropout.plan import Plan
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.allocator import keep_memory
from rnndrop.ops.matmul import has_bf16, linear, round_factors
from rnndrop.ops.nll import nll_sum
from rnndrop.runs.environment import set_precision
from rnndrop.training.optimizer import Update

VOCABULARY, LAYERS, P, CLIP, RATE = 10_000, 2, 0.5, 5.0, 1.0
BASELINE = "nn.LSTM"
AUTOCAST = "nn.LSTM, autocast bf16"
ROUNDED = ", bf16"  # the end of a plan's name with `trainer.precision=bf16`
LARGE = 1536  # rows and columns of the product that measures the machine's rate

Step = Callable[[], None]


def main() -> None:
    """Parse the command line, measure, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--hidden", type=int, nargs="+", default=[200, 650, 1500])
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options.add_argument("--window", type=int, nargs="+", default=[35])
    options.add_argument("--batch", type=int, nargs="+", default=[20])
    options.add_argument("--vocabulary", type=int, nargs="+", default=[VOCABULARY])
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: for one thread on a busy machine"
    )
    options.add_argument("--device", default="cpu", help="cpu or cuda")
    options.add_argument("--only", nargs="+", help="names of contestants; nn.LSTM always takes part")
    options.add_argument("--memory", action="store_true", help="the peak memory of a step instead of its time")
    options.add_argument("--json", action="store_true", help="one JSON list of rows on stdout")
    given = options.parse_args()
    for name in set(given.only or ()) - set(contestants()):
        options.error(f"no contestant {name!r}; there are: {', '.join(contestants())}")
    keep_memory()  # for all contestants
    set_precision("float32")  # for cuDNN too, which else rounds factors
    rows = []
    for threads, *size in itertools.product(given.threads, given.hidden, given.window, given.batch, given.vocabulary):
        found = measure(Size(*size, given.device), threads, given)
        rows += found
        if not given.json:
            print(table(found), end="\n\n", flush=True)
    if given.json:
        print(json.dumps(rows, indent=1))
    elif len(given.hidden) > 1 and not given.memory:
        for key, group in itertools.groupby(sorted(rows, key=_but_hidden), _but_hidden):
            print("threads={} window={} batch={} V={}\n\n{}\n".format(*key, summary(list(group))))


def _but_hidden(row: dict[str, Any]) -> tuple[int, ...]:
    return row["threads"], row["window"], row["batch"], row["vocabulary"]


class Size:
    """The size of a step, the data of one, and where it runs."""

    def __init__(self, hidden: int, window: int, batch: int, vocabulary: int, device: str) -> None:
        self.hidden, self.window, self.batch, self.vocabulary = hidden, window, batch, vocabulary
        self.device = torch.device(device)
        generator = torch.Generator().manual_seed(0)
        self.tokens, self.targets = torch.randint(vocabulary, (2, window, batch), generator=generator).to(device)

    @property
    def flop(self) -> float:
        """Operations in the matrix products of a step, forward and twice that backward."""
        layer = 2 * self.window * self.batch * 4 * self.hidden * 2 * self.hidden
        decoder = 2 * self.window * self.batch * self.hidden * self.vocabulary
        return 3.0 * (LAYERS * layer + decoder)


def measure(size: Size, threads: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one size."""
    torch.set_num_threads(threads)
    wanted = {name: make for name, make in contestants().items() if not given.only or name in {BASELINE, *given.only}}
    if size.device.type != "cpu":  # elsewhere nothing of ours is rounded
        wanted = {name: make for name, make in wanted.items() if not name.endswith(ROUNDED)}
    steps = {name: make(size) for name, make in wanted.items()}
    common = {"hidden": size.hidden, "window": size.window, "batch": size.batch, "vocabulary": size.vocabulary}
    if given.memory:
        peaks = {name: peak_memory(step) for name, step in steps.items()}
        return [
            {"name": name, **common, "threads": threads, "peak_bytes": peak, "ratio": peak / peaks[BASELINE]}
            for name, peak in peaks.items()
        ]
    square = torch.randn(LARGE, LARGE, device=size.device)
    half = square.bfloat16()
    steps["large mm"], steps["large oneDNN"] = lambda: _ignore(square @ square), lambda: _ignore(linear(square, square))
    halves = [name for name in wanted if name == AUTOCAST or name.endswith(ROUNDED)]
    if halves:
        steps["large bf16"] = lambda: _ignore(half @ half)
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    wait = torch.cuda.synchronize if size.device.type == "cuda" else lambda: None
    for step in steps.values():
        step()  # warm
    wait()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(1, given.rounds + 1):
        print(f"H={size.hidden}: round {round_number} of {given.rounds}", file=sys.stderr, flush=True)
        for name, step in steps.items():
            start = clock()
            step()
            wait()
            times[name].append(clock() - start)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    full = 2 * LARGE**3 / min(medians["large mm"], medians["large oneDNN"])
    rates = dict.fromkeys(wanted, full)
    if halves:
        rates.update(dict.fromkeys(halves, 2 * LARGE**3 / medians["large bf16"]))
    return [
        {
            "name": name,
            **common,
            "threads": threads,
            "seconds": medians[name],
            "ratio": medians[name] / medians[BASELINE],
            "floor_ratio": medians[name] * rates[name] / size.flop,
            "noise": medians[name] / min(times[name]),
            "gflops": rates[name] / 1e9,
        }
        for name in wanted
    ]


def peak_memory(step: Step) -> int:
    """The most bytes that torch has allocated during a step, above those before it."""
    for _ in range(2):
        step()
    gc.collect()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    held = peak = 0
    events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of one size, for people."""
    size = "H={hidden} window={window} batch={batch} V={vocabulary} threads={threads}".format(**rows[0])
    lines = [f"{size}, load {os.getloadavg()[0]:.1f}"]
    for row in rows:
        if "peak_bytes" in row:
            lines.append(f"  {row['name']:<28}{row['peak_bytes'] / 2**20:9.1f} MiB{row['ratio']:8.2f}×")
        else:
            lines.append(
                f"  {row['name']:<28}{row['seconds'] * 1e3:9.1f} ms{row['ratio']:8.2f}×"
                f"{row['floor_ratio']:8.2f}× floor   noise {row['noise']:.2f}   at {row['gflops']:.0f} GFLOP/s"
            )
    return "\n".join(lines)


def summary(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of what a step takes, ÷ that of `nn.LSTM` in float32: by H, in float32 and in bf16.

    Of the rows of one number of threads, window, batch and vocabulary. `nn.LSTM` in bf16 is that under autocast.
    """
    sizes = sorted({row["hidden"] for row in rows})
    ratios: dict[str, dict[tuple[int, bool], float]] = {}
    for row in rows:
        name, bf16 = row["name"].removesuffix(ROUNDED), row["name"].endswith(ROUNDED)
        if row["name"] == AUTOCAST:
            name, bf16 = BASELINE, True
        ratios.setdefault(name, {})[row["hidden"], bf16] = row["ratio"]
    there = {column for found in ratios.values() for column in found}
    columns = [(hidden, bf16) for bf16 in (False, True) for hidden in sizes if (hidden, bf16) in there]
    heads = ["÷ nn.LSTM", *(f"bf16, {hidden}" if bf16 else f"H={hidden}" for hidden, bf16 in columns)]
    body = [[name, *(found.get(column) for column in columns)] for name, found in ratios.items()]
    return tabulate(body, heads, tablefmt="github", floatfmt=".2f")


def contestants() -> dict[str, Callable[[Size], Step]]:
    """All contestants by name: how to make their step."""
    peers: dict[str, Callable[[Size], Step]] = {
        BASELINE: lambda size: peer(size, TorchLSTM(size.hidden, 0.0)),
        AUTOCAST: lambda size: peer(size, TorchLSTM(size.hidden, 0.0), autocast=True),
        "nn.LSTM, its own dropout": lambda size: peer(size, TorchLSTM(size.hidden, P)),
        "loop, Gal's masks": lambda size: peer(size, Loop(size.hidden, cells=False)),
        "LSTMCell loop, Gal's masks": lambda size: peer(size, Loop(size.hidden, cells=True)),
        "WeightDrop": lambda size: peer(size, WeightDropped(size.hidden)),
    }
    if importlib.util.find_spec("keras"):
        peers["Keras recurrent_dropout"] = lambda size: peer(size, Keras(size.hidden))
    mine = {name: functools.partial(ours, dropout=dropout) for name, dropout in plans().items()}
    mine |= {
        f"{cell.name}, variational": functools.partial(
            ours, dropout=of_cell(plans()["variational"], cell), cell=cell.name
        )
        for cell in CELLS.values()
        if cell.name != "lstm"
    }
    rounded = {f"{name}{ROUNDED}": functools.partial(each, bf16=True) for name, each in mine.items()}
    return {**peers, **mine, **(rounded if has_bf16() else {})}


PLANS = (
    "awd", "drifting", "dropconnect", "embedding", "gaussian", "h_detach", "locked", "naive", "none",
    "recurrent_update", "rnndrop", "shared", "variational", "variational_untied", "variational_weight", "weight_noise",
    "zaremba", "zoneout", "zoneout_words",
)  # fmt: skip
"""Those of `conf/dropout` whose masks differ in what the engine does with them or in what drawing them costs."""


def plans() -> dict[str, Plan]:
    """`PLANS`, each active location at p = .5."""
    return {
        name: compose([f"dropout={name}"]).plan.map(lambda own: replace(own, p=P) if own.active else own)
        for name in PLANS
    }


def of_cell(dropout: Plan, cell: CellSpec) -> Plan:
    """The plan without the locations that the cell lacks."""
    return dropout.without(*cell.without)


def ours(size: Size, dropout: Plan, bf16: bool = False, cell: str = "lstm") -> Step:
    """Our step, of the parts of which `rnndrop.training.trainer` is made; `bf16`: as with `trainer.precision=bf16`."""
    model = LanguageModel(ModelSettings(cell, size.hidden, LAYERS, None, tie_weights=False), size.vocabulary)
    generator = torch.Generator(size.device).manual_seed(0)
    model.initialize(0.05, torch.Generator().manual_seed(0))
    model.to(size.device)
    sgd = {"optimizer": "sgd", "learning_rate": RATE, "clip": CLIP, "weight_decay": 0.0}
    update = Update(model, compose([]).trainer.model_copy(update=sgd))
    state = model.initial_state(size.batch)

    def step() -> None:
        round_factors(bf16)
        masks = draw_masks(dropout, model.sizes, size.window, size.batch, generator)
        features, _ = model.features(size.tokens, state, masks)
        loss = nll_sum(features, *model.decoder_weights(masks), size.targets)
        (loss / size.targets.numel()).backward()
        update()
        round_factors(False)

    return step


def peer(size: Size, recurrent: nn.Module, autocast: bool = False) -> Step:
    """The usual step around a recurrent module from (T, B, H) to (T, B, H); `autocast`: in bf16, as torch has it."""
    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(size.vocabulary, size.hidden),
            "recurrent": recurrent,
            "decoder": nn.Linear(size.hidden, size.vocabulary),
        }
    )
    model.to(size.device)
    with torch.no_grad():
        recurrent(torch.zeros(1, size.batch, size.hidden, device=size.device))  # Keras builds its weights here
        parameters = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
        for parameter in parameters:
            parameter.uniform_(-0.05, 0.05)
    optimizer = torch.optim.SGD(parameters, lr=RATE)

    def step() -> None:
        with torch.autocast(size.device.type, torch.bfloat16, enabled=autocast):
            logits = model["decoder"](recurrent(model["embedding"](size.tokens)))
            loss = F.cross_entropy(logits.flatten(0, 1), size.targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad()

    return step


class TorchLSTM(nn.Module):
    """`nn.LSTM`, with dropout on its input, between its layers and on its output."""

    def __init__(self, hidden: int, p: float) -> None:
        super().__init__()
        self.dropout, self.lstm = nn.Dropout(p), nn.LSTM(hidden, hidden, LAYERS, dropout=p)

    def forward(self, x: Tensor) -> Tensor:
        """x (T, B, H) → (T, B, H)."""
        return self.dropout(self.lstm(self.dropout(x))[0])


class WeightDropped(nn.Module):
    """DropConnect on weight_hh in the usual shape: a raw parameter, its dropped copy set before each call."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(hidden, hidden) for _ in range(LAYERS))
        for layer in self.layers:
            raw = layer.weight_hh_l0
            del layer._parameters["weight_hh_l0"]
            layer.register_parameter("weight_hh_l0_raw", nn.Parameter(raw.data))

    def forward(self, x: Tensor) -> Tensor:
        """x (T, B, H) → (T, B, H)."""
        for layer in self.layers:
            layer.weight_hh_l0 = F.dropout(layer.weight_hh_l0_raw, P)
            x = layer(x)[0]
        return x


class Loop(nn.Module):
    """Gal's per-sequence masks in a loop over time: of `nn.LSTMCell`, or of plain operations."""

    def __init__(self, hidden: int, cells: bool) -> None:
        super().__init__()
        self.cells = cells
        self.layers = nn.ModuleList(nn.LSTMCell(hidden, hidden) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        """x (T, B, H) → (T, B, H)."""
        for layer in self.layers:
            x = self._layer(layer, x * _mask(x[0]))
        return x * _mask(x[0])

    def _layer(self, layer: nn.Module, x: Tensor) -> Tensor:
        h = c = torch.zeros_like(x[0])
        mask, outputs = _mask(h), []
        from_input = None if self.cells else F.linear(x, layer.weight_ih, layer.bias_ih)
        for t in range(len(x)):
            if from_input is None:
                h, c = layer(x[t], (h * mask, c))
            else:
                i, f, g, o = (from_input[t] + F.linear(h * mask, layer.weight_hh, layer.bias_hh)).chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs)


class Keras(nn.Module):
    """Keras 3 on its torch backend, with dropout and recurrent_dropout."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        os.environ["KERAS_BACKEND"] = "torch"
        import keras  # type: ignore[import-not-found]

        options = {"return_sequences": True, "dropout": P, "recurrent_dropout": P}
        self.layers = nn.ModuleList(keras.layers.LSTM(hidden, **options) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        """x (T, B, H) → (T, B, H)."""
        x = x.transpose(0, 1)
        for layer in self.layers:
            x = layer(x, training=True)
        return x.transpose(0, 1)


def _mask(like: Tensor) -> Tensor:
    """A mask (B, H) of p = .5."""
    return torch.empty_like(like).bernoulli_(1 - P) / (1 - P)


def _ignore(_: Tensor) -> None:
    """Throw a result away."""


if __name__ == "__main__":
    main()
