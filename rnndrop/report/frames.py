"""Records as a pandas frame: one row a run."""

from __future__ import annotations

import gc
import logging
import os
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from rnndrop.config.identity import Rules, canonical, canonical_rules, former, length_counted_twice, of_before
from rnndrop.config.metrics import MEASURED, columns, every, mode_of
from rnndrop.config.tasks import derived, task_of
from rnndrop.errors import RequestError
from rnndrop.paths import OUTPUT
from rnndrop.report.redefined import redefined
from rnndrop.report.settings import plan_text, show
from rnndrop.store.files import DamagedRecordError, UnreadableError
from rnndrop.store.heartbeat import HEARTBEAT
from rnndrop.store.ownership import run_id_of
from rnndrop.store.pieces import Pieces
from rnndrop.store.records import RECORD, Record, best, may_be_there, read_record, run_folders, unlike

log = logging.getLogger("rnndrop")

_RUN = {
    "run_id": "string",  # what the run computes, whatever its seed
    "seed": "Int64",
    "task": "string",  # language_model | sentiment | the user's own by its import path
    "label": "string",  # what it was made for, as "gal_medium-small"
    "status": "string",  # finished | diverged | failed | interrupted
    "data": "string",
    "model": "string",  # as "lstm 2×200"
    "dropout": "string",  # name of the dropout group
    "plan": "string",  # its rules in words
}
_REST = {
    **dict.fromkeys(MEASURED, "string"),  # how those of a mode were measured: "samples=100 masks=pass embedding=false"
    "best_epoch": "Int64",
    "epochs": "Int64",  # that were trained
    "floor_perplexity": "Float64",  # of the source itself, on test
    "floor_perplexity_valid": "Float64",
    "train_oov_rate": "Float64",  # the share of <unk> among the tokens
    "valid_oov_rate": "Float64",
    "test_oov_rate": "Float64",
    "parameters": "Int64",
    "train_seconds": "Float64",
    "tokens_per_second": "Float64",
    "data_sha256": "string",  # missing where a run failed before it had read its data
    "device": "string",
    "git_revision": "string",
    "git_dirty": "boolean",
    "written": "datetime64[ns, UTC]",  # when the record was
    "error": "string",
    "folder": "string",
    "overrides": "object",  # list of what the run was started with
    "settings": "object",  # dict: dotted name → value; one object for all seeds of a run id
    "environment": "object",  # dict: versions, host, device
}


def column_types() -> dict[str, str]:
    """The columns of `load_runs()` and their types: what a run is, its scores (`rnndrop.config.metrics`), the rest."""
    scores = {
        each: "Float64"
        for name in columns()
        for each in ([name, f"{name}_stderr"] if mode_of(name) == "mc" else [name])
    }
    return _RUN | scores | _REST


_OF_ONE_RUN = ("seed", "output", "label")


class SkippedRecordWarning(UserWarning):
    """A record was left out; the message names it and says why."""


