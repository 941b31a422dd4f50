"""The command on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.conftest import Command


def on_a_terminal(
    rnndrop: Command,
    arguments: list[str],
    columns: int = 200,
    lines: int = 50,
    stdout: Path | None = None,
    **environment: str,
) -> tuple[int, bytes]:
    """The exit code of a command whose standard streams are a terminal, and what it wrote to it; `stdout`: a file."""
    leader, follower = pty.openpty()
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read() -> bytes:
        said = b""
        with suppress(OSError):  # the other end is closed
            while part := os.read(leader, 2**16):
                said += part
        return said

    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(read)
        try:
            streams = dict.fromkeys((0, 1, 2), os.ttyname(follower))
            if stdout:
                stdout.touch()
                streams[1] = str(stdout)
            done = rnndrop(*arguments, streams=streams, **{"COLUMNS": "", "LINES": "", "TERM": "xterm", **environment})
        finally:
            os.close(follower)
    os.close(leader)
    return done.returncode, said.result()
