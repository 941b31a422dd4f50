"""Search for rates with Optuna: each trial is an ordinary run, so nothing of a search is lost either.

All trials have one seed. Its valid score of the best trial is too good by the choice, so a search shows no test score;
`fresh` names the runs that measure the settings.

The study is an SQLite file in the output folder. Trials that were interrupted or killed are given again, and their
runs go on from their checkpoints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnndrop.config.compose import compose, sweeps
from rnndrop.config.tasks import TASKS, TaskSpec, score
from rnndrop.errors import RequestError
from rnndrop.extras import need
from rnndrop.runs.signals import Interrupted
from rnndrop.store.lock import BusyError, held
from rnndrop.store.progress import Observers, Progress, RunObserver
from rnndrop.store.records import PRUNED, Record, prepare

if TYPE_CHECKING:
    from optuna import Study, Trial

DATABASE = "tune.db"
STEP = 0.01  # of an interval, unless it is narrow: runs that differ less are not worth two trainings
CHECKED = 2000  # points of a search that are checked before it starts
_REQUEUED = "requeued"
NOT_SEARCHED = {
    "seed": "the best of several seeds is the luckiest; give one, and measure what it chose with others",
    "task": "their scores have no common ranking",
    "data": "scores on different data have no common ranking",
}


class Pruned(Interrupted):
    """A trial whose valid score is worse than that of half of the others at the same epoch."""

    reason = PRUNED


@dataclass(frozen=True)
class Space:
    """What is fixed and what is searched: a tuple (low, high) is an interval, a list is a choice."""

    fixed: list[str]
    searched: dict[str, tuple[float, float] | list[Any]]
    task: TaskSpec

    @property
    def name(self) -> str:
        """Names the study by what it searches, so that the same request goes on with it."""
        return hashlib.sha256(json.dumps([sorted(self.fixed), self.searched], sort_keys=True).encode()).hexdigest()[:8]


def space(overrides: Sequence[str]) -> Space:
    """Part overrides into fixed ones and ranges. Raises RequestError where there is nothing to search."""
    fixed, searched = sweeps(overrides)
    for key, why in NOT_SEARCHED.items():
        if key in searched:
            raise RequestError(f"{key} cannot be searched: {why}.")
    if not searched:
        raise RequestError("Nothing to search: give a range, as dropout.recurrent.p='interval(0,0.7)' or =0.1,0.3,0.5.")
    for point in islice(_points(searched), CHECKED):
        compose([*fixed, *point])
    middle = compose([*fixed, *(f"{key}={_middle(values)}" for key, values in searched.items())])
    return Space(fixed, searched, TASKS[middle.task])


def fresh(overrides: Sequence[str]) -> list[str]:
    """The overrides of the runs that measure what a search chose with one seed: the same with three others."""
    seed = compose(overrides).seed
    others = [each for each in overrides if each.lstrip("+").partition("=")[0] != "seed"]
    return [*others, f"seed=range({seed + 1},{seed + 4})"]


def _points(searched: dict[str, tuple[float, float] | list[Any]]) -> Iterator[list[str]]:
    """Every combination of the choices, with each interval at its ends and at a fraction between them."""
    for part in (0.0, 0.618, 1.0):
        ranges = [[of[0] + part * (of[1] - of[0])] if isinstance(of, tuple) else of for of in searched.values()]
        for values in product(*ranges):
            yield [f"{key}={value}" for key, value in zip(searched, values, strict=True)]


def _middle(values: tuple[float, float] | list[Any]) -> Any:
    return (values[0] + values[1]) / 2 if isinstance(values, tuple) else values[0]


def tune(
    request: Space, trials: int, display: Callable[[int, Record | None, dict[str, Any]], None], observer: RunObserver
) -> Study:
    """Search until there are `trials` finished or pruned trials; tell `display` of each. Returns Optuna's study."""
    optuna = need("optuna", "tune", "`rnndrop tune`")
    config = compose([*request.fixed, *(f"{key}={_middle(values)}" for key, values in request.searched.items())])
    output = Path(config.output)
    prepare(output)
    with _alone(output / f"{DATABASE}.lock"):
        with _readable(optuna, output / DATABASE):
            study = _study(optuna, output, request.name)
            _requeue(study, optuna.trial.TrialState)
            over = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
            left = trials - len(study.get_trials(deepcopy=False, states=over))

        def objective(trial: Trial) -> float:
            return _run_trial(optuna, request, trial, display, observer)

        if left > 0:
            study.optimize(objective, n_trials=left)
    return study


@contextmanager
def _readable(optuna: Any, path: Path) -> Iterator[None]:
    """Within, what is wrong with the file of a search is a RequestError."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.OptunaError, ValueError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise RequestError(
            f"The searches in {path} cannot be read: {reason}. Move that file away, and the same command starts a new"
            " search; the runs that have finished are used again."
        ) from None


def _study(optuna: Any, output: Path, name: str) -> Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what ends a trial is said once, by us
    (output / DATABASE).touch()  # with the umask's mode: SQLite would let nobody else write
    storage = f"sqlite:///{(output / DATABASE).absolute()}"
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
    study: Study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True, pruner=pruner)
    # Another seed each time: otherwise the first trials of a resumed search would be those of its beginning.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    return study


def _requeue(study: Study, states: Any) -> None:
    """Give trials again that were interrupted (FAIL) or killed (RUNNING), each once."""
    requeued = set(study.user_attrs.get(_REQUEUED, []))
    for trial in study.get_trials(states=(states.RUNNING, states.FAIL)):
        if trial.state == states.RUNNING:
            study.tell(trial.number, state=states.FAIL)
        params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}  # the first: given again already
        if params and trial.number not in requeued:
            study.enqueue_trial(params)
            requeued.add(trial.number)
    study.set_user_attr(_REQUEUED, sorted(requeued))


def _run_trial(optuna: Any, request: Space, trial: Trial, display: Any, observer: RunObserver) -> float:
    from rnndrop.runs.runner import run_one

    overrides = [*request.fixed, *(f"{key}={_suggest(trial, key, of)}" for key, of in request.searched.items())]

    try:
        record = run_one(compose(overrides), overrides, Observers([observer, _Pruning(trial)]))
    except Pruned:
        display(trial.number, None, trial.params)
        raise optuna.TrialPruned from None
    display(trial.number, record, trial.params)
    if record.status != "finished":
        raise optuna.TrialPruned(record.status)
    trial.set_user_attr("run", f"{record.run_id}/seed-{record.seed}")
    trial.set_user_attr("overrides", overrides)
    return score(record.metrics, "valid")


class _Pruning(RunObserver):
    """Reports each epoch's valid score to the trial, and leaves where the others were better by then."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    def evaluated(self, progress: Progress) -> None:
        reported = self.trial.storage.get_trial(self.trial._trial_id).intermediate_values
        for row in progress.history:
            if row["epoch"] not in reported:
                self.trial.report(score(row, "valid"), row["epoch"])
        if progress.epoch < progress.epochs and self.trial.should_prune():
            raise Pruned


def _suggest(trial: Trial, key: str, values: tuple[float, float] | list[Any]) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(key, values)
    low, high = values
    step = STEP if high - low >= 10 * STEP else None
    return round(trial.suggest_float(key, low, high, step=step), 6)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    try:
        with held(path):
            yield
    except BusyError as error:
        raise RequestError(f"{error}. Wait for it, or give output=….") from None
