"""Reading text files that a user named, with errors that say what is wrong with which file."""

from __future__ import annotations

import codecs
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rnndrop.errors import RequestError

BLOCK = 1 << 20  # bytes that are read at a time: a corpus may be larger than memory would hold as Python's strings

_MARKS = {b"\xff\xfe": "UTF-16LE", b"\xfe\xff": "UTF-16BE"}
_BYTE_ORDER_MARK = "\ufeff"


def read_lines(path: Path) -> list[str]:
    """The lines of `Text`, without their ends, as a list. Raises `RequestError` as `Text.of` does."""
    return "".join(Text.of(path).blocks()).removesuffix("\n").split("\n")


@dataclass(frozen=True)
class Text:
    r"""A UTF-8 file of `lines` lines, each ended by `\n`, `\r\n`, or `\r` alone; a byte order mark is skipped.

    Nothing else ends a line: `str.splitlines` would also cut at rarer separators, which corpora contain. The text
    stays in the file: `blocks` reads it from there as often as it is asked.
    """

    path: Path
    lines: int
    line_end: str

    @classmethod
    def of(cls, path: Path) -> Text:
        r"""Look through a file once. Raises `RequestError` if it is missing, a folder, unreadable, empty or not UTF-8.

        Where it has no `\n` at all, `\r` ends its lines.
        """
        ends = dict.fromkeys("\n\r", 0)
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise RequestError(f"{path} is a pipe or a device. Write it to a file first: it is read several times.")
        blank, nul, size, odd, last = True, 0, 0, False, ""
        for block in _decoded(path):
            blank = blank and block.isspace()
            if not nul and "\0" in block:
                odd = bool((size + block.index("\0")) % 2)
            nul, size = nul + block.count("\0"), size + len(block)
            last = block[-1]
            for end in ends:
                ends[end] += block.count(end)
        if blank:
            raise RequestError(f"{path} is empty.")
        if 0 < 100 * nul < size:  # of UTF-16 in any script the spaces alone are more
            held = f"{nul} NUL character{'s' * (nul > 1)}"
            take = f"tr -d '\\000' < {shlex.quote(str(path))} > clean.txt"
            raise RequestError(f"{path} holds {held}. Take {'them' if nul > 1 else 'it'} out first: {take}")
        if nul:
            kind = "UTF-16LE" if odd else "UTF-16BE"
            raise RequestError(f"{path} holds NUL characters, as {kind} does. {_convert(path, kind)}")
        end = "\n" if ends["\n"] else "\r"
        return cls(path, ends[end] + (last != end), end)

    def blocks(self) -> Iterator[str]:
        r"""The text in pieces that may end anywhere; `\n` ends each line, the last one too."""
        kept = last = ""  # of `\r\n` the first half may end a block
        for block in _decoded(self.path):
            text = kept + block
            if self.line_end == "\r":
                text = text.replace("\r", "\n")
            kept = "\r" if text.endswith("\r") else ""
            text = text.removesuffix("\r").replace("\r\n", "\n")
            if text:
                yield text
                last = text[-1]
        if kept or last != "\n":
            yield kept + "\n"

    def part(self, first: int, end: int) -> Iterator[str]:
        """The lines from `first` (counted from 0) to before `end`, as `blocks` gives them."""
        line = 0
        for block in self.blocks():
            if line >= end:
                return
            ends = block.count("\n")
            if line + ends >= first:
                start = _after(block, first - line) if line < first else 0
                stop = _after(block, end - line) if line + ends >= end else len(block)
                if start < stop:
                    yield block[start:stop]
            line += ends


def _after(text: str, lines: int) -> int:
    """Where in `text` its first `lines` lines are over."""
    return len(text) - len(text.split("\n", lines)[-1])


def _convert(path: Path, kind: str) -> str:
    return f"Convert it first: iconv -f {kind} -t UTF-8 {shlex.quote(str(path))} > utf8.txt"


def _decoded(path: Path) -> Iterator[str]:
    """The characters of a file but its byte order mark, in blocks that are not empty."""
    if path.is_dir():
        raise RequestError(f"{path} is a folder; a text file is needed.")
    decoder, begun, read = codecs.getincrementaldecoder("utf-8")(), False, 0
    try:
        with path.open("rb") as file:
            more = True
            while more:
                content = file.read(BLOCK)
                more, waiting = bool(content), len(decoder.getstate()[0])
                try:
                    block = decoder.decode(content, final=not more)
                except UnicodeDecodeError as error:
                    raise _not_utf8(path, error, read - waiting) from error
                read += len(content)
                if block and not begun:
                    begun, block = True, block.removeprefix(_BYTE_ORDER_MARK)
                if block:
                    yield block
    except FileNotFoundError as error:
        raise RequestError(f"No file {path} (looked in {path.absolute().parent}).") from error
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from error


def _not_utf8(path: Path, error: UnicodeDecodeError, before: int) -> RequestError:
    """What to say of an error in bytes that `before` others precede."""
    at, mark = before + error.start, error.object[:2]
    advice = f" {_convert(path, _MARKS[mark])}" if at == 0 and mark in _MARKS else ""
    return RequestError(f"{path} is not UTF-8: {error.reason} at byte {at}.{advice}")
