"""Runs compared: one row a group of seeds, and its difference from a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rnndrop import stats
from rnndrop.config.metrics import columns, metric_of, mode_of
from rnndrop.config.tasks import task_by_metric
from rnndrop.errors import RequestError, unknown
from rnndrop.report.comparable import alike, once
from rnndrop.report.select import of_task
from rnndrop.report.settings import dropout_labels, equal, show, varying
from rnndrop.store.nll_blocks import read_stretches
from rnndrop.values import Interval

GROUP = ["data_sha256", "run_id"]
MEANS = ["best_epoch", "epochs", "train_seconds", "tokens_per_second"]
FIRSTS = ["data", "model", "plan", "parameters", "floor_perplexity", "floor_perplexity_valid"]
UNFINISHED = ("diverged", "failed", "interrupted")
MODEL = ("model.module", "model.cell", "model.layers", "model.hidden")  # one column says them all: "lstm 2×200"


def compare(
    runs: pd.DataFrame,
    metric: str = "test_perplexity",
    baseline: str | None = None,
    bootstrap: bool = False,
    interval: Interval = "seeds",
    intervals: bool = True,
) -> pd.DataFrame:
    """One row for each corpus and run id, the best `metric` of a corpus first; corpora are never ranked together.

    Where `runs` have a column `row` that tells those of a corpus apart, it names them, and no setting has a column.

    Runs of another task than the metric's are left out, and so are groups of which nothing has finished: they have
    nothing to compare, and must not add columns or lengthen names.

    Columns: `data`, `data_sha256`, `run_id`, `model`, `dropout` (a label that tells the plans apart), `plan`, one
    column for each further setting that varies, `n` finished seeds, how many `diverged`, `failed` or were
    `interrupted`; for each metric its mean over `_n` seeds, `_std` and the bounds `_low` and `_high` of the 95 %
    interval of the mean; `ratio` to the best row of the corpus, where scores are positive. With a `baseline` (a
    dropout label, a run id, or KEY=VALUE of a setting): `baseline`, the run id that a row is compared with, `change`
    (ratio of perplexities - 1, of geometric means over all seeds of both) with `change_low` and `change_high`,
    `difference` of perplexities, `p`, its degrees of freedom `df` (`rnndrop.stats.difference`) and the Holm-corrected
    `p_holm`. Of an `interval` of "text" or "both" these are of the test text, or of seeds and text
    (`difference_with_text`), and the column `interval` says so. With `bootstrap`: `test_low` and `test_high`, the 95 %
    interval that the choice of the test set leaves (and `change_test_low`, `_high`). Without `intervals` the bounds of
    the means are left out, and with them scipy's import.
    """
    if metric not in columns():
        raise unknown("metric", metric, columns())
    measure = metric_of(metric)
    runs, task = of_task(runs, metric), task_by_metric(metric)
    if not (runs["status"] == "finished").any():
        raise RequestError(f"None of these {len(runs)} runs has finished.")
    if measure.of:
        runs = runs[runs[metric].notna().groupby(runs["run_id"]).transform("any")]
        if runs.empty:
            raise RequestError(f"No run here has {metric}: none that has finished has {measure.needs}.")
    if (mode := mode_of(metric)) and runs[metric].isna().all():
        if runs[mode].notna().any():
            raise RequestError(f"No run here has a finite {metric}: all that were measured so diverged.")
        raise RequestError(f"No run here has {metric}. To measure it: {_measuring(mode)}")
    runs = once(alike(placed(runs)))
    usual = [name for name in columns(measure.task) if not metric_of(name).of and mode_of(name) in (None, "mc")]
    metrics = [name for name in columns(measure.task) if name in usual or runs[name].notna().any()]
    table = _groups(runs, metrics, [*MEANS, f"test_{task.metric}_mc_stderr"], intervals)
    table = table[table["n"] > 0]
    labelled = [_add_settings(part) for _, part in table.groupby("data_sha256", sort=False, dropna=False)]
    table = pd.concat(labelled).sort_values(
        ["data", "data_sha256", metric],
        ascending=[True, True, measure.lower_is_better],
        na_position="last",
        ignore_index=True,
    )
    best = table.groupby("data_sha256", dropna=False)[metric].transform("min" if measure.lower_is_better else "max")
    table["ratio"] = (table[metric] / best).where((best > 0) & (table[metric] > 0))
    if baseline is not None:
        table = _add_baseline(table, runs, metric, baseline)
    if interval != "seeds":
        table = _of_text(table, runs, metric, interval)
    if bootstrap:
        table = _add_bootstrap(table, runs)
    return table


def _measuring(mode: str) -> str:
    """The command that measures finished runs in a mode."""
    return f"rnndrop eval --where status=finished {'--mc 100' if mode == 'mc' else f'evaluation={mode}'}"


def placed(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with the corpus of those that failed before they had read it: that of the other seeds."""
    read = runs.dropna(subset=["data_sha256"]).drop_duplicates("run_id").set_index("run_id")["data_sha256"]
    return runs.assign(data_sha256=runs["data_sha256"].fillna(runs["run_id"].map(read)))


