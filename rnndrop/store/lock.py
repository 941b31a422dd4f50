"""One process at a time: the lock that a file stands for, on file systems with locks of their own and on those without.

The system frees its lock (flock) when the holder dies, however that comes about, and the file then names the holder.
Where there is none (some NFS, Lustre and FUSE mounts) a second file is the lock, which only one process can create. A
crash leaves that one behind, and nobody but a person can tell: the messages name it. Either kind respects the other,
since hosts may mount one file system in different ways.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rnndrop.errors import RequestError

HELD = ".held"  # added to the name of a lock: the file that stands for it where the system has none
EVERY = 0.2  # seconds between two tries
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_told: set[object] = set()  # what this process has said already

log = logging.getLogger("rnndrop")


class BusyError(RuntimeError):
    """Another process holds the lock; the message says what is known of it."""


class GoneError(RequestError):
    """What the lock was for has been removed, or another has taken its place."""


@contextmanager
def held(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold the lock that the file `path` stands for; yields whether the system keeps it.

    Where another process holds it: wait, or raise BusyError. Raises RequestError where the file cannot be used, and
    GoneError where its folder is not there any more.
    """
    lock = _acquire(path, wait)
    try:
        yield lock.instead is None
    finally:
        lock.release()


@dataclass(frozen=True)
class _Lock:
    descriptor: int
    instead: Path | None  # the file that is the lock where the system has none

    def release(self) -> None:
        with suppress(OSError):
            if self.instead:
                self.instead.unlink()
            else:
                os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)


def _acquire(path: Path, wait: bool) -> _Lock:
    while True:
        try:
            return _try(path)
        except FileNotFoundError:
            raise GoneError(f"Cannot lock {path}: its folder has been removed.") from None
        except OSError as error:
            raise RequestError(f"Cannot lock {path}: {error.strerror}.") from None
        except BusyError as error:
            if not wait:
                raise
            _say_once(str(error), f"{error}: waiting for it.")
            time.sleep(EVERY)


def _try(path: Path) -> _Lock:
    """Take the lock now, or raise BusyError."""
    instead = path.with_name(path.name + HELD)
    descriptor = _open(path)
    try:
        if _system_locks(descriptor, path):
            if not os.path.samestat(os.fstat(descriptor), os.lstat(path)):  # moved away, with its folder, before that
                raise FileNotFoundError
            _sign(descriptor)
            if os.path.lexists(instead):
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
                raise _busy(instead)
            return _Lock(descriptor, None)
        _create(instead)
        if os.fstat(descriptor).st_size:  # a host on which the system locks is at work
            instead.unlink()
            raise _busy(path)
        return _Lock(descriptor, instead)
    except BaseException:
        os.close(descriptor)
        raise


def _open(path: Path) -> int:
    """The file of a lock, created with the umask's mode. Of another user's it is enough that it can be read."""
    plain = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    problem: OSError | None = None
    for flags in (os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        try:
            return os.open(path, flags | plain, 0o666)
        except (FileNotFoundError, PermissionError) as error:
            problem = error
    assert problem is not None
    raise problem


def _system_locks(descriptor: int, path: Path) -> bool:
    """Have the system lock the file; False where it cannot. Raises BusyError where another process has locked it."""
    busy = BusyError(f"Another process works on {path.parent}")
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            raise busy from None
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise busy from None
        if error.errno not in _NO_LOCKS:
            raise
        device = os.fstat(descriptor).st_dev
        _say_once(
            device,
            f"This file system has no file locks ({error.strerror}). A file {path.name}{HELD} marks a folder in which "
            "a process is working; if that process crashes, remove the file.",
        )
        return False
    return True


def _sign(descriptor: int) -> None:
    """Say in the file who holds the lock, for hosts on which it cannot be locked."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _name())
        os.fsync(descriptor)


def _create(instead: Path) -> None:
    try:
        descriptor = os.open(instead, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        raise _busy(instead) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(_name())


def _busy(path: Path) -> BusyError:
    """`path` says that another process is at work, and the system does not know whether it still is."""
    holder = ""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
        finally:
            os.close(descriptor)
    message = (
        f"{path} says that another process ({holder}) is working there. Remove that file if that process has crashed"
    )
    _say_once(message, f"{message}.")
    return BusyError(message)


def _name() -> bytes:
    return f"{platform.node()}, process {os.getpid()}\n".encode(errors="replace")


def _say_once(key: object, message: str) -> None:
    if key not in _told:
        _told.add(key)
        log.warning("%s", message)
