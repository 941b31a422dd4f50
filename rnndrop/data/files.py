"""Reading text files that a user named, with errors that say what is wrong with which file."""

from __future__ import annotations

from pathlib import Path

from rnndrop.errors import RequestError


def read_lines(path: Path) -> list[str]:
    r"""The lines of a UTF-8 file, without their ends (`\n` or `\r\n`); a byte order mark is skipped.

    Only line feeds end a line: `str.splitlines` would also cut at rarer separators, which corpora contain.
    Raises `RequestError` for a file that is missing, a folder, unreadable, empty or not UTF-8.
    """
    text = _decoded(path).removeprefix("\ufeff")
    if not text.strip():
        raise RequestError(f"{path} is empty.")
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _decoded(path: Path) -> str:
    if path.is_dir():
        raise RequestError(f"{path} is a folder; a text file is needed.")
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise RequestError(f"No file {path} (looked in {path.absolute().parent}).") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8: {error.reason} at byte {error.start}.") from error
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from error
