"""JSON documents beside the runs of an output folder, `OUTPUT/FOLDER/<id>.json`: decisions and searches."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from rnndrop.display.foreign import cleaned
from rnndrop.errors import NotWrittenError
from rnndrop.store import files, records
from rnndrop.store.files import DamagedRecordError, UnreadableError

Document = TypeVar("Document")


def parsed(text: str, adapter: TypeAdapter[Document], schema: int, what: str) -> Document:
    """The document that a text holds; `schema` is the newest that is known, `what` a word for it.

    Raises DamagedRecordError.
    """
    try:
        content = cleaned(json.loads(text))
        if isinstance(content, dict) and isinstance(content.get("schema"), int) and content["schema"] > schema:
            raise DamagedRecordError(f"a newer rnndrop has written it (schema {content['schema']})")
        return adapter.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedRecordError(f"not a whole {what}: {where}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise DamagedRecordError(f"not a whole {what}: {error}") from None


def paths(output: str | Path, folder: str) -> list[Path]:
    """The documents in a folder of an output folder, in a fixed order; most have none."""
    return sorted((Path(output) / folder).glob("[!.]*.json"))


def read(path: Path) -> str | None:
    """The text of a document, None where there is none. Raises DamagedRecordError and UnreadableError."""
    content = files.read_file(path)
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError as error:
        raise DamagedRecordError(str(error)) from None


def write(path: Path, text: str) -> None:
    """Write a document, unless that is what the file holds. Raises RequestError where it cannot be written."""
    with suppress(DamagedRecordError, UnreadableError):  # what is there now tells
        if files.read_file(path) == text.encode():
            return
    records.prepare(path.parent)
    try:
        files.write_atomically(path, text)
    except OSError as error:
        raise NotWrittenError(
            f"Cannot write {path}: {error.strerror}. The runs are kept; the same command writes it."
        ) from None
