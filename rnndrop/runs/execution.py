"""One run in its folder: corpus, model, training, scores, record. The one file that sees every part."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save

from rnndrop.config.cells import cell_named
from rnndrop.config.identity import asked, recorded, untracked
from rnndrop.config.schema import Config, own_code
from rnndrop.dropout.noises import noise_named
from rnndrop.dropout.plan import own_noises
from rnndrop.errors import NotWrittenError, RequestError
from rnndrop.evaluation.reading import heard, named
from rnndrop.models.encoder import Encoder
from rnndrop.models.own import OwnModel
from rnndrop.ops.allocator import keep_memory, out_of_memory
from rnndrop.own import described
from rnndrop.runs import environment
from rnndrop.runs.checkpointer import Checkpointer
from rnndrop.runs.loading import load_corpus, trained
from rnndrop.runs.pruning import Pruned
from rnndrop.runs.signals import Interrupted, Stop
from rnndrop.store import checkpoint, files, records
from rnndrop.store.heartbeat import Heartbeat
from rnndrop.store.nll_blocks import block_sums, to_bytes
from rnndrop.store.progress import Observers, Outline, RunObserver
from rnndrop.store.record_schema import check_record
from rnndrop.store.records import SCHEMA, Record
from rnndrop.tasks.base import checked
from rnndrop.trackers.observer import Tracked
from rnndrop.training.trainer import DivergedError, Training, number


class Execution:
    """A run in its folder: trained, measured, recorded."""

    def __init__(self, config: Config, overrides: Sequence[str], folder: Path) -> None:
        self.config, self.folder, self.stop = config, folder, Stop()
        environment.code()
        environment.fix_workspaces(config.trainer)
        keep_memory()
        own_code(config)
        self.device = environment.device(config.trainer.device)
        environment.check_precision(config.trainer.precision, self.device, config.model.cell)
        self.corpus, fingerprint = load_corpus(config.data)
        self.task = checked(config, self.corpus, self.device)
        self.outputs: dict[str, str | bytes] = {}  # the files that belong to the record
        self.shown = True
        self.earlier: list[dict[str, Any]] = []
        self.blank: dict[str, Any] = {
            "schema": SCHEMA,
            "run_id": folder.parent.name,
            "seed": config.seed,
            "overrides": untracked(overrides),
            "config": recorded(config),
            "data": fingerprint,
        }

    def record(self, observer: RunObserver, found: Record | None, shared: bool = False) -> Record:
        """Train, measure, and write the record whatever happens; what led up to a finished record is removed.

        `shared`: others may compute on the same GPU; that it has too little memory then is raised, and not recorded.
        `found` is the record that is there. One that names its files stays, with these, until this run has come to its
        end.
        """
        self.shown = found is None or not (found.files or found.status == "finished")
        tracked, written = Tracked(self.config, self.folder), None
        every = Observers([tracked, observer])  # a mistake of the observer's is not the run's
        try:
            with self.stop.listening(), Heartbeat(self.folder, self.blank["overrides"]) as beating:
                written = self._write(self._train(beating, every, tracked))
        except Pruned as stop:
            written = self._write(self._record("interrupted", metrics=stop.metrics))
        except Interrupted:
            with suppress(NotWrittenError, files.UnreadableError):  # the checkpoint is what counts
                written = self._write(self._record("interrupted"))
            raise
        except (RequestError, NotWrittenError):
            raise
        except Exception as error:
            if shared and out_of_memory(error):
                raise
            written = self._write(self._record("failed", error=traceback.format_exc()))
        finally:
            if written is not None and written.status in ("finished", "diverged"):
                with suppress(RequestError):  # the next command for this run tries again
                    checkpoint.discard(self.folder)
            every.ended(written)
        return written

    def _config(self) -> str:
        return records.config_text(self.blank["config"])

    def _record(self, status: str, **content: Any) -> Record:
        earlier = {"earlier": self.earlier} if self.earlier else {}
        found = {**environment.describe(self.device), **earlier}
        return Record(**self.blank, environment=found, status=status, **content)

    def _write(self, record: Record) -> Record:
        try:
            if record.status in ("finished", "diverged"):
                check_record(record.to_json())  # what the user's code has put there too
                records.write_whole(self.folder, record, self.outputs)
            else:
                records.write_less(self.folder, record)
        except OSError as error:
            raise self._not_written(error) from None
        return record

    def _not_written(self, error: OSError) -> NotWrittenError:
        return NotWrittenError(
            f"Cannot write the results of {self.folder}: {error.strerror}. Once that is fixed, the same command goes"
            " on from the last checkpoint."
        )

    def _train(self, beating: Heartbeat, observer: RunObserver, tracked: Tracked) -> Record:
        model = self.task.build(self.config, self.corpus, self.device)
        training = self.task.training(self.config, self.corpus, model)
        keeper = Checkpointer(self.folder, training, self.config, self.blank["data"]["sha256"], self.shown)
        keeper.resume()
        self.earlier = keeper.earlier
        keeper.show(records.CONFIG, self._config())
        tracked.begin(keeper.attempt, training.history)

        status, error = "finished", None
        every = Observers([beating, keeper, observer, self.stop])
        try:
            every.started(Outline(self.blank["data"], _parameters(model), environment.machine(self.device)))
            training.run(lambda: self._score(model, "valid"), every)
            with heard(every.measuring):
                metrics = self._measure(model, training)
        except DivergedError as divergence:
            status, error, metrics = "diverged", str(divergence), {"diverged_step": training.step}
        except Interrupted:
            keeper.save()
            raise
        self.outputs = {} if error else self.outputs
        self.outputs |= {records.CONFIG: self._config(), records.HISTORY: records.history_text(training.history)}
        noises = own_noises(self.config.twin_plan)
        return self._record(
            status,
            error=error,
            model={
                "parameters": _parameters(model),
                **({"task": described(self.task.name, self.task.source)} if self.task.source else {}),
                **self._made_of(model),
                "paths": training.paths,
                **({"noises": [described(name, noise_named(name).source) for name in noises]} if noises else {}),
                **({"learned": learned} if (learned := model.learned(self.config.twin_plan)) else {}),
            },
            metrics=metrics,
            timing={
                "train_seconds": training.seconds,
                "tokens_per_second": training.tokens_seen / training.seconds if training.seconds else None,
                "resumed_from_steps": keeper.resumed_from,
            },
        )

    def _made_of(self, model: Encoder) -> dict[str, Any]:
        """The widths of a model, and what of it is the user's own."""
        if isinstance(model, OwnModel):
            return {"vocabulary": model.sizes.vocabulary, "module": described(model.name, model.source)}
        cell = cell_named(self.config.model.cell)
        return {**asdict(model.sizes), **({"cell": described(cell.name, cell.source)} if cell.source else {})}

    def _measure(self, model: Encoder, training: Training) -> dict[str, Any]:
        """Keep the best weights, unless that is not wanted, and measure them on all splits."""
        if self.config.trainer.keep_weights:
            self.outputs[records.WEIGHTS] = save(training.best)
        model.load_state_dict(training.best)
        values = {}
        for split in ("valid", "test", "train"):
            with named(split):
                values[split] = self._score(model, split)
        training.check(values)
        scores = self.task.scores(values, self.config)
        with self.stop.anywhere():
            modes = self.task.measure(model, self.config, self.corpus, asked(self.config))
        return {**scores, "best_epoch": training.best_epoch, "epochs": len(training.history), **modes}

    def measure(self, record: Record, modes: Collection[str], observer: RunObserver) -> Record:
        """Add what `modes` come to under this configuration to the record of the finished run."""
        model = trained(self.config, self.folder, record, self.corpus, self.blank["data"], self.device)
        listening, beating = self.stop.listening(), Heartbeat(self.folder)
        with listening, beating, self.stop.anywhere(), heard(Observers([beating, observer]).measuring):
            record.metrics |= self.task.measure(model, self.config, self.corpus, modes)
        try:
            files.write_atomically(self.folder / records.RECORD, record.to_json())
        except OSError as error:
            raise self._not_written(error) from None
        return record

    def _score(self, model: Encoder, split: str) -> float:
        """The task's score on a split, deterministic."""
        with self.stop.anywhere():
            scored = self.task.score(model, self.config, self.corpus, split)
        if split == "test" and scored.nll is not None:  # for the report's bootstrap over the test set
            self.outputs[records.TEST_NLL] = to_bytes(block_sums(scored.nll))
        return number(scored.value, f"the score of {split}")


def _parameters(model: Encoder) -> int:
    return sum(weights.numel() for weights in model.parameters())
