"""Is what lies in the folders of runs what was written there? Each file is held to the checksum that its record has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rnndrop.errors import RequestError
from rnndrop.store import files, records
from rnndrop.store.files import DamagedRecordError, NewerError, UnreadableError


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a run's folder: it is sound, damaged, unreadable, newer or unfinished, and the reason."""

    folder: str
    state: str
    reason: str = ""


def audit(output: str | Path) -> Iterator[Verdict]:
    """A verdict for each run below `output`. Raises RequestError where there is none."""
    folders = records.run_folders(output)
    if not folders:
        raise RequestError(f"No runs in {output}. To make some: rnndrop sweep dropout=none,naive,variational")
    return map(_verdict, folders)


def _verdict(folder: Path) -> Verdict:
    try:
        record = records.read_record(folder)
        if record is None or record.status == "interrupted":
            return Verdict(str(folder), "unfinished", "to be gone on with" if record else "no record yet")
        if not records.whole(folder):
            return Verdict(str(folder), "unfinished", "its new result is whole, but not in its place: run it again")
        for name in record.files:
            content = files.read_file(folder / name)
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
    return Verdict(str(folder), "sound", "" if record.files else "it names no checksums: recorded by an older version")