def load_runs(path: str | Path = OUTPUT, *more: str | Path) -> pd.DataFrame:
    """One row for each run and seed below `path` and `more`, with the columns and types of `column_types()`.

    A path may also be a CSV that scripts/collect_results.py has written; a run that a folder has too is the folder's,
    if it has finished there. Copies of a record count once; where they differ, one is used (`records.best`) and the
    others are left out. What is left out, a damaged or foreign record, one of another schema, or one whose settings
    mean something else by now (`redefined`), is named in a SkippedRecordWarning. Raises RequestError where there is no
    record at all, or in one of several folders nothing to read.
    """
    if files := [Path(each) for each in (path, *more) if is_file_of_runs(each)]:
        return _with_files([each for each in (path, *more) if not is_file_of_runs(each)], files)
    runs, known, skipped = _Runs(), Pieces(), 0
    with _no_garbage_collection():  # ten thousand parsed records are all kept: looking for garbage doubles the time
        for folder, depth in _folders([path, *more]):
            try:
                record = read_record(folder, known)
                if record is not None:
                    runs.add(record, folder, depth)
            except (DamagedRecordError, UnreadableError) as error:
                skipped += 1
                reason = f"cannot be read: {error.reason}" if isinstance(error, UnreadableError) else error
                warnings.warn(f"left out {folder / RECORD}: {reason}", SkippedRecordWarning, stacklevel=2)
        if runs.outdated:
            first, *others = runs.outdated
            many = f" and {len(others)} more" if others else ""
            warnings.warn(
                f"left out {first}{many}: the meaning of their settings has changed since",
                SkippedRecordWarning, stacklevel=2,
            )  # fmt: skip
        rows = runs.chosen()
        if not rows:
            where = " ".join(map(str, [path, *more]))
            what = f"No readable run in {where}" if skipped or runs.outdated else f"No runs in {where}"
            raise RequestError(f"{what}. To make some: rnndrop sweep dropout=none,naive,variational")
        for used, other, parts in runs.contradictions:
            warnings.warn(
                f"left out {other}: it is not the same as {used} ({', '.join(parts)})",
                SkippedRecordWarning, stacklevel=2,
            )  # fmt: skip
        return pd.DataFrame({name: _column(rows, name, kind) for name, kind in column_types().items()})


def is_file_of_runs(path: str | Path) -> bool:
    """Whether a path is to be read as a CSV of runs, and not as a folder of them."""
    return Path(path).suffix == ".csv" and not Path(path).is_dir()


def _with_files(folders: Sequence[str | Path], files: Sequence[Path]) -> pd.DataFrame:
    from rnndrop.report.committed import collected

    parts = [load_runs(*folders)] if folders else []
    parts += [collected(file) for file in files]
    return finished_first(pd.concat(parts, ignore_index=True)).reset_index(drop=True)


def finished_first(runs: pd.DataFrame) -> pd.DataFrame:
    """Each corpus, run id and seed once, by index: the first that has finished, or the first where none has.

    A run that failed before it had read its corpus is of that of its namesakes.
    """
    key = ["run_id", "seed"]
    corpus = runs["data_sha256"].fillna(runs.groupby(key)["data_sha256"].transform("first"))
    order = (runs["status"] != "finished").sort_values(kind="stable").index
    copies = runs[key].assign(corpus=corpus).loc[order].duplicated()
    return runs[~copies.reindex(runs.index)].sort_index()


def _folders(roots: list[str | Path]) -> list[tuple[Path, int]]:
    """The runs below some folders, each once and with how deep it lies, in the order that one folder would give."""
    if len(roots) == 1:
        return [(each, len(each.parts)) for each in _below(roots[0])]
    found: dict[Path, tuple[str, Path]] = {}
    for root in roots:
        below = _below(root)
        if not below:
            raise RequestError(f"No runs in {root}.")
        for each in below:
            found.setdefault(each.resolve(), (str(each.relative_to(root)), each))
    return [(folder, name.count(os.sep)) for name, folder in sorted(found.values())]


def _below(root: str | Path) -> list[Path]:
    """The runs below a folder that have a record; it may be that of a run. How many were begun beside them is said."""
    found: list[Path] = []
    others: list[Path] = []
    for folder in run_folders(root):
        (found if may_be_there(f"{folder}/{RECORD}") else others).append(folder)
    if begun := sum(os.path.lexists(f"{folder}/{HEARTBEAT}") for folder in others):
        runs = "run has no record yet: it is" if begun == 1 else "runs have no record yet: they are"
        log.warning("%d %s running, or killed (rnndrop watch %s --once).", begun, runs, shlex.quote(str(root)))
    return found or [Path(root)] * may_be_there(f"{root}/{RECORD}")


@dataclass(frozen=True)
class _Copy:
    """A record where it was found; `number` counts them."""

    number: int
    row: dict[str, Any]
    record: Record
    folder: Path
    depth: int