def _groups(runs: pd.DataFrame, metrics: Sequence[str], others: Sequence[str], intervals: bool) -> pd.DataFrame:
    """Every group with its counts, means and intervals, whether a run of it finished or not.

    Each metric has a count of its own, since not every seed need have been sampled.
    """
    every = runs.groupby(GROUP, sort=False, dropna=False)
    named = [name for name in ("row",) if name in runs]
    table = every[[*FIRSTS, *named, "dropout", "settings", "overrides"]].first()
    for status in UNFINISHED:
        table[status] = (runs["status"] == status).groupby([runs[key] for key in GROUP], dropna=False).sum()
    done = runs[runs["status"] == "finished"]
    seeds = done.groupby(GROUP, dropna=False)
    columns = [*metrics, *others]
    table["n"] = seeds.size().reindex(table.index, fill_value=0)
    numbers = done[[*GROUP, *columns]].astype(dict.fromkeys(columns, "float64")).groupby(GROUP, dropna=False)
    means, stds, counts = (getattr(numbers[columns], what)().reindex(table.index) for what in ("mean", "std", "count"))
    for name in columns:
        table[name] = means[name]
        if name in metrics:
            table[f"{name}_n"] = counts[name]
            table[f"{name}_std"] = stds[name]
            if intervals:
                margin = stats.t_margin(stds[name], counts[name])
                table[f"{name}_low"], table[f"{name}_high"] = means[name] - margin, means[name] + margin
    return table.reset_index()


def _add_settings(part: pd.DataFrame) -> pd.DataFrame:
    """Label the plans of one corpus, and give each further setting that varies a column of its own."""
    if "row" in part and part["row"].notna().all() and part["row"].is_unique:
        return part.assign(dropout=part["row"])
    settings = list(part["settings"])
    names = varying(settings)
    labels = dropout_labels(settings, list(part["plan"]), list(part["overrides"]), names)
    others = [name for name in names if not name.startswith("dropout.") and name not in MODEL]
    return part.assign(dropout=labels, **{name: [show(each.get(name)) for each in settings] for name in others})


def settings_columns(table: pd.DataFrame) -> list[str]:
    """The columns of a comparison, or of its part for one corpus, that are settings: those that vary there."""
    return [str(name) for name in table if "." in str(name) and table[name].notna().any()]


def context_columns(table: pd.DataFrame) -> list[str]:
    """The columns that tell apart the groups of a corpus besides dropout."""
    return ["model", *settings_columns(table)]


def _add_baseline(table: pd.DataFrame, runs: pd.DataFrame, metric: str, baseline: str) -> pd.DataFrame:
    """Compare every row with the baseline row of its corpus that agrees in everything but what `baseline` names."""
    values = _scores(runs, metric)
    parts = []
    for _, part in table.groupby("data_sha256", sort=False, dropna=False):
        partner = _partners(part, baseline)
        pairs = zip(part["data_sha256"], part["run_id"], partner, strict=True)
        found = [_difference(values, *pair) for pair in pairs]
        part = part.assign(baseline=pd.array(partner, dtype="string"))
        for name in ("df", "change", "change_low", "change_high", "difference", "p"):
            part[name] = [each[name] for each in found]
        part["p_holm"] = stats.holm(part["p"].to_numpy(float))
        parts.append(part)
    joined = pd.concat(parts)
    if joined["baseline"].isna().all():
        raise RequestError(_no_baseline(table, baseline))
    return joined


