"""Downloads: bounded in size and time, in memory until they are checked, so that nothing bad reaches the disk."""

from __future__ import annotations

import io
import logging
import tarfile
import time
import urllib.request
import zlib
from collections.abc import Collection
from http.client import HTTPException
from pathlib import PurePosixPath
from urllib.parse import urlsplit

log = logging.getLogger("rnndrop")

LARGEST = 64 * 2**20  # bytes of a download, and of what an archive unpacks to
TOLD_EVERY = 5.0  # seconds between two lines on how far it is
SILENCE = 30.0  # seconds without a byte
LONGEST = 600.0  # seconds in all


class DownloadError(Exception):
    """What was fetched cannot be used; the message says why."""


def fetch(url: str) -> bytes:
    """The content of a page. Raises DownloadError."""
    try:
        with urllib.request.urlopen(url, timeout=SILENCE) as answer:  # follows http, https and ftp alone
            if urlsplit(url).scheme == "https" != urlsplit(answer.url).scheme:
                raise DownloadError(f"it leads to {answer.url}, which is not https")
            log.info("Downloading %s (%s).", url, _size(answer.length) if answer.length else "of unknown size")
            content = _read(answer)
            if answer.length:
                raise DownloadError(f"it ended {answer.length:,} bytes early")
            return content
    except (OSError, HTTPException, ValueError) as error:
        raise DownloadError(str(error) or type(error).__name__) from None


def _read(answer: io.BufferedIOBase) -> bytes:
    parts, size, start = [], 0, time.monotonic()
    told = start
    while part := answer.read1(2**16):  # what one packet brings: a slow server cannot hold us in one call
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise DownloadError(f"it is larger than {LARGEST // 2**20} MiB")
        now = time.monotonic()
        if now - start > LONGEST:
            raise DownloadError(f"it took longer than {LONGEST:.0f} s")
        if now - told > TOLD_EVERY:
            told = now
            log.info("%s so far.", _size(size))
    return b"".join(parts)


def _size(count: int) -> str:
    """Bytes for people: `4.9 MiB`."""
    return f"{count / 2**20:.1f} MiB"


def unpack(archive: bytes, names: Collection[str]) -> dict[str, bytes]:
    """The regular files of a .tar.gz whose last two parts are one of `names`, "folder/file"; in memory.

    Everything else in it, links, devices and paths that climb, is passed over. Raises DownloadError.
    """
    try:
        content = zlib.decompressobj(wbits=31).decompress(archive, LARGEST + 1)
        if len(content) > LARGEST:
            raise DownloadError(f"it unpacks to more than {LARGEST // 2**20} MiB")
        found: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            for member in tar:
                name = "/".join(PurePosixPath(member.name).parts[-2:])
                if name in names and member.isreg() and (file := tar.extractfile(member)) is not None:
                    found[name] = file.read()
    except (zlib.error, tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise DownloadError(f"it is no archive that can be read: {error}") from None
    if missing := sorted(set(names) - found.keys()):
        raise DownloadError(f"it lacks {', '.join(missing)}")
    return found
