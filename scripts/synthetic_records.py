"""Write invented records, to try the report on thousands of runs: `python scripts/synthetic_records.py FOLDER 10000`.

The numbers follow a simple law (each location has a best rate, a wrong kind costs), so that the tables and plots of
an invented sweep look like those of a real one. Nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Iterator
from itertools import islice, product
from typing import Any

import numpy as np

from rnndrop.config.identity import run_id
from rnndrop.config.schema import Config
from rnndrop.store.records import HISTORY, RECORD, SCHEMA, TEST_NLL, Record, run_folder

FLOOR_VALID, FLOOR_TEST = 151.1, 145.5
PLANS = ("none", "naive", "variational", "locked", "dropconnect", "embedding", "variational_weight")
PLACES = (("recurrent", "locked"), ("recurrent", "naive"), ("hidden", "locked"), ("hidden", "naive"),
          ("output", "locked"), ("input", "locked"))  # fmt: skip
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
SIZES = (200, 650, 100, 400)


def configs(output: str) -> Iterator[tuple[list[str], Config]]:
    """The overrides and configuration of one plan after another, endlessly."""
    from rnndrop.config.compose import compose

    plain = compose([f"output={output}"]).model_dump(mode="json")
    plans = {name: compose([f"dropout={name}"]).model_dump(mode="json")["dropout"] for name in PLANS}
    yield from ((overrides, Config.model_validate(tree)) for overrides, tree in _trees(plain, plans))


def _trees(plain: dict[str, Any], plans: dict[str, Any]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    for name in PLANS:
        yield [f"dropout={name}"], plain | {"dropout": plans[name]}
    for batch_size in range(20, 1000):
        for hidden, rate, (place, kind) in product(SIZES, RATES, PLACES):
            rule = plans["none"][place] | {"kind": kind, "p": rate}
            overrides = [f"dropout.{place}.kind={kind}", f"dropout.{place}.p={rate}"]
            tree = plain | {"dropout": plans["none"] | {place: rule}, "model": plain["model"] | {"hidden": hidden}}
            tree["trainer"] = plain["trainer"] | {"batch_size": batch_size}
            overrides += [f"model.hidden={hidden}"] if hidden != SIZES[0] else []
            yield overrides + ([f"trainer.batch_size={batch_size}"] if batch_size != 20 else []), tree


def record(overrides: list[str], config: Config, seed: int) -> tuple[Record, list[dict[str, float]], np.ndarray]:
    """An invented run: its record, its history and the NLL of its test blocks (2, blocks)."""
    number = random.Random(f"{run_id(config)}/{seed}")
    strength = sum(rule.p for rule in config.plan.active)
    naive = config.dropout.recurrent.kind == "naive"
    best = (
        280 - 90 * math.exp(-((strength - 1.2) ** 2)) * (0.4 if naive else 1) - 8 * math.log2(config.model.hidden / 200)
    )
    best *= math.exp(number.gauss(0, 0.006) + random.Random(seed).gauss(0, 0.01))  # the seed's part is shared
    over = max(0.0, 1 - strength) * 0.04
    history: list[dict[str, float]] = []
    for epoch in range(1, config.trainer.epochs + 1):
        valid = best * (1 + 2.2 * math.exp(-epoch * (0.9 - 0.08 * strength)) + over * max(0, epoch - 4))
        train = best * (0.55 + 0.2 * strength + 2.6 * math.exp(-epoch * 0.6))
        history.append({"epoch": epoch, "train_perplexity": train, "learning_rate": config.trainer.learning_rate,
                        "tokens": 99_999, "seconds": 8.0, "tokens_per_second": 12_500.0,
                        "valid_perplexity": valid})  # fmt: skip
    status = "diverged" if number.random() < 0.01 else "finished"
    chosen = min(history, key=lambda row: row["valid_perplexity"])
    valid = chosen["valid_perplexity"]
    test = valid * 0.965 * math.exp(number.gauss(0, 0.002))
    metrics: dict[str, Any] = {"diverged_step": 400}
    if status == "finished":
        metrics = {
            "valid_perplexity": valid,
            "test_perplexity": test,
            "train_perplexity": chosen["train_perplexity"] * 0.9,
            "best_epoch": chosen["epoch"],
            "epochs": len(history),
            "test_perplexity_mc": test * (1 - 0.02 * min(strength, 1.5)),
            "test_perplexity_mc_stderr": test * 0.001,
        }
    hidden = config.model.hidden
    made = Record(
        schema=SCHEMA,
        run_id=run_id(config),
        seed=seed,
        status=status,
        overrides=overrides,
        config=config.model_dump(mode="json") | {"seed": seed},
        data={"name": "synthetic", "level": "word", "sha256": "c6206b18" * 8, "train_tokens": 100_000,
              "valid_tokens": 10_000, "test_tokens": 10_000, "vocab_size": 2000,
              "floor_perplexity": FLOOR_TEST, "floor_perplexity_valid": FLOOR_VALID},
        model={"parameters": 4002 * hidden + 16 * hidden * (hidden + 1), "vocabulary": 2000},
        metrics=metrics,
        timing={"train_seconds": 8.0 * len(history), "tokens_per_second": 12_500.0},
        environment={"rnndrop": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.7", "host": "invented", "device": "cpu",
                     "device_name": "none", "threads": 1, "git_revision": "0" * 40, "git_dirty": False},
        error="the loss of step 400 is nan nats per token" if status == "diverged" else None,
    )  # fmt: skip
    shape = np.random.default_rng(7).normal(0, 0.4, 500)  # hard and easy blocks, the same for every run
    noise = np.random.default_rng(number.getrandbits(32)).normal(0, 0.05, 500)
    nll = (math.log(test) + shape - shape.mean() + noise - noise.mean()) * 20
    return made, history, np.stack([nll, np.full(500, 20.0)]).astype("float32")


def write(folder: str, runs: int, seeds: int = 5) -> None:
    """Write `runs` invented run folders below `folder`, `seeds` to a plan."""
    jobs = ((overrides, config, seed) for overrides, config in configs(folder) for seed in range(seeds))
    for overrides, config, seed in islice(jobs, runs):
        made, history, nll = record(overrides, config, seed)
        place = run_folder(folder, made.run_id, seed)
        place.mkdir(parents=True, exist_ok=True)
        (place / RECORD).write_text(made.to_json(), encoding="utf-8")
        (place / HISTORY).write_text("".join(json.dumps(row) + "\n" for row in history), encoding="utf-8")
        np.save(place / TEST_NLL, nll)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("runs", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    write(arguments.folder, arguments.runs, arguments.seeds)
