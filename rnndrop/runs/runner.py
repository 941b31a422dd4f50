"""One run: configuration → corpus, model, training → record. The one file that sees every part."""

from __future__ import annotations

import hashlib
import logging
import math
import traceback
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load, save

from rnndrop import data
from rnndrop.config.identity import asked, folder_of, owns, relabelled, unmeasured
from rnndrop.config.schema import Config, DataSettings
from rnndrop.config.task import TASKS, bits_per_character
from rnndrop.data import Corpus, Reviews, batching
from rnndrop.data.unk import unk_shares, unk_warning
from rnndrop.errors import RequestError
from rnndrop.evaluation import rmse
from rnndrop.evaluation.modes import measure_cache, measure_dynamic
from rnndrop.evaluation.monte_carlo import monte_carlo
from rnndrop.evaluation.perplexity import perplexity, stream_nll
from rnndrop.models.language_model import LanguageModel, ModelSettings
from rnndrop.models.regressor import Regressor
from rnndrop.ops.allocator import keep_memory
from rnndrop.paths import path_of
from rnndrop.runs import environment
from rnndrop.runs.checkpointer import Keeper
from rnndrop.runs.observers import Tracker
from rnndrop.runs.signals import Interrupted, Stop
from rnndrop.store import checkpoint, heartbeat, records
from rnndrop.store.heartbeat import Heartbeat
from rnndrop.store.nll_blocks import block_sums, to_bytes
from rnndrop.store.progress import Watcher
from rnndrop.store.records import SCHEMA, Record, locked
from rnndrop.training.rating import RatingTraining
from rnndrop.training.trainer import DivergedError, Training

TRAIN_SAMPLE = 100_000  # training tokens on which the final, deterministic train perplexity is measured

log = logging.getLogger("rnndrop")


def run_one(
    config: Config,
    overrides: Sequence[str],
    watch: Watcher = lambda progress: None,
    force: bool = False,
    settled: Collection[str] = ("finished", "diverged"),
    wait: bool = True,
) -> Record:
    """Run `config`, or return its record where that has one of the statuses `settled`; `watch` is told of the progress.

    What `config` asks for beyond the record of a finished run is measured and added to it. An interrupted or killed run
    goes on from its last checkpoint; `force` starts afresh. A failure keeps its traceback in the record. Where another
    process works on the same run: wait for it, or raise BusyError. Torch's threads and precision are afterwards as
    before. Raises RequestError, before anything is written, for a request that cannot be met, and Interrupted after a
    checkpoint.
    """
    folder, owned = folder_of(config), partial(owns, config)
    known = None
    with suppress(records.DamagedRecordError):  # kept aside below
        known = records.own_record(folder, owned)
    answered = not force and known is not None and records.settles(known, settled)
    if answered and known and not unmeasured(config, known) and records.whole(folder) and not checkpoint.paths(folder):
        return _answer(config, folder, known)  # needs neither the corpus nor a folder that can be written
    run = None if answered else _Run(config, overrides, folder)  # a request that cannot be met leaves nothing behind
    records.prepare(folder)
    with locked(folder, wait), environment.computing(config.trainer.precision, config.trainer.threads):
        found = records.own_record_or_aside(folder, owned)
        if not force and found and records.settles(found, settled):
            if found.status == "finished":
                with suppress(RequestError):
                    checkpoint.discard(folder)
                if missing := unmeasured(config, found):
                    return (run or _Run(config, overrides, folder)).measure(_answer(config, folder, found), missing)
            return _answer(config, folder, found)
        if force:
            checkpoint.discard(folder)
        return (run or _Run(config, overrides, folder)).record(watch, found)


def _answer(config: Config, folder: Path, record: Record) -> Record:
    """The record that is there already, and a word about it."""
    heartbeat.bury(folder)
    if record.status == "finished":
        note = relabelled(config, record)
        log.info("%s: already finished%s.", folder, f"; {note}" if note else "")
    return record


