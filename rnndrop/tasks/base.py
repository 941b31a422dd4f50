"""What a task is to the rest of the program: its data, its model, a step of its training, its scores."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from rnndrop import data
from rnndrop.config.corpora import corpus_named
from rnndrop.config.identity import asked, later
from rnndrop.config.schema import Config, DataSettings
from rnndrop.config.tasks import SETTING, TASKS, derived, own_task, task_spec
from rnndrop.errors import RequestError
from rnndrop.evaluation import reading
from rnndrop.models.encoder import Encoder, ModelSettings
from rnndrop.own import is_own, raised, source_of
from rnndrop.stats import Estimate
from rnndrop.store.record_schema import check_part
from rnndrop.training.seeding import generator
from rnndrop.training.trainer import Steps, Training, number


class Data(Protocol):
    """What every corpus has."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def vocabulary(self) -> list[str]:
        """Its types, by their ids."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """What the record says of it; `sha256` tells whether two runs saw the same."""
        ...


class Scored(NamedTuple):
    """A split's score, and where it is a mean over tokens what each cost: -ln p (N,) in nats."""

    value: float
    nll: np.ndarray | None = None


D = TypeVar("D", bound=Data)
M = TypeVar("M", bound=Encoder)


class Task(ABC, Generic[D, M]):
    """One task. Its row in `rnndrop.config.tasks.TASKS` has what displays and reports need of it.

    `modes` are the ways to evaluate besides Monte Carlo, by their group below `evaluation`: each takes the model, the
    configuration and the data, and returns its settings and the task's score on the splits. One of the user's own has
    no row: `name` is its import path, `source` the sha256 of its file, and of the settings that a language model alone
    acts on it `takes` some.
    """

    name: str
    source: str = ""
    takes: ClassVar[Collection[str]] = ()
    modes: ClassVar[Mapping[str, Callable[..., tuple[dict[str, Any], dict[str, float]]]]] = {}

    def load(self, settings: DataSettings) -> D:
        """The data that `settings` describe. Raises RequestError."""
        found: D = data.load(settings)
        return found

    def check(self, data: D, config: Config, device: torch.device) -> None:
        """Raise RequestError where the data cannot be trained on under `config`, on `device`."""

    @abstractmethod
    def model(self, settings: ModelSettings, data: D) -> M:
        """The model, its weights not yet drawn."""

    @abstractmethod
    def steps(self, model: M, config: Config, data: D, masks: torch.Generator) -> Steps:
        """The steps of its training; `masks` draws what is random in them."""

    @abstractmethod
    def few(self, data: D, config: Config, steps: int) -> D:
        """The same data with so many steps of training, about: enough to time one."""

    @abstractmethod
    def score(self, model: M, config: Config, data: D, split: str) -> Scored:
        """The task's score on a split, deterministic."""

    @abstractmethod
    def sampled(self, model: M, config: Config, data: D, split: str, masks: torch.Generator) -> Estimate:
        """Its Monte-Carlo estimate on a split, with masks that `masks` draws."""

    # What follows is the same for every task.

    @property
    def metric(self) -> str:
        """The name of its score."""
        return task_spec(self.name).metric

    def build(self, config: Config, data: D, device: torch.device) -> M:
        """The model of a configuration with its initial weights, which depend on the seed alone."""
        try:
            with refusing(SETTING, self.name, bool(self.source)):
                model = self.model(ModelSettings(**config.model.model_dump()), data)
        except (RuntimeError, TypeError) as error:  # what torch says of sizes beyond memory, or beyond numbers
            raise RequestError(f"This model does not fit into memory: {str(error).partition(chr(10))[0]}") from None
        trainer = config.trainer
        model.initialize(
            trainer.init, generator(config.seed_of("init"), "weights", torch.device("cpu")), trainer.init_by_width
        )
        model = model.to(device)
        model.hold(config.twin_plan)
        return model

    def training(self, config: Config, data: D, model: M) -> Training:
        """The training of a model that `build` made, at its beginning."""
        masks = generator(config.seed_of("masks"), "masks", model.device)
        steps = self.steps(model, config, data, masks)
        return Training(model, config.plan, config.trainer, steps, masks, self.metric)

    def scores(self, values: Mapping[str, float], config: Config) -> dict[str, float]:
        """The metrics of a record: its score on each split, and what follows from that."""
        metrics = {f"{split}_{self.metric}": value for split, value in values.items()}
        return metrics | derived(metrics, config.model_dump(mode="json"))

    def check_modes(self, modes: Iterable[str]) -> None:
        """Raise RequestError for a way of evaluating that the task has not."""
        for mode in modes:
            if mode != "mc" and mode not in self.modes:
                raise RequestError(f"evaluation={mode} has no meaning for task={self.name}.")

    def measure(self, model: M, config: Config, data: D, modes: Collection[str]) -> dict[str, Any]:
        """What `modes` of the evaluation come to, as metrics. Raises RequestError for one that the task has not."""
        self.check_modes(modes)
        metrics: dict[str, Any] = {}
        for mode in modes:
            if mode == "mc":
                metrics |= self.monte_carlo(model, config, data)
                continue
            with reading.named(mode):
                metrics[mode], scores = self.modes[mode](model, config, data)
            for split, value in scores.items():
                metrics[f"{split}_{self.metric}_{mode}"] = _finite(value, f"the {mode} score of {split}")
        try:
            check_part(json.dumps({"metrics": metrics}, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise RequestError(f"{SETTING}={self.name}: what it measures fits no record: {error}.") from None
        return metrics

    def monte_carlo(self, model: M, config: Config, data: D) -> dict[str, Any]:
        """Monte-Carlo scores of the valid and test splits with standard errors, the settings and the estimator.

        Records without an `estimator` hold the plain mean's score, which is too high by about 1/samples of its
        variance.
        """
        settings = config.evaluation.mc
        named = {name: value for name, value in settings.model_dump().items() if later("mc").get(name) != value}
        estimator = "jackknife" if settings.samples > 1 else "mean"
        metrics: dict[str, Any] = {"mc": {**named, "estimator": estimator}}
        for split in ("valid", "test"):
            masks = generator(config.seed_of("masks"), f"mc {split}", model.device)
            with reading.named(f"mc {split}"):
                value, error = self.sampled(model, config, data, split, masks)
            name = f"{split}_{self.metric}_mc"
            metrics[name] = _finite(value, f"the Monte-Carlo score of {split}")
            metrics[f"{name}_stderr"] = _finite(error, f"the standard error of {split}")
        return metrics


def _finite(value: Any, what: str) -> float | None:
    """A score as a record has it: None where it is not finite. Raises TypeError."""
    plain = number(value, what)
    return plain if math.isfinite(plain) else None


@contextmanager
def refusing(setting: str, name: str, own: bool) -> Iterator[None]:
    """Within, what the user's `own` code raises is a RequestError, in one line that says where."""
    try:
        yield
    except (RequestError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        if not own:
            raise
        raise raised(setting, name, source_of(setting, name), error) from None


def task_named(name: str) -> Task[Any, Any]:
    """The task of that name in `rnndrop.config.tasks.TASKS`, or of the user's own. Raises RequestError."""
    found: Task[Any, Any]
    if not is_own(name):
        found = import_module(TASKS[name].module).TASK
        return found
    made, file, source = own_task(name)
    try:
        found = made()
    except Exception as error:
        raise raised(SETTING, name, file, error) from None
    found.name, found.source = name, source
    return found


def checked(config: Config, data: Any, device: torch.device) -> Task[Any, Any]:
    """The task of a configuration, which has found nothing against the data. Raises RequestError.

    One of the user's own makes its model once: what raises there is said in one line, and before anything is written.
    """
    task, made = task_named(config.task), None
    task.check_modes(asked(config))
    with refusing(SETTING, task.name, bool(task.source)):
        task.check(data, config, device)
        if task.source and config.model.module is None:
            made = task.model(ModelSettings(**config.model.model_dump()), data)
    if made is not None and not isinstance(made, Encoder):
        raise RequestError(
            f"{SETTING}={task.name}: its model() returns a {type(made).__name__}, no rnndrop.models.encoder.Encoder."
        )
    if type(task).load not in (Task.load, type(task_of_corpus(config.data)).load):
        raise RequestError(
            f"{SETTING}={task.name}: its load() is not asked for data={config.data.name}, which is read as the task of"
            " that corpus reads it. Name a CorpusSpec of your own that says task=… and loads it."
        )
    return task


def task_of_corpus(settings: DataSettings) -> Task[Any, Any]:
    """The task that a corpus is of. Raises RequestError where there is no such corpus."""
    return task_named(corpus_named(settings.name).task)
