"""What keeps a training safe in its run folder: checkpoints when they are due, history, a heartbeat, a clean exit."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from rnndrop.config.identity import owner
from rnndrop.config.schema import Config
from rnndrop.errors import RequestError
from rnndrop.runs import environment
from rnndrop.store import checkpoint, files, records
from rnndrop.store.progress import Progress, RunObserver
from rnndrop.training.trainer import Training

PATIENCE = 20.0  # checkpoints by time come no closer than this many times what one takes: they cost 5 % at most

log = logging.getLogger("rnndrop")


class Checkpointer(RunObserver):
    """Keeps the training of `config` in `folder`.

    `data` is the corpus' sha256. `shown`: write the history as it grows; not where the one of a finished run stays.
    """

    def __init__(self, folder: Path, training: Training, config: Config, data: str, shown: bool = True) -> None:
        self.folder, self.training, self.settings = folder, training, config.trainer
        self.owner = owner(config)
        self.circumstances = {"data": data, "device": training.generator.device.type}
        self.shown = shown
        self.resumed_from: list[int] = []
        self.earlier: list[dict[str, Any]] = []  # what was otherwise before each of them
        self.attempt = uuid4().hex  # what goes on from a checkpoint is still this one
        self._saved, self._cost, self._step = time.monotonic(), 0.0, -1

    def resume(self) -> None:
        """Go on from the newest sound checkpoint, if there is one. Raises RequestError where it must not be used."""
        found = checkpoint.load(self.folder, self.owner)
        if found is None:
            return
        if found.facts["data"] != self.circumstances["data"]:
            raise RequestError(
                f"{self.folder}: the data has changed since its checkpoint was made. Restore the old data, or start"
                " again with --force."
            )
        if found.facts["device"] != self.circumstances["device"]:
            raise RequestError(
                f"{self.folder}: its checkpoint was made on {found.facts['device']}, and another device draws other "
                f"random numbers. Go on with trainer.device={found.facts['device']}, or start again with --force."
            )
        if self.settings.threads is None:  # sums depend on how they are divided
            torch.set_num_threads(found.facts["threads"])
        self.training.restore(found)
        self.resumed_from = [*found.facts["resumed_from"], found.step]
        self.earlier = [*found.facts.get("earlier", []), *self._otherwise(found.facts.get("environment", {}))]
        self.attempt = found.facts.get("attempt", self.attempt)
        self._step = found.step
        self._write_history()
        if self.training.finished:
            log.info("%s: trained to its end, at step %d; going on with its evaluation.", self.folder, found.step)
        else:
            log.info("%s: going on from step %d (epoch %d).", self.folder, found.step, len(self.training.history) + 1)

    def _environment(self) -> dict[str, Any]:
        return environment.describe(self.training.generator.device)

    def _otherwise(self, before: dict[str, Any]) -> list[dict[str, Any]]:
        """What of the code and the machine was otherwise for a checkpoint; other code is named in a warning."""
        now = self._environment()
        other = {name: value for name, value in before.items() if value != now.get(name)}
        if code := [f"{name} {value} → {now[name]}" for name, value in other.items() if name in environment.code()]:
            log.warning(
                "%s: the code has changed since its checkpoint (%s); the result may match neither version.",
                self.folder, ", ".join(code),
            )  # fmt: skip
        return [other] if other else []

    def progress(self, progress: Progress) -> None:
        """Take a checkpoint if it is time."""
        seconds = self.settings.checkpoint_seconds
        if seconds is not None and time.monotonic() - self._saved >= max(seconds, PATIENCE * self._cost):
            self.save()

    def evaluated(self, progress: Progress) -> None:
        """Write the history, and take a checkpoint if it is the epoch for one, or time."""
        self._write_history()
        if (epochs := self.settings.checkpoint_epochs) and progress.epoch % epochs == 0:
            self.save()
        else:
            self.progress(progress)

    def save(self) -> None:
        """Take a checkpoint. One that cannot be written is named in a warning, and the one before stays."""
        if self.training.step == self._step and not self._at_epoch_end:
            return
        start = time.monotonic()
        state = self.training.state()
        facts = {
            **state.facts,
            **self.circumstances,
            "owner": self.owner,
            "threads": torch.get_num_threads(),
            "resumed_from": self.resumed_from,
            "earlier": self.earlier,
            "environment": self._environment(),
            "attempt": self.attempt,
        }
        try:
            checkpoint.save(self.folder, checkpoint.Checkpoint(state.step, state.tensors, facts))
            self._step = state.step
        except (OSError, files.UnreadableError) as error:
            reason = error.reason if isinstance(error, files.UnreadableError) else error.strerror
            log.warning(
                "%s: no checkpoint at step %d: %s. Training goes on; the previous checkpoint is kept.",
                self.folder, state.step, reason,
            )  # fmt: skip
        self._saved = time.monotonic()
        self._cost = self._saved - start

    @property
    def _at_epoch_end(self) -> bool:
        return self.training.row == 0

    def _write_history(self) -> None:
        self.show(records.HISTORY, records.history_text(self.training.history))

    def show(self, name: str, text: str) -> None:
        """Write a file of the run ahead of its record, for whoever looks; that it cannot be written is a warning."""
        if not self.shown:
            return
        try:
            files.write_atomically(self.folder / name, text, durable=False)
        except OSError as error:
            log.warning("%s: cannot write %s: %s.", self.folder, name, error.strerror)
