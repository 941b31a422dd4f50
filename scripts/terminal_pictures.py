"""Draw what a terminal shows of real commands: `python scripts/terminal_pictures.py [NAME …]`.

Each command runs in a pseudo-terminal of 80 and of 120 columns, in a folder of its own, and its screen is written to
`docs/images/terminal/NAME-COLUMNS.svg`. Without names all are drawn, which takes some minutes: the runs are real, and
their numbers are those of the machine at that time.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import ioctl
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import pyte

IMAGES = Path(__file__).parents[1] / "docs" / "images" / "terminal"
pyte.graphics.TEXT |= {2: "+blink"}  # dim, which it does not know, in place of what nobody uses
CELL, LINE, PAD = 8.4, 18, 12  # pixels
FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
DARK = {
    "back": "#1e1e1e", "default": "#d4d4d4", "black": "#5a5a5a", "red": "#f14c4c", "green": "#23d18b",
    "brown": "#e5e510", "blue": "#3b8eea", "magenta": "#d670d6", "cyan": "#29b8db", "white": "#e5e5e5",
}  # fmt: skip
LIGHT = {
    "back": "#ffffff", "default": "#333333", "black": "#000000", "red": "#cd3131", "green": "#107c10",
    "brown": "#7a6100", "blue": "#0451a5", "magenta": "#bc05bc", "cyan": "#0a7083", "white": "#555555",
}  # fmt: skip


SMALL = "model.hidden=64 data.train_tokens=20000"


@dataclass(frozen=True)
class Picture:
    """What is typed at 80 columns and at 120, and the words on the screen at which it is drawn; without, at its end."""

    commands: tuple[str, str]
    until: tuple[str, str] = ("", "")
    stop: bool = False  # with Ctrl-C, once it is drawn: it would go on for ever
    beside: tuple[str, str] = ("", "")  # a command that is at work meanwhile
    height: int = 90  # lines: so many that nothing scrolls, unless what is shown depends on it


PICTURES = {
    "help": Picture(("rnndrop -h", "rnndrop report -h")),
    "run": Picture(
        (f"rnndrop run dropout=variational {SMALL}", f"rnndrop run dropout=awd {SMALL}"),
        until=(r"epoch +5/6 ━.*left", ""),
    ),
    "sweep": Picture(
        (f"rnndrop sweep dropout=none,naive,variational 'seed=range(3)' --jobs 2 {SMALL}",
         f"rnndrop sweep dropout=none,naive,variational,awd 'seed=range(3)' --jobs 2 {SMALL}"),
        until=(r" [4-9]\d%  .*left",) * 2,
    ),
    "report": Picture(("rnndrop report --baseline none",) * 2),
    "decide": Picture((f"rnndrop decide dropout=naive,none --max-seeds 6 --jobs 2 {SMALL}",
                       f"rnndrop decide dropout=awd,none --max-seeds 6 --jobs 2 {SMALL}")),
    "watch": Picture(
        ("rnndrop watch",) * 2,
        until=(r"running +\w+/\d+ .* [2-6]/6 .*left|running +\w+/\d+ .* [2-6]/6 .* 0:",) * 2,
        stop=True,
        beside=(f"rnndrop sweep dropout=locked,zoneout --jobs 2 {SMALL}",
                f"rnndrop sweep dropout=locked,zoneout 'seed=range(3)' --jobs 2 {SMALL}"),
        height=24,
    ),
}  # fmt: skip


def capture(
    command: str, columns: int, height: int, where: Path, until: str = "", stop: bool = False
) -> list[list[Any]]:
    """The screen of a command at its end, or at the first moment at which it shows `until`: cells by line."""
    screen = pyte.Screen(columns, height)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {command}\r\n".encode())
    child, terminal = pty.fork()
    if not child:
        time.sleep(0.2)  # until the terminal has its size
        _become(command, where)
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, columns, 0, 0))
    lines: list[list[Any]] = []
    looked = 0.0
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # the command has ended
            break
        stream.feed(data)
        if until and not lines and time.monotonic() > looked + 0.1:
            looked = time.monotonic()
            if not re.search(until, "\n".join(screen.display[1:])):
                continue
            lines = _cells(screen)
            if stop:
                os.kill(child, signal.SIGINT)
    os.waitpid(child, 0)
    os.close(terminal)
    return lines or _cells(screen)


@contextmanager
def _at_work(command: str, where: Path) -> Iterator[None]:
    """A command at work beside what is drawn, without a terminal, until that is."""
    if not command:
        yield
        return
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with subprocess.Popen(shlex.split(command), cwd=where, env={**os.environ, "PATH": path},
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # fmt: skip
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)


def _become(command: str, where: Path) -> None:
    """Be the command, in a folder, as in a terminal that nobody has set up."""
    os.chdir(where)
    os.environ.update(TERM="xterm-256color", PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name in ("COLUMNS", "LINES", "NO_COLOR", "PAGER"):
        os.environ.pop(name, None)
    os.execvp("bash", ["bash", "-c", f"exec {command}"])


def _cells(screen: pyte.Screen) -> list[list[Any]]:
    """The lines of a screen down to the last that is not empty."""
    lines = [[screen.buffer[row][column] for column in range(screen.columns)] for row in range(screen.lines)]
    while lines and not "".join(cell.data for cell in lines[-1]).strip():
        lines.pop()
    return lines


def svg(lines: list[list[Any]], columns: int, colours: dict[str, str]) -> str:
    """A picture of lines of cells."""
    width, height = columns * CELL + 2 * PAD, len(lines) * LINE + 2 * PAD
    body = []
    for row, line in enumerate(lines):
        at = 0
        for (colour, ground, bold, dim), cells in groupby(line, key=_look):
            text = "".join(cell.data for cell in cells)
            if ground != "default":
                body.append(
                    f'<rect x="{PAD + at * CELL:g}" y="{PAD + row * LINE}" width="{len(text) * CELL:g}" '
                    f'height="{LINE}" fill="{colours.get(ground) or f"#{ground}"}"/>'
                )
            if shown := text.rstrip():
                own = f' fill="{colours.get(colour) or f"#{colour}"}"' if colour != "default" else ""
                own += ' font-weight="bold"' * bold + ' opacity=".6"' * dim
                x, y = PAD + at * CELL, PAD + row * LINE + 13
                body.append(f'<text x="{x:g}" y="{y}" textLength="{len(shown) * CELL:g}"{own}>{escape(shown)}</text>')
            at += len(text)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}" height="{height}">'
        f"<style>text{{font-family:{FONT};font-size:14px;white-space:pre}}</style>"
        f'<rect width="100%" height="100%" rx="6" fill="{colours["back"]}"/>'
        f'<g fill="{colours["default"]}">\n' + "\n".join(body) + "\n</g></svg>\n"
    )


def _look(cell: Any) -> tuple[str, str, bool, bool]:
    return cell.fg, cell.bg, cell.bold, cell.blink


def main(arguments: list[str]) -> int:
    """Draw; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *PICTURES], metavar="NAME", help=" ".join(PICTURES))
    parser.add_argument("--where", type=Path, help="folder to run in; default: one that is deleted afterwards")
    parser.add_argument("--into", type=Path, default=IMAGES, help="folder of the pictures")
    parser.add_argument("--light", action="store_true", help="on a light terminal")
    given = parser.parse_args(arguments)
    drawn: dict[Path, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        where, colours = given.where or Path(scratch), LIGHT if given.light else DARK
        for name in given.names or PICTURES:
            picture = PICTURES[name]
            for columns, command, until, beside in zip(
                (80, 120), picture.commands, picture.until, picture.beside, strict=True
            ):
                with _at_work(beside, where):
                    lines = capture(command, columns, picture.height, where, until, picture.stop)
                drawn[given.into / f"{name}-{columns}.svg"] = svg(lines, columns, colours)
                print(f"{name}-{columns}: {len(lines)} lines", flush=True)
    given.into.mkdir(parents=True, exist_ok=True)
    for path, text in drawn.items():  # at the end: until then the tree is as committed, which records note
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
