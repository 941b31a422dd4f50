"""The decisions of a folder beside its comparison: lines for people, a column for programs."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from rnndrop.decisions.document import Decision, paths, read
from rnndrop.decisions.words import sentences
from rnndrop.store.files import DamagedRecordError, UnreadableError

COLUMN = "decisions"

log = logging.getLogger("rnndrop")


def decisions(folders: Iterable[str | Path], runs: pd.DataFrame) -> list[Decision]:
    """The decisions in folders, all of whose contestants are among these runs; one that cannot be read is named.

    One that several folders have counts once, after the most looks.
    """
    files = [file for folder in folders for file in paths(folder)]
    there = set(runs["run_id"]) if files else set()
    found: dict[str, Decision] = {}
    for file in files:
        try:
            decision = read(file)
        except (DamagedRecordError, UnreadableError) as problem:
            log.warning("left out %s: %s", file, str(problem).partition("\n")[0])
            continue
        if decision and all(entry.run_id in there for entry in decision.contestants):
            earlier = found.get(decision.id)
            if earlier is None or len(earlier.looks) < len(decision.looks):
                found[decision.id] = decision
    return list(found.values())


def lines(found: list[Decision]) -> list[str]:
    """What each decision says, below a table."""
    return [f"decided: {line}" for decision in found for line in sentences(decision)]


def with_decisions(table: pd.DataFrame, found: list[Decision]) -> pd.DataFrame:
    """The comparison with a column of what was decided of each row; the same where nothing was."""
    if not found:
        return table
    words: dict[str, list[str]] = {}
    for decision in found:
        for entry in decision.contestants:
            words.setdefault(entry.run_id, []).append(sentences(decision)[0])
    return table.assign(**{COLUMN: ["; ".join(words.get(run, [])) for run in table["run_id"]]})
