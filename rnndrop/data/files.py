"""Reading text files that a user named, with errors that say what is wrong with which file."""

from __future__ import annotations

import shlex
from pathlib import Path

from rnndrop.errors import RequestError

_MARKS = {b"\xff\xfe": "UTF-16LE", b"\xfe\xff": "UTF-16BE"}


def read_lines(path: Path) -> list[str]:
    r"""The lines of a UTF-8 file, without their ends (`\n`, `\r\n`, or `\r` alone); a byte order mark is skipped.

    Nothing else ends a line: `str.splitlines` would also cut at rarer separators, which corpora contain.
    Raises `RequestError` for a file that is missing, a folder, unreadable, empty or not UTF-8.
    """
    text = _decoded(path).removeprefix("\ufeff")
    if not text.strip():
        raise RequestError(f"{path} is empty.")
    if "\0" in text:
        kind = "UTF-16BE" if text.startswith("\0") else "UTF-16LE"
        raise RequestError(f"{path} holds NUL characters, as {kind} does. {_convert(path, kind)}")
    text = text.replace("\r\n", "\n")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return text.removesuffix("\n").split("\n")


def _convert(path: Path, kind: str) -> str:
    return f"Convert it first: iconv -f {kind} -t UTF-8 {shlex.quote(str(path))} > utf8.txt"


def _decoded(path: Path) -> str:
    if path.is_dir():
        raise RequestError(f"{path} is a folder; a text file is needed.")
    start = b""
    try:
        content = path.read_bytes()
        start = content[:2]
        return content.decode("utf-8")
    except FileNotFoundError as error:
        raise RequestError(f"No file {path} (looked in {path.absolute().parent}).") from error
    except UnicodeDecodeError as error:
        advice = f" {_convert(path, _MARKS[start])}" if start in _MARKS else ""
        raise RequestError(f"{path} is not UTF-8: {error.reason} at byte {error.start}.{advice}") from error
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from error
