"""Committed results: records as tidy CSVs without paths or host names, and back as a frame of runs."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from rnndrop.config.compose import compose
from rnndrop.config.identity import PATHS, canonical, float32_id, former, key_of, of_before, of_identity, run_id
from rnndrop.config.metrics import every
from rnndrop.config.spelling import spelled
from rnndrop.config.tasks import derived, task_of
from rnndrop.errors import RequestError, shorten
from rnndrop.report.frames import SkippedRecordWarning, column_types, finished_first, load_runs
from rnndrop.report.redefined import redefined
from rnndrop.store.records import read_history

SETTINGS = {"train_tokens": "data.train_tokens"}  # columns that are settings: null means all
ENVIRONMENT = {"hardware": "device_name", "threads": "threads", "torch": "torch", "python": "python",
               "rnndrop": "rnndrop"}  # fmt: skip
TIDY = (
    "run_id", "seed", "label", "status", "data", "train_tokens", "model", "dropout", "plan",
    "valid_perplexity", "test_perplexity", "train_perplexity", "valid_perplexity_mc", "test_perplexity_mc",
    "test_perplexity_mc_stderr", "mc", "best_epoch", "epochs", "parameters", "train_seconds", "tokens_per_second",
    "hardware", "device", "threads", "rnndrop", "torch", "python", "git_revision", "git_dirty", "data_sha256",
    "overrides", "settings",
)  # fmt: skip
"""The columns: those of `load_runs()`, where it ran, what was asked for, and `settings`: all of them, but those
that are null and the rules that drop nothing. Defaults are written out, since they may change."""
TEXT = ("run_id", "git_revision", "data_sha256", "torch", "python", "rnndrop", "overrides")  # even all digits, or empty
HISTORY = ("run_id", "seed", "epoch", "train_perplexity", "valid_perplexity")
EVALUATION = (
    "run_id", "seed", "evaluation", "valid_perplexity", "valid_perplexity_stderr", "test_perplexity",
    "test_perplexity_stderr",
)  # fmt: skip
KEY = ["run_id", "seed"]
_SCORES = ["valid_perplexity", "test_perplexity"]


def settled(folders: Sequence[str], path: Path) -> pd.DataFrame:
    """The language models in `folders` that came to an end, each once, for the CSV at `path`.

    A run that has finished in the CSV is not replaced by one that has not, nor by one that came to other scores, which
    a SkippedRecordWarning names; one that has been evaluated further is. Raises RequestError where a folder holds no
    runs, and for a run of two corpora, of which a CSV has one.
    """
    runs = load_runs(*folders)
    runs = runs[(runs["task"] == "language_model") & (runs["status"] != "interrupted")]
    runs = finished_first(runs)
    several = [any(value for key, value in each.items() if key.endswith(".also")) for each in runs["settings"]]
    for folder in runs.loc[several, "folder"]:
        warnings.warn(f"left out {folder}: a CSV has no place for rules in `also`", SkippedRecordWarning, stacklevel=2)
    runs = runs[[not each for each in several]]
    old = _as_text(path) if path.exists() else pd.DataFrame(columns=list(TIDY))
    both = pd.concat([each[[*KEY, "data_sha256"]].astype("string") for each in (old, runs)])
    shas = both[both["data_sha256"].fillna("") != ""].groupby(KEY)["data_sha256"].nunique()
    if twice := [f"{run}/seed-{seed}" for run, seed in shas.index[shas > 1]]:
        raise RequestError(
            f"{shorten(' '.join(twice), 300)}: other data under the same settings. Give each corpus a CSV of its own."
        )
    done = old[old["status"] == "finished"].set_index(KEY)
    kept = [_is_new(row, done) for row in runs.to_dict("records")]
    return runs[pd.Series(kept, runs.index, dtype=bool)]


def _is_new(row: Mapping[Any, Any], done: pd.DataFrame) -> bool:
    """Whether a run goes into a CSV in which those of `done` have finished."""
    if (key := (row["run_id"], str(row["seed"]))) not in done.index:
        return True
    before = done.loc[[key]].iloc[0]
    if row["status"] == "finished" and all(float(before[name]) == row[name] for name in _SCORES):
        return True
    what = "other scores" if row["status"] == "finished" else f"a run that {row['status']}"
    warnings.warn(f"left out {row['folder']}: the CSV has it, and this is {what}", SkippedRecordWarning, stacklevel=3)
    return False


def tidy(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a run of `load_runs()`, in the columns `TIDY`, ordered by run id and seed."""
    defaults = canonical(compose([]).model_dump(mode="json"))
    rows = [_tidy(row, defaults) for row in runs.to_dict("records")]
    table = pd.DataFrame(rows, columns=list(TIDY))
    types = column_types()
    return table.astype({name: types[name] for name in TIDY if types.get(name, "object") != "object"})