class _Runs:
    """The rows by corpus, run id and seed: however often a record lies in a folder, it counts once."""

    def __init__(self) -> None:
        self.contradictions: list[tuple[Path, Path, list[str]]] = []
        self.outdated: list[Path] = []
        self._numbers = [name for name, kind in column_types().items() if kind in ("Int64", "Float64")]
        self._copies: dict[tuple[str, int], dict[str | None, list[_Copy]]] = {}
        self._count = count()
        self._plans: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {}
        self._rules: dict[tuple[int, Any], tuple[Any, Rules]] = {}

    def add(self, record: Record, folder: Path, depth: int) -> None:
        """Raises DamagedRecordError where a part of the record is missing or of another type."""
        run_id, settings, plan = self._plan(record)
        rules = settings.get("dropout.token.schedule"), *(settings.get("dropout.token.also") or ())
        drawn = any("uniform" in str(each) for each in rules)
        old = former(record.run_id) and redefined({"run_id": record.run_id, "settings": settings})
        if old or ((drawn or length_counted_twice(settings)) and of_before(record.run_id, record.config)):
            self.outdated.append(folder)
            return
        row = _row(record, folder, run_id, settings, plan, self._numbers)
        copies = self._copies.setdefault((row["run_id"], record.seed), {})
        copies.setdefault(row["data_sha256"], []).append(_Copy(next(self._count), row, record, folder, depth))

    def chosen(self) -> list[dict[str, Any]]:
        """The rows that count, in the order of the folders of their records: sums depend on it."""
        used: list[_Copy] = []
        for by_corpus in self._copies.values():
            unread = by_corpus.pop(None, []) if len(by_corpus) > 1 else []  # failed before they had read a corpus
            for copies in by_corpus.values():
                chosen = copies[best([(each.record, each.folder, each.depth) for each in copies])]
                used.append(chosen)
                for each in copies + unread:
                    if each.record != chosen.record:
                        self.contradictions.append((chosen.folder, each.folder, unlike(chosen.record, each.record)))
                unread = []
        return [each.row for each in sorted(used, key=lambda each: each.number)]

    def _plan(self, record: Record) -> tuple[str, dict[str, Any], str]:
        """Run id, settings and plan in words, worked out once for the seeds of a configuration."""
        try:
            config = {**record.config, **dict.fromkeys(_OF_ONE_RUN)}
            if record.run_id not in self._plans or self._plans[record.run_id][0] != config:
                settings = _with_sources(canonical(config, self._known_rules(config)), record)
                self._plans[record.run_id] = config, settings, plan_text(settings), run_id_of(record)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DamagedRecordError(f"not a record of a run: {type(error).__name__} {error}") from None
        shared, settings, plan, run = self._plans[record.run_id]
        # One copy for all seeds: most of what is read is then let go, which saves the time to fetch new memory too.
        record.config = shared | {name: record.config[name] for name in _OF_ONE_RUN if name in record.config}
        return run, settings, plan

    def _known_rules(self, config: dict[str, Any]) -> Rules:
        """Worked out once for the configurations that share, as objects of `Pieces`, what their dropout is."""
        dropout, layers = config.get("dropout"), config.get("model", {}).get("layers")
        if (key := (id(dropout), layers)) not in self._rules:
            self._rules[key] = dropout, canonical_rules(config)  # `dropout` is kept: no other has its id meanwhile
        return self._rules[key][1]


_CALENDAR = 9.2e9  # seconds from 1970 that pandas can count: until 2261


def _column(rows: list[dict[str, Any]], name: str, kind: Any) -> pd.Series:
    values = [row.get(name) for row in rows]
    if kind.startswith("datetime"):
        known = [value if value is not None and abs(value) < _CALENDAR else None for value in values]
        return pd.Series(pd.to_datetime(pd.Series(known), unit="s", utc=True).astype(kind))
    if name == "folder":  # which need be no text, and Arrow refuses it then
        kind = "string[python]"
    return pd.Series(values, dtype=kind)


