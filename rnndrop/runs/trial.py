"""Models and tasks of the user's own, tried before a sweep starts any run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from rnndrop.config.identity import run_id
from rnndrop.config.schema import Config
from rnndrop.errors import RequestError
from rnndrop.own import is_own, source_hash
from rnndrop.runs.loading import load_corpus
from rnndrop.tasks.base import checked

_tried: set[Any] = set()  # what was tried in this process, and is of use: a decision asks again for each round


def try_own(configs: Iterable[Config]) -> None:
    """Try the models and tasks of these configurations, with their sizes, options and corpus, once each.

    On the CPU, for the machine that starts a sweep may have no GPU; one that is sent to a GPU by name may need it, and
    is tried by its runs alone. So is one whose corpus cannot be had here: that is said by the runs that read it.
    Raises RequestError.
    """
    for config in configs:
        module = config.model.module or ""
        if config.trainer.device not in ("auto", "cpu"):
            continue
        sources = source_hash("task", config.task), source_hash("model", module), source_hash("data", config.data.name)
        # A task of one's own may refuse anything.
        run = run_id(config) if is_own(config.task) else ""
        asked = (*sources, config.task, config.data, config.model, config.trainer.batch_size, run)
        if asked in _tried:
            continue
        try:
            corpus, _ = load_corpus(config.data)
        except RequestError:
            continue
        try:
            checked(config, corpus, torch.device("cpu"))
        except RequestError as error:
            if config.trainer.device == "cpu":
                raise
            said = str(error).rstrip(".")
            raise RequestError(f"{said}. Tried on the CPU: give trainer.device=cuda if it needs a GPU.") from None
        _tried.add(asked)
