"""Is what lies in the folders of runs what was written there? Each file is held to the checksum that its record has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from rnndrop.errors import RequestError
from rnndrop.store import files, records
from rnndrop.store.files import DamagedRecordError, NewerError, UnreadableError
from rnndrop.store.records import set_aside

WITHOUT_WEIGHTS = "its weights are not here"
PRUNED = "pruned in a search"


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a run's folder: it is sound, damaged, unreadable, newer or unfinished, and the reason."""

    folder: str
    state: str
    reason: str = ""


def verdict(path: Path, problem: Callable[[Path], str]) -> Verdict:
    """Of a document beside the runs: `problem` reads it and says what is wrong with it, or nothing."""
    try:
        found = problem(path)
    except DamagedRecordError as error:
        found = str(error)
    except UnreadableError as error:
        return Verdict(str(path), "unreadable", str(error).partition("\n")[0])
    return Verdict(str(path), "damaged" if found else "sound", found)


def audit(output: str | Path) -> Iterator[Verdict]:
    """A verdict for each run below `output`. Raises RequestError where there is none."""
    folders = records.run_folders(output)
    if not folders:
        raise RequestError(f"No runs in {output}. To make some: rnndrop sweep dropout=none,naive,variational")
    aside = (
        Verdict(str(folder), "unfinished", "a removal was interrupted; rnndrop gc finishes it")
        for folder in set_aside(output)
    )
    return chain(map(_verdict, folders), aside)


def _verdict(folder: Path) -> Verdict:
    try:
        record = records.read_record(folder)
        if record is not None and records.pruned(record):
            return Verdict(str(folder), "sound", PRUNED)
        if record is None or record.status == "interrupted":
            return Verdict(str(folder), "unfinished", "to be gone on with" if record else "no record yet")
        if not records.whole(folder):
            return Verdict(str(folder), "unfinished", "its new result is whole, but not in its place: run it again")
        for name in record.files:
            content = files.read_file(folder / name)
            if content is None and name == records.WEIGHTS:  # deleted by `rnndrop gc`, or not brought along
                continue
            if content is None:
                return Verdict(str(folder), "damaged", f"{name} is gone")
            if not record.names(name, content):
                return Verdict(str(folder), "damaged", f"{name} does not have the sha256 that the record names")
    except DamagedRecordError as error:
        return Verdict(str(folder), "damaged", f"{records.RECORD}: {error}")
    except NewerError as error:
        return Verdict(str(folder), "newer", str(error.reason))
    except UnreadableError as error:
        return Verdict(str(folder), "unreadable", str(error).partition("\n")[0])
    if not record.files:
        return Verdict(str(folder), "sound", "it names no checksums: recorded by an older version")
    bare = record.status == "finished" and not (folder / records.WEIGHTS).exists()
    return Verdict(str(folder), "sound", WITHOUT_WEIGHTS if bare else "")
