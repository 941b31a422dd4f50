"""Two ratios that a benchmark of steps does not show: Monte-Carlo evaluation and sweeps against one run at a time.

    python scripts/throughput.py

The first: token-samples a second of Monte-Carlo evaluation to tokens a second of the deterministic pass, of a 2×200
LSTM with `dropout=variational` on the test split of `synthetic`, in turns, medians. The second: a sweep of four runs
with --jobs 2 against the same with --jobs 1, where a run has all threads; wall time of the whole command.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rnndrop.config.compose import compose
from rnndrop.evaluation.monte_carlo import monte_carlo
from rnndrop.evaluation.perplexity import stream_nll
from rnndrop.runs.runner import build, generator, load_corpus

ROUNDS, SAMPLES = 5, 20


def main() -> None:
    """Measure and print."""
    print(f"Monte-Carlo token-samples a second ÷ deterministic tokens a second: {monte_carlo_ratio():.2f}")
    one, two = sweep_seconds(1), sweep_seconds(2)
    print(
        f"a sweep of 4 runs: --jobs 1 {one:.1f} s, --jobs 2 {two:.1f} s, {one / two:.2f} times as many tokens a second"
    )


def monte_carlo_ratio() -> float:
    """Of one process's threads."""
    config = compose(["dropout=variational", f"evaluation.mc.samples={SAMPLES}"])
    corpus, _ = load_corpus(config.data)
    model, masks = build(config, corpus, torch.device("cpu")), generator(0, "mc", torch.device("cpu"))
    test = corpus.test
    assert isinstance(test, np.ndarray)
    plain: list[float] = []
    sampled: list[float] = []
    for _ in range(ROUNDS):
        plain.append(seconds(lambda: stream_nll(model, config.plan, test, config.evaluation)))
        sampled.append(seconds(lambda: monte_carlo(model, config.plan, test, config.evaluation, masks)))
    return SAMPLES * statistics.median(plain) / statistics.median(sampled)


def sweep_seconds(jobs: int) -> float:
    """Of a sweep of four runs of two epochs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).parent / "rnndrop"), "sweep", "seed=0,1,2,3", "trainer.epochs=2"]
        return seconds(lambda: subprocess.run([*command, f"output={folder}", "--jobs", str(jobs)], check=True,
                                              capture_output=True))  # fmt: skip


def seconds(action: Callable[[], object]) -> float:
    """How long `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