def _scores(runs: pd.DataFrame, metric: str) -> dict[tuple[Any, str], list[float]]:
    """(corpus, run id) → the metric of each finished run."""
    done = runs[(runs["status"] == "finished") & runs[metric].notna()]
    values: dict[tuple[Any, str], list[float]] = {}
    for sha, run, value in zip(*(done[key] for key in (*GROUP, metric)), strict=True):
        values.setdefault((sha, run), []).append(float(value))
    return values


def _partners(part: pd.DataFrame, baseline: str) -> list[str | None]:
    """The run id of each row's baseline; None where it has none or is the baseline itself."""
    name, _, value = baseline.rpartition("=")
    context = context_columns(part)
    by_id = part["run_id"].str.startswith(baseline).fillna(False)
    if baseline in set(part["dropout"]):  # whatever a table prints, "=" and all
        chosen = part["dropout"] == baseline
    elif part.loc[by_id, "run_id"].nunique() == 1:
        chosen, context = by_id, []
    elif name in ("", "dropout"):
        chosen = part["dropout"] == value
    else:
        chosen = pd.Series([equal(each.get(name), value) for each in part["settings"]], index=part.index)
        part, context = _beside(part, name, value, context)
    keys = [tuple(row) for row in part[context].astype(str).to_numpy()]
    homes = {key: run for key, run, yes in zip(keys, part["run_id"], chosen, strict=True) if yes}
    if len(homes) < chosen.sum():
        raise RequestError(f"--baseline {baseline} is several rows here. Give the run id of one: --baseline RUN.")
    own = [homes.get(key) for key in keys]
    return [run if run != mine else None for run, mine in zip(own, part["run_id"], strict=True)]


