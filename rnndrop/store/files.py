"""The files of a run folder: written whole or not at all, and read within bounds. A kill leaves the old or the new."""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from rnndrop.errors import RequestError

LARGEST = 1 << 26  # bytes of a file of a run, but for its tensors
_TENSORS = ".safetensors"


class DamagedRecordError(ValueError):
    """A record that was read and is none: truncated, edited by hand, or written by something else."""


class UnreadableError(RequestError):
    """A file of a run that may be whole and cannot be read: another user's, a newer version's, or its disk fails."""

    def __init__(self, path: Path, reason: str | None) -> None:
        super().__init__(
            f"Cannot read {path}: {reason}. The run is left as it is. Make the file readable (check its owner, mode and"
            " file system, or use a newer rnndrop), or give another output=FOLDER."
        )
        self.path, self.reason = path, reason


class NewerError(UnreadableError):
    """A record of a later version of rnndrop."""


def write_atomically(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file that is, whatever happens, either the old one or the whole new one, with the umask's mode.

    `durable`: after a power failure too; costs a wait for the disk.
    """
    temporary = path.with_name(f".{path.name.lstrip('.')}.{secrets.token_hex(4)}")
    try:
        write_new(temporary, content, durable)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def write_new(path: Path, content: str | bytes, durable: bool) -> None:
    """Write a file that is not there yet; `durable`: its content is on the disk, if not yet its name."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # mkstemp would say 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can: without them no file is found."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # may be written to, not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes | None:
    """What is in a file of a run folder, or None where there is none.

    Raises DamagedRecordError where it is a folder, a pipe or a device, or larger than such a file can be (nothing is
    waited for, and no memory filled), and UnreadableError.
    """
    try:
        with open(path, "rb", opener=_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DamagedRecordError("it is not a file")
            start = file.read(8) if path.suffix == _TENSORS else b""
            if status.st_size > ((start and _tensors_end(start, file)) or LARGEST):
                raise DamagedRecordError(f"it is {status.st_size} bytes long, and cannot be")
            return start + file.read()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise UnreadableError(path, "it is a link that leads nowhere") from None
        return None
    except IsADirectoryError:
        raise DamagedRecordError("it is a folder") from None
    except OSError as error:
        raise UnreadableError(path, error.strerror) from None


def tensors_end(content: bytes) -> int | None:
    """How long a file of tensors is by its header; None where it has none."""
    file = io.BytesIO(content)
    return _tensors_end(file.read(8), file)


def _tensors_end(start: bytes, file: BinaryIO) -> int | None:
    """How long a file of tensors is by its header, of which `start` is the length; the file is read on from there."""
    length = int.from_bytes(start, "little")
    try:
        header = json.loads(file.read(length)) if length < LARGEST else {}
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        return len(start) + length + int(max(ends, default=0))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        return None
    finally:
        file.seek(len(start))


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