def _corpus(record: Record) -> str:
    """The name of a run's corpus: a fingerprint of the user's own need not have one. Raises KeyError."""
    if record.status == "finished":
        _ = record.data["sha256"]  # without one it is no record of ours
    return str(record.data.get("name") or record.config["data"]["name"])


def _row(
    record: Record, folder: Path, run_id: str, settings: dict[str, Any], plan: str, numbers: Sequence[str]
) -> dict[str, Any]:
    """Raises DamagedRecordError where a part is missing or of another type."""
    try:
        row = {
            **derived(record.metrics, record.config, every()),
            **record.metrics,
            **record.timing,
            "run_id": run_id,
            "seed": record.seed,
            "task": task_of(record.config).name,
            "label": record.config.get("label"),
            "status": record.status,
            # a run that failed before it could begin has seen no data: the settings say which it was to be
            "data": _corpus(record),
            "model": f"{_cell(record, settings)} {settings['model.layers']}×{settings['model.hidden']}",
            "dropout": settings["dropout.name"],
            "plan": plan,
            **{mode: how(own) if (own := record.metrics.get(mode)) else None for mode in MEASURED},
            **{f"{split}_oov_rate": rate for split, rate in record.data.get("oov_rate", {}).items()},
            "parameters": record.model.get("parameters"),
            "floor_perplexity": record.data.get("floor_perplexity"),
            "floor_perplexity_valid": record.data.get("floor_perplexity_valid"),
            "data_sha256": record.data.get("sha256"),
            "device": record.environment.get("device"),
            "git_revision": record.environment.get("git_revision"),
            "git_dirty": record.environment.get("git_dirty"),
            "written": os.stat(f"{folder}/{RECORD}").st_mtime,  # noqa: PTH116 (ten thousand Paths take a while)
            "error": record.error,
            "folder": str(folder),
            "overrides": record.overrides,
            "settings": settings,
            "environment": record.environment,
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedRecordError(f"not a record of a run: {type(error).__name__} {error}") from None
    except OSError as error:  # it has gone in the meantime
        raise UnreadableError(folder / RECORD, error.strerror) from None
    for name in numbers:
        if (value := row.get(name)) is not None and type(value) not in (int, float):
            raise DamagedRecordError(f"not a record of a run: {name} is {value!r}")
    return row


def how(settings: Mapping[str, Any]) -> str:
    """How a mode was measured, as `samples=100 masks=pass`; what it found of each run, a `value`, is no part of it."""
    return " ".join(f"{name}={show(value)}" for name, value in settings.items() if name != "value")


def _with_sources(settings: dict[str, Any], record: Record) -> dict[str, Any]:
    """The settings with the task, the corpus and the noises of the user's own as `_cell` names a cell."""
    parts = (record.model.get("task"), record.data.get("source"), *(record.model.get("noises") or ()))
    marked = {own["name"]: f"{own['name']}@{own['sha256'][:7]}" for own in parts if own}
    if not marked:
        return settings

    def of(key: str, value: Any) -> Any:
        if key in ("task", "data.name") or key.endswith(".noise"):
            return marked.get(value, value)
        if key.endswith(".also"):
            return tuple(" ".join(marked.get(word, word) for word in rule.split(" ")) for rule in value)
        return value

    return {key: of(key, value) for key, value in settings.items()}


def _cell(record: Record, settings: dict[str, Any]) -> str:
    """The cell or the module; of the user's own with the start of its source's sha256: another source is another."""
    part = "cell" if settings["model.module"] is None else "module"
    source = (record.model.get(part) or {}).get("sha256")
    return f"{settings[f'model.{part}']}{f'@{source[:7]}' if source else ''}"


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.freeze()
            gc.unfreeze()  # what was kept is old, without a search: the next one would take as long as reading
            gc.enable()
