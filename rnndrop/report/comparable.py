"""Whether runs may be compared: what is not the same in all of them, besides what was asked to vary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from rnndrop.config.identity import is_one_run
from rnndrop.config.metrics import MEASURED
from rnndrop.config.tasks import TASKS
from rnndrop.data.unk import unk_warning
from rnndrop.display.digits import count
from rnndrop.report.frames import column_types

SHOWN = 4  # values of a kind named before "…"
VERSIONS = {"rnndrop", "torch", "numpy", "numba", "git_revision"}  # of an environment, on which numbers may depend


def commonest(values: Sequence[str]) -> str:
    """The value that occurs most often, of equals the first; empty where there are none."""
    return max(dict.fromkeys(values), key=values.count, default="")


def alike(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs whose scores of `MEASURED` may be averaged: of each corpus those that were not measured as most are blank.

    Five samples and a hundred, a mask a pass and a mask a window, or two sizes of a cache make different numbers.
    """
    runs = runs.copy()
    for mode in MEASURED:
        for _, ways in _ways(runs, mode):
            if len(others := ways[ways != commonest(ways.to_list())]):
                runs.loc[others.index, _filled(mode)] = pd.NA
    return runs


def once(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs that may be counted as seeds: of those that are one run under several seeds the first that has finished."""
    return runs[~_again(runs)]


def _again(runs: pd.DataFrame) -> pd.Series:
    """Which runs have finished and only repeat another one (`is_one_run`)."""
    distinct = runs.drop_duplicates("run_id")
    alike = {run for run, own in zip(distinct["run_id"], distinct["settings"], strict=True) if is_one_run(own)}
    done = (runs["status"] == "finished") & runs["run_id"].isin(alike)
    return done & runs[["run_id", "data_sha256"]].where(done).duplicated()


def measured(done: pd.DataFrame) -> list[str]:
    """How the scores were measured that `alike` leaves, of one corpus: `MC: samples=100 masks=pass`, one a mode."""
    return [
        f"{title}: {commonest(ways.to_list())}" for mode, title in MEASURED.items() for _, ways in _ways(done, mode)
    ]


def _filled(mode: str) -> list[str]:
    """The columns that a mode fills."""
    return [name for name in column_types() if f"_{mode}" in name]


def _ways(runs: pd.DataFrame, mode: str) -> Iterable[tuple[object, pd.Series]]:
    """For each corpus, how those of its runs were measured in a mode that were at all."""
    own = runs[runs[_filled(mode)].notna().any(axis=1)]
    return own[mode].fillna("unknown").groupby(own["data_sha256"].fillna(""))


def caveats(runs: pd.DataFrame) -> list[str]:
    """One line for each thing that differs among the runs of a table and bears on the comparison."""
    done = runs[runs["status"] == "finished"]
    revisions = _unique(revision(*pair) for pair in zip(done["git_revision"], done["git_dirty"], strict=True))
    found = {
        "parameters": _counts(sorted(done["parameters"].dropna().unique())),
        "epochs trained": [str(value) for value in sorted(done["epochs"].dropna().unique())],
        "device": _unique(done["device"].dropna()),
        "label": _unique(done["label"].dropna()),
        "code revision": revisions,
        **{name: _unique(own[name] for own in done["environment"] if own.get(name)) for name in ("rnndrop", "torch")},
    }
    lines = [f"not alike: {what} {_some(values)}" for what, values in found.items() if len(values) > 1]
    if again := int(_again(done).sum()):
        lines.append(
            f"counted once: {again} runs that only repeat another one, because every seed they draw from is fixed"
        )
    if mixed := sum(any(VERSIONS & set(each) for each in own.get("earlier", [])) for own in done["environment"]):
        lines.append(f"begun by another version and resumed: {mixed} run{'s' * (mixed > 1)} (environment.earlier)")
    if any("dirty" in each for each in revisions):
        lines.append("dirty: some runs come from a working tree with uncommitted changes")
    return [*lines, *_measured_otherwise(done), *_without_score(done), *_unknown_words(done)]


def _measured_otherwise(done: pd.DataFrame) -> list[str]:
    """What `alike` has blanked."""
    lines = []
    for mode, title in MEASURED.items():
        for _, ways in _ways(done, mode):
            counts = ways.value_counts()
            kept = commonest(ways.to_list())
            if len(others := counts.drop(kept)):
                left = ", ".join(f"{count} with {way}" for way, count in others.items())
                choose = f"(choose with --where {mode}=…)"
                lines.append(f"{title}: only the {counts[kept]} runs with {kept} count; left out: {left} {choose}")
    return lines


def _without_score(done: pd.DataFrame) -> list[str]:
    """How many runs were measured in a mode and came to nothing that a mean could have."""
    lines = []
    for mode, title in MEASURED.items():
        scores = done[[name for name in _filled(mode) if name.startswith("test_")]]
        if lost := int((done[mode].notna() & scores.isna().all(axis=1)).sum()):
            lines.append(f"{title}: left out of the means: {lost} run{'s' * (lost > 1)} without a finite score")
    return lines


def _unknown_words(done: pd.DataFrame) -> list[str]:
    rates = done.loc[
        done["task"].isin([task.name for task in TASKS.values() if task.predicts_tokens]),
        [f"{split}_oov_rate" for split in ("train", "valid", "test")],
    ]
    rows = rates.dropna().drop_duplicates().to_dict("records")
    found = (unk_warning({str(name).removesuffix("_oov_rate"): rate for name, rate in row.items()}) for row in rows)
    return [warning for warning in found if warning]


def revision(commit: object, dirty: object) -> str:
    """A commit in seven digits, marked where the tree had uncommitted changes."""
    if not isinstance(commit, str):
        return "installed"
    return commit[:7] + ("-dirty" if str(dirty) == "True" else "")  # numpy's too, and a CSV may leave it blank


def _counts(numbers: Sequence[float]) -> list[str]:
    """Numbers in short, or in full where that would make two of them alike."""
    short = [count(number) for number in numbers]
    return short if len(set(short)) == len(short) else [f"{number:.0f}" for number in numbers]


def _unique(values: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values))


def _some(values: list[str]) -> str:
    return ", ".join(values[:SHOWN]) + (f", … ({len(values)} values)" if len(values) > SHOWN else "")