def _beside(part: pd.DataFrame, name: str, value: str, context: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """The columns in which rows must agree that differ in the setting `name` alone; `part` with all of them."""
    context = ["dropout", *(column for column in context if column != name)]
    if name.startswith("dropout."):  # the label says it too: in its place all else that the plans are
        own = name.removesuffix("p") if name.endswith(".p") and equal(0.0, value) else name  # nothing has no kind
        others = [key for key in varying(list(part["settings"])) if _of_dropout(key) and not key.startswith(own)]
        context = [*context[1:], *others]
    elif name in MODEL:
        others = [key for key in MODEL if key != name]
        if name == "model.module":  # ours have a cell, one of the user's own has options
            others.remove("model.cell")
            context = [column for column in context if not column.startswith("model.options.")]
        context = [*(column for column in context if column != "model"), *others]
    else:
        return part, context
    return part.assign(**{key: [show(each.get(key)) for each in part["settings"]] for key in others}), context


def _of_dropout(setting: str) -> bool:
    """Whether a setting is a part of what the plan drops, which its name is not."""
    return setting.startswith("dropout.") and setting != "dropout.name"


def _of_text(table: pd.DataFrame, runs: pd.DataFrame, metric: str, interval: Interval) -> pd.DataFrame:
    """The differences anew, the test text being one of many. Raises RequestError where there are none of test NLLs."""
    if metric != "test_perplexity" or "baseline" not in table:
        raise RequestError(f"--interval {interval} needs --baseline, and test_perplexity as the metric.")
    blocks = _blocks(runs)
    found = []
    for sha, run, other in zip(table["data_sha256"], table["run_id"], table["baseline"], strict=True):
        plans = [blocks.get((sha, name), []) for name in (run, other)]
        same = {each[1].tobytes() for plan in plans for each in plan}
        if all(plans) and len(same) == 1:
            own, others = (np.stack([each[0] for each in plan]) for plan in plans)
            counts = plans[0][0][1]
            found.append(_in_ratios(stats.difference_with_text(own, others, counts, seeds=interval == "both")))
        else:
            found.append(dict.fromkeys(("df", "change_low", "change_high", "p"), np.nan))
    names = ("df", "change_low", "change_high", "p")
    table = table.assign(interval=interval, **{name: [each[name] for each in found] for name in names})
    return table.assign(p_holm=table.groupby("data_sha256", dropna=False)["p"].transform(_holm))


def _blocks(runs: pd.DataFrame) -> dict[Any, list[np.ndarray]]:
    """(corpus, run id) → the NLLs of the test text of its finished runs; none where one has them not.

    What they bound would be of other seeds than the score beside it.
    """
    folders = runs[runs["status"] == "finished"].groupby(GROUP, dropna=False)["folder"].agg(list)
    found = {key: [read_stretches(path) for path in paths] for key, paths in folders.items()}
    whole = {key: [each for each in every if each is not None] for key, every in found.items()}
    return {key: every if len(every) == len(found[key]) else [] for key, every in whole.items()}


def _holm(p: pd.Series) -> pd.Series:
    return pd.Series(stats.holm(p.to_numpy(float)), p.index)


def _difference(values: dict[tuple[Any, str], list[float]], sha: Any, run: str, other: str | None) -> dict[str, float]:
    return _in_ratios(stats.difference(values.get((sha, run), []), values.get((sha, other or ""), [])))


def _in_ratios(found: stats.Difference) -> dict[str, float]:
    low, mean, high = np.expm1([found.low, found.log_ratio, found.high])
    return {"df": found.df, "change": mean, "change_low": low, "change_high": high,
            "difference": found.difference, "p": found.p}  # fmt: skip


def _no_baseline(table: pd.DataFrame, baseline: str) -> str:
    labels = list(dict.fromkeys(table["dropout"]))
    if baseline in labels:
        others = [name for name in context_columns(table) if table[name].nunique() > 1]
        others += ["data"] if table["data_sha256"].nunique() > 1 else []
        if not others:
            return f"{baseline} is the only row: there is nothing to compare it with."
        also = f"rows here also differ in {', '.join(others)}. Choose with --where."
        return f"No row differs from {baseline} in its dropout alone: {also}"
    if "=" not in baseline:
        return str(unknown("baseline", baseline, labels[:30]))
    return f"--baseline {baseline}: no row differs in {baseline.partition('=')[0]} alone from a row with {baseline}."


def _add_bootstrap(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The interval that redrawing the stretches of the test set gives each group, its seeds averaged."""
    nlls = _blocks(runs)
    parts = []
    for sha, part in table.groupby("data_sha256", sort=False, dropna=False):
        means: dict[str, np.ndarray] = {}
        counts: np.ndarray | None = None
        for run in part["run_id"]:
            blocks = nlls.get((sha, run), [])
            if blocks and all(each.shape == blocks[0].shape for each in blocks):
                counts = blocks[0][1] if counts is None else counts
                if np.array_equal(counts, blocks[0][1]):
                    means[run] = np.mean([each[0] for each in blocks], axis=0)
        parts.append(_bootstrapped(part, means, counts))
    return pd.concat(parts)


def _bootstrapped(part: pd.DataFrame, means: dict[str, np.ndarray], counts: np.ndarray | None) -> pd.DataFrame:
    draws = {}
    if counts is not None:
        draws = dict(zip(means, stats.bootstrap(np.stack(list(means.values())), counts), strict=True))
    nothing = np.full(1, np.nan)
    low, high = _bounds([np.exp(draws.get(run, nothing)) for run in part["run_id"]])
    part = part.assign(test_low=low, test_high=high)
    if "baseline" in part:
        pairs = zip(part["run_id"], part["baseline"], strict=True)
        change = [np.expm1(draws[a] - draws[b]) if a in draws and b in draws else nothing for a, b in pairs]
        low, high = _bounds(change)
        part = part.assign(change_test_low=low, change_test_high=high)
    return part


def _bounds(draws: Sequence[np.ndarray]) -> tuple[list[float], list[float]]:
    found = [stats.percentiles(each) for each in draws]
    return [float(low) for low, _ in found], [float(high) for _, high in found]
