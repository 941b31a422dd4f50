"""Train every plan twice on `synthetic`, by the engine and by the plain reference path, and compare the perplexities.

    python scripts/same_perplexity.py model.hidden=100 trainer.epochs=2

The plain path is the autograd loop of `rnndrop.recurrent.reference` and torch's own cross-entropy of all logits, in
training and in evaluation, with every unit in the arithmetic whether it is dropped or not. Both start from
the same weights and draw the same masks. Exit code 1 if a test perplexity differs by more than 0.5 %.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional as F

import rnndrop
from rnndrop.config.compose import choices
from rnndrop.recurrent.engine import CELLS
from rnndrop.recurrent.reference import unroll

WITHIN = 0.005


def main(overrides: Sequence[str]) -> int:
    """Compare all plans; return the exit code."""
    rows = []
    for name in choices("dropout"):
        engine = test_perplexity(name, overrides)
        with ExitStack() as patches:
            for place, stand_in in PLAIN.items():
                patches.enter_context(mock.patch(place, stand_in))
            plain = test_perplexity(name, overrides)
        rows.append((name, engine, plain, engine / plain - 1))
        print(f"{name}: {engine:.3f} against {plain:.3f}", file=sys.stderr, flush=True)
    print(tabulate(rows, ["plan", "engine", "plain", "difference"], floatfmt=("", ".3f", ".3f", "+.4%")))
    return int(any(abs(difference) > WITHIN for *_, difference in rows))


def test_perplexity(name: str, overrides: Sequence[str]) -> float:
    """Of one run with seed 0."""
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