def _tidy(row: Mapping[Any, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    settings = row["settings"]
    said = [
        f"{key}={spelled(Path(value).name if value and key in PATHS else value)}"
        for key, value in settings.items()
        if (defaults.get(key) != value if key.startswith("dropout.") else {value, defaults.get(key)} != {None})
    ]
    return {
        **{str(name): value for name, value in row.items() if name in TIDY},
        **{name: settings.get(key) for name, key in SETTINGS.items()},
        **{name: row["environment"].get(key) for name, key in ENVIRONMENT.items()},
        "overrides": shlex.join(map(_without_folder, of_identity(row["overrides"]))),
        "settings": shlex.join(said),
    }


def _without_folder(override: str) -> str:
    """An override without the folder of a user's own file, which is nobody else's."""
    key, _, value = override.partition("=")
    return f"{key}={Path(value).name}" if key_of(override) in PATHS else override


def histories(runs: pd.DataFrame) -> pd.DataFrame:
    """One row an epoch of each run, in the columns `HISTORY`."""
    rows = [
        {name: epoch[name] if name in epoch else row[name] for name in HISTORY}
        for row in runs[[*KEY, "folder"]].to_dict("records")
        for epoch in read_history(Path(row["folder"]))
    ]
    return pd.DataFrame(rows, columns=list(HISTORY))


def write(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV; the runs that it has already and `table` lacks stay in it, to the letter."""
    table = _as_text(StringIO(table.to_csv(index=False)))
    if path.exists():
        old, new = _as_text(path), set(zip(table["run_id"], table["seed"], strict=True))
        others = old[[key not in new for key in zip(old["run_id"], old["seed"], strict=True)]]
        table = pd.concat([others.reindex(columns=table.columns, fill_value=""), table])
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = ["seed", "epoch"] if "epoch" in table else ["seed"]
    order = table.astype(dict.fromkeys(numbers, int)).reset_index(drop=True).sort_values(["run_id", *numbers]).index
    table.iloc[order].to_csv(path, index=False, lineterminator="\n")


def _as_text(source: Path | StringIO) -> pd.DataFrame:
    """The cells of a CSV to the letter, without lines that name no run. Raises RequestError for what is none."""
    try:
        table = pd.read_csv(source, dtype=str, keep_default_na=False)
        return table[(table["run_id"] != "") & (table["seed"] != "")]
    except (ValueError, KeyError):  # pandas' EmptyDataError and ParserError too
        raise RequestError(f"{source} is no table of runs. Those that scripts/collect_results.py writes are.") from None


def read(path: Path) -> pd.DataFrame:
    """A tidy CSV as a frame of runs with the columns and types of `load_runs()`, and those of `TIDY` besides.

    `settings` is whole again, composed from those that were written, and `identity` is the run id that these
    settings have now: the recorded `run_id` came from the program as it was then, which may have had fewer settings.
    `float32_id` is the one that they have in float32. A run of a file of the user's own keeps what was recorded, for
    the file is part of it. Lines without a run, as a spreadsheet leaves them, are none.
    """
    table = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str)).dropna(subset=KEY, ignore_index=True)
    _check_cells(table)
    configs = {text: compose(shlex.split(text)) for text in table["settings"].unique()}
    trees = {text: config.model_dump(mode="json") for text, config in configs.items()}
    whole = {text: (run_id(config), float32_id(config), canonical(trees[text])) for text, config in configs.items()}
    found = [
        (run, run, settings) if any(settings.get(key) for key in PATHS) and not former(run) else (own, other, settings)
        for run, (own, other, settings) in zip(
            table["run_id"], (whole[text] for text in table["settings"]), strict=True
        )
    ]
    types = column_types()
    runs = pd.DataFrame({name: _column(table, name, kind) for name, kind in types.items()})
    scores = ({str(name): value for name, value in row.items()} for row in runs.astype("object").to_dict("records"))
    of = zip(scores, table["settings"], strict=True)
    further = pd.DataFrame([derived(each, trees[text], every()) for each, text in of], runs.index)
    runs = runs.assign(**{str(name): further[name].astype("Float64") for name in further})
    extra = {name: table[name] for name in TIDY if name not in types}
    return runs.assign(
        **extra,
        overrides=pd.Series([shlex.split(text) for text in table["overrides"].fillna("")], dtype=object),
        settings=pd.Series([settings for *_, settings in found], dtype=object),
        identity=[identity for identity, *_ in found],
        of_before=[of_before(run, trees[text]) for run, text in zip(table["run_id"], table["settings"], strict=True)],
        float32_id=[identity for _, identity, _ in found],
        task=pd.Series([task_of(settings).name for *_, settings in found], dtype="string"),
    )


def _check_cells(table: pd.DataFrame) -> None:
    """Raise ValueError where a cell is blank that every run has, or every finished one, and KeyError without column."""
    for name in ("settings", "status", "plan", *_SCORES):
        blank = table[table[name].isna() & ((table["status"] == "finished") | (name not in _SCORES))]
        if len(blank):
            raise ValueError(f"run {blank['run_id'].iloc[0]}, seed {blank['seed'].iloc[0]}, has no {name}")


def collected(path: Path) -> pd.DataFrame:
    """The runs of a tidy CSV with the columns and types of `load_runs()`, under the run ids of today.

    `folder` is FILE.csv/RUN_ID/seed-N, where nothing lies: `epochs` finds the history. Runs whose settings mean
    something else by now are left out, and counted in a SkippedRecordWarning. Raises RequestError.
    """
    if not path.is_file():
        raise RequestError(f"No file {path}.")
    try:
        runs = read(path)
    except (ValueError, TypeError, KeyError) as error:
        what = f"it has no column {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise RequestError(
            f"{path} is no table of runs: {what}.\nThose that scripts/collect_results.py writes are."
        ) from None
    if runs.empty:
        raise RequestError(f"No runs in {path}.")
    old = [redefined(run) is not None for run in runs.to_dict("records")]
    if any(old):
        what = f"{sum(old)} of {len(old)} runs: the meaning of their settings has changed since"
        warnings.warn(f"left out {path}: {what}", SkippedRecordWarning, stacklevel=3)
        runs = runs[[not each for each in old]]
    places = [f"{path}/{run}/seed-{seed}" for run, seed in zip(runs["run_id"], runs["seed"], strict=True)]
    where = [
        {key: row[name] for name, key in ENVIRONMENT.items() if not pd.isna(row[name])}
        for row in runs.to_dict("records")
    ]
    runs = runs.assign(
        run_id=runs["identity"].astype("string"),
        folder=pd.Series(places, index=runs.index, dtype="string[python]"),
        environment=pd.Series(where, index=runs.index, dtype=object),
    )
    return finished_first(runs[::-1]).reset_index(drop=True)[list(column_types())]


def epochs(folder: Path) -> list[dict[str, Any]]:
    """The history of a run of a CSV, by its `folder`; none where it has not been kept beside the CSV."""
    file = folder.parent.parent
    history = file.parent / "history" / file.name
    return _histories(history, history.stat().st_mtime_ns).get((folder.parent.name, folder.name), [])


@lru_cache(maxsize=4)
def _histories(path: Path, changed: int) -> dict[tuple[str, str], list[dict[str, Any]]]:
    table = pd.read_csv(path, dtype={"run_id": str})
    return {
        (str(run), f"seed-{seed}"): [
            {str(name): value for name, value in row.items()} for row in part.to_dict("records")
        ]
        for (run, seed), part in table.groupby(KEY)
    }


def _column(table: pd.DataFrame, name: str, kind: Any) -> pd.Series:
    if name not in table or kind == "object":
        return pd.Series([None] * len(table), dtype=kind if not kind.startswith("datetime") else "object")
    return table[name].astype(kind)