@lru_cache(maxsize=2)
def _corpus(settings: DataSettings, stamps: tuple[Any, ...]) -> tuple[Corpus | Reviews, dict[str, Any]]:
    if settings.name in data.REVIEWS:
        reviews = data.load_reviews(settings)
        return reviews, reviews.fingerprint()
    corpus = data.load(settings)
    if warning := unk_warning(corpus.oov_rate):
        log.warning("%s: %s", corpus.name, warning)
    elif shares := unk_shares(corpus.oov_rate):
        log.info("%s: %s", corpus.name, shares)
    return corpus, corpus.fingerprint()


def load_corpus(settings: DataSettings) -> tuple[Corpus | Reviews, dict[str, Any]]:
    """A corpus, or reviews, and the fingerprint, kept for the next run unless the user's files change."""
    paths = [path_of(path) for path in (settings.train, settings.valid, settings.test, settings.file) if path]
    stamps = tuple((path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None for path in paths)
    return _corpus(settings, stamps)


def build(config: Config, corpus: Corpus | Reviews, device: torch.device) -> LanguageModel:
    """The model of a configuration with its initial weights, which depend on the seed alone."""
    settings = ModelSettings(**config.model.model_dump())
    kind = Regressor if isinstance(corpus, Reviews) else LanguageModel
    try:
        model = kind(settings, len(corpus.vocabulary))
    except (RuntimeError, TypeError) as error:  # what torch says of sizes beyond memory, or beyond numbers
        raise RequestError(f"This model does not fit into memory: {str(error).partition(chr(10))[0]}") from None
    trainer = config.trainer
    model.initialize(trainer.init, generator(config.seed, "weights", torch.device("cpu")), trainer.init_by_width)
    return model.to(device)


def train(config: Config, corpus: Corpus | Reviews, model: LanguageModel) -> Training | RatingTraining:
    """The training of a model that `build` made, at its beginning."""
    masks = generator(config.seed, "masks", model.embedding.device)
    if isinstance(corpus, Corpus):
        return Training(model, config.plan, config.trainer, corpus.train, masks)
    assert isinstance(model, Regressor)

    def order(epoch: int) -> torch.Tensor:
        return torch.randperm(count, generator=generator(config.seed, f"order {epoch}", torch.device("cpu")))

    count = len(corpus.train)
    return RatingTraining(model, config.plan, config.trainer, corpus, masks, order)


def generator(seed: int, purpose: str, device: torch.device) -> torch.Generator:
    """A source of random numbers for one purpose, independent of the others."""
    digest = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


class _Run:
    """A run in its folder."""

    def __init__(self, config: Config, overrides: Sequence[str], folder: Path) -> None:
        self.config, self.folder, self.stop = config, folder, Stop()
        keep_memory()
        self.device = environment.device(config.trainer.device)
        environment.check_precision(config.trainer.precision, self.device)
        self.corpus, fingerprint = load_corpus(config.data)
        if isinstance(self.corpus, Corpus):
            batching.check(self.corpus.train, config.trainer.batch_size)
        self.outputs: dict[str, str | bytes] = {}  # the files that belong to the record
        self.shown = True
        self.blank: dict[str, Any] = {
            "schema": SCHEMA,
            "run_id": folder.parent.name,
            "seed": config.seed,
            "overrides": list(overrides),
            "config": config.model_dump(mode="json"),
            "data": fingerprint,
        }

    def record(self, watch: Watcher, found: Record | None) -> Record:
        """Train, measure, and write the record whatever happens; what led up to a finished record is removed.

        `found` is the record that is there. A finished one stays, with its files, until this run has come to its end.
        """
        self.shown = found is None or found.status != "finished"
        tracker = Tracker(self.config.trainer.tensorboard, self.folder)
        try:
            with self.stop.listening(), Heartbeat(self.folder) as beating:
                record = self._train(beating, tracker.watching(watch))
                self._write(record)
        except Interrupted:
            with suppress(records.NotWrittenError, records.UnreadableError):  # the checkpoint is what counts
                self._write(self._record("interrupted"))
            raise
        except (RequestError, records.NotWrittenError):
            raise
        except Exception:
            record = self._record("failed", error=traceback.format_exc())
            self._write(record)
        finally:
            tracker.close()
        if record.status in ("finished", "diverged"):
            with suppress(RequestError):  # the next command for this run tries again
                checkpoint.discard(self.folder)
        return record

    def _config(self) -> str:
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        return str(yaml.dump(self.blank["config"], sort_keys=False, Dumper=dumper))

    def _record(self, status: str, **content: Any) -> Record:
        return Record(**self.blank, environment=environment.describe(self.device), status=status, **content)

    def _write(self, record: Record) -> None:
        try:
            if record.status in ("finished", "diverged"):
                records.write_whole(self.folder, record, self.outputs)
            else:
                records.write_less(self.folder, record)
        except OSError as error:
            raise self._not_written(error) from None

    def _not_written(self, error: OSError) -> records.NotWrittenError:
        return records.NotWrittenError(
            f"Cannot write the results of {self.folder}: {error.strerror}. Mend that, and the same command goes on from"
            " the last checkpoint."
        )

    def _train(self, beating: Heartbeat, watch: Watcher) -> Record:
        config, corpus = self.config, self.corpus
        model = build(config, corpus, self.device)
        training = train(config, corpus, model)
        keeper = Keeper(self.folder, training, config, self.blank["data"]["sha256"], self.stop, self.shown)
        keeper.resume()
        keeper.show(records.CONFIG, self._config())

        status, error = "finished", None
        try:
            training.run(lambda: self._score(model, "valid"), keeper.watcher(beating, watch))
            metrics = self._measure(model, training)
        except DivergedError as divergence:
            status, error, metrics = "diverged", str(divergence), {"diverged_step": training.step}
        except Interrupted:
            keeper.save()
            raise
        self.outputs = {} if error else self.outputs
        self.outputs |= {records.CONFIG: self._config(), records.HISTORY: records.history_text(training.history)}
        return self._record(
            status,
            error=error,
            model={
                "parameters": sum(p.numel() for p in model.parameters()),
                **asdict(model.sizes),
                "paths": training.paths,
            },
            metrics=metrics,
            timing={
                "train_seconds": training.seconds,
                "tokens_per_second": training.tokens_seen / training.seconds if training.seconds else None,
                "resumed_from_steps": keeper.resumed_from,
            },
        )

    def _measure(self, model: LanguageModel, training: Training | RatingTraining) -> dict[str, Any]:
        """Keep the best weights and measure them on all splits."""
        self.outputs[records.WEIGHTS] = save(training.best)
        model.load_state_dict(training.best)
        metric = TASKS[self.config.task].metric
        splits = {f"{split}_{metric}": self._score(model, split) for split in ("valid", "test", "train")}
        with self.stop.anywhere():
            modes = measure_modes(model, self.config, self.corpus, asked(self.config))
        bits = bits_per_character(splits, self.blank["config"])
        return {**splits, **bits, "best_epoch": training.best_epoch, "epochs": len(training.history), **modes}

    def measure(self, record: Record, modes: Collection[str]) -> Record:
        """Add what `modes` come to under this configuration to the record of the finished run."""
        model = trained(self.config, self.folder, record, self.corpus, self.blank["data"], self.device)
        with self.stop.listening(), Heartbeat(self.folder), self.stop.anywhere():
            record.metrics |= measure_modes(model, self.config, self.corpus, modes)
        try:
            records.write_atomically(self.folder / records.RECORD, record.to_json())
        except OSError as error:
            raise self._not_written(error) from None
        return record

    def _score(self, model: LanguageModel, split: str) -> float:
        """The task's metric on a split, deterministic."""
        if isinstance(self.corpus, Reviews):
            assert isinstance(model, Regressor)
            with self.stop.anywhere():
                rated = rmse.deterministic(model, self.config.plan, self.corpus, split, self.config.evaluation)
            return rmse.rmse(rated, self.corpus.split(split).ratings)
        tokens = getattr(self.corpus, split)[:TRAIN_SAMPLE] if split == "train" else getattr(self.corpus, split)
        with self.stop.anywhere():
            nll = stream_nll(model, self.config.plan, tokens, self.config.evaluation)
        if split == "test":  # for the report's bootstrap over the test set
            self.outputs[records.TEST_NLL] = to_bytes(block_sums(nll))
        return perplexity(nll)


def trained(
    config: Config, folder: Path, record: Record, corpus: Corpus | Reviews, facts: dict[str, Any], device: torch.device
) -> LanguageModel:
    """The model of a finished run with its best weights. Raises RequestError where they or the corpus are others."""
    if facts["sha256"] != record.data.get("sha256"):
        raise RequestError(f"The corpus {config.data.name!r} here is not the one that {folder} was trained on.")
    model = build(config, corpus, device)
    try:
        content = records.read_file(folder / records.WEIGHTS)
        if content is None:
            raise RequestError(f"The weights of {folder} are not there.")
        if not record.names(records.WEIGHTS, content):
            raise RequestError(f"The weights in {folder} are not those of its record: damaged, or another run's.")
        model.load_state_dict(load(content))
    except (records.DamagedRecordError, SafetensorError, RuntimeError) as error:
        raise RequestError(f"The weights of {folder} cannot be used: {error}") from None
    return model


def measure_modes(
    model: LanguageModel, config: Config, corpus: Corpus | Reviews, modes: Collection[str]
) -> dict[str, Any]:
    """What `modes` of the evaluation come to, beside deterministic perplexity, as metrics."""
    measures = {"mc": measure_mc, "cache": measure_cache, "dynamic": measure_dynamic}
    if isinstance(corpus, Reviews) and set(modes) - {"mc"}:
        raise RequestError("evaluation=cache and evaluation=dynamic read a stream of text; reviews have none.")
    metrics: dict[str, Any] = {}
    for mode in modes:
        metrics |= measures[mode](model, config, corpus)  # type: ignore[arg-type]
    return metrics


def measure_mc(model: LanguageModel, config: Config, corpus: Corpus | Reviews) -> dict[str, Any]:
    """Monte-Carlo scores of the valid and test splits with standard errors, the settings and the estimator.

    Records without an `estimator` hold the plain mean's score, which is too high by about 1/samples of its variance.
    """
    settings = config.evaluation.mc
    estimator = "jackknife" if settings.samples > 1 else "mean"
    metrics: dict[str, Any] = {"mc": {**settings.model_dump(), "estimator": estimator}}
    for split in ("valid", "test"):
        masks = generator(config.seed, f"mc {split}", model.embedding.device)
        if isinstance(corpus, Reviews):
            assert isinstance(model, Regressor)
            rated = rmse.monte_carlo(model, config.plan, corpus, split, config.evaluation, masks)
            value, error = rmse.of_mean(rated, corpus.split(split).ratings)
        else:
            result = monte_carlo(model, config.plan, getattr(corpus, split), config.evaluation, masks)
            value, error = result.perplexity, result.standard_error
        name = f"{split}_{TASKS[config.task].metric}_mc"
        metrics[name] = value if math.isfinite(value) else None
        metrics[f"{name}_stderr"] = error if math.isfinite(error) else None
    return metrics


def run(overrides: Sequence[str] = (), watch: Watcher | None = None) -> Record:
    """Compose, run and record: `rnndrop.run(["dropout=variational", "seed=1"])`. Raises RequestError."""
    from rnndrop.config.compose import compose

    config = compose(overrides)
    for line in config.without_effect:
        log.warning(line)
    return run_one(config, overrides, watch or (lambda progress: None))
