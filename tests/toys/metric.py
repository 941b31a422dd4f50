"""A metric: the chance of the next token, a geometric mean; the higher the better."""

from __future__ import annotations

from rnndrop.config.metrics import Metric

ROW = Metric(
    "toy_chance",
    "language_model",
    "chance of a token",
    "chance",
    lower_is_better=False,
    of=lambda perplexity, config: 1 / perplexity,
    note="chance: of the next token",
)
