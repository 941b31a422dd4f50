"""One run: configuration → corpus, model, training → record. The one file that sees every part."""

from __future__ import annotations

import hashlib
import math
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock
from safetensors.torch import save

from rnndrop import data, environment, records
from rnndrop.blocks import TEST_NLL, block_sums, to_bytes
from rnndrop.config import SCHEMA, Config, run_id
from rnndrop.data import Corpus
from rnndrop.evaluate import perplexity, stream_nll
from rnndrop.model import LanguageModel, ModelSettings
from rnndrop.montecarlo import monte_carlo
from rnndrop.records import Record
from rnndrop.train import DivergedError, Progress, Training, Watcher

TRAIN_SAMPLE = 100_000  # training tokens on which the final, deterministic train perplexity is measured


def run_one(
    config: Config, overrides: Sequence[str], watch: Watcher = lambda progress: None, force: bool = False
) -> Record:
    """Run `config`, or return its record where it has finished before; `watch` is told of the progress.

    A failure keeps its traceback in the record. Raises RequestError, before anything is written, for a request
    that cannot be met, and KeyboardInterrupt after recording it.
    """
    folder = records.run_folder(config.output, run_id(config), config.seed)
    records.prepare(folder)
    with FileLock(folder / ".lock"):
        if not force and (done := finished(folder)):
            return done
        return _Run(config, overrides, folder).record(watch)


def finished(folder: Path) -> Record | None:
    """The record of a run that came to its end, so that it need not run again."""
    try:
        record = records.read_record(folder)
    except records.DamagedRecordError:
        return None
    return record if record and record.status in ("finished", "diverged") and record.schema == SCHEMA else None


def build(config: Config, corpus: Corpus, device: torch.device) -> LanguageModel:
    """The model of a configuration with its initial weights, which depend on the seed alone."""
    settings = ModelSettings(**config.model.model_dump())
    model = LanguageModel(settings, len(corpus.vocabulary))
    model.initialize(config.trainer.init, generator(config.seed, "weights", torch.device("cpu")))
    return model.to(device)


def generator(seed: int, purpose: str, device: torch.device) -> torch.Generator:
    """A source of random numbers for one purpose, independent of the others."""
    digest = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


class _Run:
    """A run in its folder."""

    def __init__(self, config: Config, overrides: Sequence[str], folder: Path) -> None:
        self.config, self.folder = config, folder
        if config.trainer.threads:
            torch.set_num_threads(config.trainer.threads)
        self.device = environment.device(config.trainer.device)
        self.corpus = data.load(config.data)
        self.blank: dict[str, Any] = {
            "schema": SCHEMA,
            "run_id": run_id(config),
            "seed": config.seed,
            "overrides": list(overrides),
            "config": config.model_dump(mode="json"),
            "data": self.corpus.fingerprint(),
            "environment": environment.describe(self.device),
        }

    def record(self, watch: Watcher) -> Record:
        """Train, measure, and write the record whatever happens."""
        records.write_atomically(self.folder / records.CONFIG, yaml.safe_dump(self.blank["config"], sort_keys=False))
        (self.folder / records.RECORD).unlink(missing_ok=True)
        try:
            record = self._train(watch)
        except KeyboardInterrupt:
            self._write(Record(**self.blank, status="interrupted"))
            raise
        except Exception:
            record = Record(**self.blank, status="failed", error=traceback.format_exc())
        self._write(record)
        return record

    def _write(self, record: Record) -> None:
        records.write_atomically(self.folder / records.RECORD, record.to_json())

    def _train(self, watch: Watcher) -> Record:
        config, corpus = self.config, self.corpus
        model = build(config, corpus, self.device)
        masks = generator(config.seed, "masks", self.device)
        training = Training(model, config.plan, config.trainer, corpus.train, masks)

        def keep(progress: Progress) -> None:
            if progress.fraction == 1.0:
                records.write_history(self.folder, progress.history)
            watch(progress)

        status, error = "finished", None
        try:
            training.run(lambda: self._perplexity(model, "valid"), keep)
        except DivergedError as divergence:
            status, error = "diverged", str(divergence)
        metrics = {"diverged_step": training.step} if error else self._measure(model, training)
        return Record(
            **self.blank,
            status=status,
            error=error,
            model={"parameters": sum(p.numel() for p in model.parameters()), **asdict(model.sizes)},
            metrics=metrics,
            timing={
                "train_seconds": training.seconds,
                "tokens_per_second": training.tokens_seen / training.seconds if training.seconds else None,
            },
        )

    def _measure(self, model: LanguageModel, training: Training) -> dict[str, Any]:
        """Save the best weights and measure them on all splits."""
        records.write_atomically(self.folder / records.WEIGHTS, save(training.best))
        model.load_state_dict(training.best)
        splits = {f"{split}_perplexity": self._perplexity(model, split) for split in ("valid", "test", "train")}
        sampled = measure_mc(model, self.config, self.corpus) if self.config.evaluation.mc.samples else {}
        return {**splits, "best_epoch": training.best_epoch, "epochs": len(training.history), **sampled}

    def _perplexity(self, model: LanguageModel, split: str) -> float:
        tokens = getattr(self.corpus, split)[:TRAIN_SAMPLE] if split == "train" else getattr(self.corpus, split)
        nll = stream_nll(model, self.config.plan, tokens, self.config.evaluation)
        if split == "test":  # for the report's bootstrap over the test set
            records.write_atomically(self.folder / TEST_NLL, to_bytes(block_sums(nll)))
        return perplexity(nll)


def measure_mc(model: LanguageModel, config: Config, corpus: Corpus) -> dict[str, Any]:
    """Monte-Carlo perplexities of the valid and test splits, with standard errors and the settings, as metrics."""
    metrics: dict[str, Any] = {"mc": config.evaluation.mc.model_dump()}
    for split in ("valid", "test"):
        masks = generator(config.seed, f"mc {split}", model.embedding.device)
        result = monte_carlo(model, config.plan, getattr(corpus, split), config.evaluation, masks)
        metrics[f"{split}_perplexity_mc"] = result.perplexity
        metrics[f"{split}_perplexity_mc_stderr"] = None if math.isnan(result.standard_error) else result.standard_error
    return metrics


def run(overrides: Sequence[str] = (), watch: Watcher | None = None) -> Record:
    """Compose, run and record: `rnndrop.run(["dropout=variational", "seed=1"])`. Raises RequestError."""
    from rnndrop.compose import compose

    return run_one(compose(overrides), overrides, watch or (lambda progress: None))
