"""Train plans on `synthetic` in two ways with the same seed, and compare the test perplexities.

    python scripts/same_perplexity.py model.hidden=100 trainer.epochs=2           # the engine against plain torch
    python scripts/same_perplexity.py --bf16                                      # bf16 against float32, three seeds

The plain path is the autograd loop of `rnndrop.recurrent.reference` and torch's own cross-entropy of all logits, in
training and in evaluation, with every unit in the arithmetic whether it is dropped or not. Both start from
the same weights and draw the same masks. Exit code 1 if a perplexity differs by more than 0.5 %; in bf16 the
geometric mean of three seeds, for two trainings that round in other ways end as far apart as two seeds do.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.append(str(Path(__file__).parents[1]))  # after what is installed, which has the configurations

import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional as F

import rnndrop
from rnndrop.config.cells import CELLS
from rnndrop.recurrent.reference import unroll
from scripts.bench_step import PLANS

WITHIN = 0.005
SEEDS = range(3)


def main(arguments: Sequence[str]) -> int:
    """Compare all plans; return the exit code."""
    overrides = [argument for argument in arguments if argument != "--bf16"]
    compare = rounded_and_not if len(overrides) < len(arguments) else engine_and_plain
    rows = []
    for name in PLANS:
        pairs = compare(name, overrides)
        difference = math.exp(statistics.mean(math.log(one / other) for one, other in pairs)) - 1
        rows.append((name, " ".join(f"{one:.3f}/{other:.3f}" for one, other in pairs), difference))
        print(f"{name}: {rows[-1][1]} {difference:+.4%}", file=sys.stderr, flush=True)
    print(tabulate(rows, ["plan", "perplexities", "difference"], floatfmt=("", "", "+.4%")))
    return int(any(abs(difference) > WITHIN for *_, difference in rows))


def engine_and_plain(name: str, overrides: Sequence[str]) -> list[tuple[float, float]]:
    """The perplexities of a plan, of seed 0."""
    engine = test_perplexity(name, overrides)
    with ExitStack() as patches:
        for place, stand_in in PLAIN.items():
            patches.enter_context(mock.patch(place, stand_in))
        return [(engine, test_perplexity(name, overrides))]


def rounded_and_not(name: str, overrides: Sequence[str]) -> list[tuple[float, float]]:
    """The perplexities of a plan in bf16 and in float32, of each seed."""
    return [
        (
            test_perplexity(name, [*overrides, f"seed={seed}", "trainer.precision=bf16"]),
            test_perplexity(name, [*overrides, f"seed={seed}"]),
        )
        for seed in SEEDS
    ]


def test_perplexity(name: str, overrides: Sequence[str]) -> float:
    """Of one run."""
    with tempfile.TemporaryDirectory() as folder:
        record = rnndrop.run([f"dropout={name}", *overrides, f"output={folder}"])
    return float(record.metrics["test_perplexity"])


def plain_layer(cell: str, *arguments: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The reference in place of `engine.run_layer`."""
    return unroll(CELLS[cell], *arguments)


def plain_loss(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """torch's cross-entropy in place of `loss.nll_sum`."""
    return plain_nll(features, weight, bias, targets).sum()


def plain_nll(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """torch's cross-entropy in place of `loss.token_nll`."""
    logits = F.linear(features, weight, bias).flatten(0, 1)  # (T·B, V)
    return F.cross_entropy(logits, targets.flatten(), ignore_index=-1, reduction="none").view_as(targets)


PLAIN = {
    "rnndrop.models.encoder.run_layer": plain_layer,
    "rnndrop.models.encoder.kept": lambda mask: None,
    "rnndrop.tasks.language_model.nll_sum": plain_loss,
    "rnndrop.evaluation.perplexity.token_nll": plain_nll,
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
