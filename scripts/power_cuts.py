"""Cut the power at random moments, give the same command again, and compare with what was never cut off.

    python -m scripts.power_cuts run --cuts 20       # one run
    python -m scripts.power_cuts sweep --cuts 20     # a sweep of 8 runs with --jobs 2

The runs lie on a small ext4 file system in an image file (this takes root). What the image holds at a moment, unsynced,
is what a power failure would leave on a disk without a cache of its own: the image is copied, the command killed, and
the copy mounted in the place of the old one, cut after cut, until the command gets through. Half of the file systems
are mounted as they are by default; the others keep no more order between data and names than ext4 must.

Exit code 0 if every copy held, for each run, either no record or a whole one, and every command ended with the metrics,
the history (but its timing) and the weights of the spared one.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnndrop.store import records
from rnndrop.store.audit import audit
from rnndrop.store.heartbeat import HEARTBEAT
from scripts.kills import RUN, SWEEP, essences, start

SIZE = 32 * 2**20  # bytes of an image
MOUNTS = ("loop", "loop,data=writeback,noauto_da_alloc,commit=1")
"""As it is by default; and one that commits names every second without waiting for what is in the files."""


def missing() -> str:
    """Why no image can be mounted here; empty where it can."""
    if os.geteuid() != 0:
        return "mounting an image takes root"
    if not shutil.which("mkfs.ext4"):
        return "there is no mkfs.ext4"
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(new_image(Path(folder) / "image"), Path(folder) / "disk"):
                return ""
        except subprocess.CalledProcessError as error:
            return f"no image can be mounted: {error.stderr.decode().strip()}"


def new_image(path: Path) -> Path:
    """An image file with an empty file system."""
    with path.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True, capture_output=True)
    return path


@contextmanager
def mounted(image: Path, folder: Path, options: str = MOUNTS[0]) -> Iterator[Path]:
    """Mount an image on a folder, which is created; whatever its journal holds is replayed."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "ext4", "-o", options, image, folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # a killed process may still be leaving


def cut(image: Path, to: Path) -> Path:
    """Copy what the device of a mounted image holds at one moment; nothing is synced."""
    content = b""
    while content != (now := image.read_bytes()):  # nothing has changed between two reads: all of it is of one moment
        content = now
    to.write_bytes(content)
    return to


def damaged(output: Path) -> list[str]:
    """What is wrong with the runs below a folder: a record must be absent or whole, with the files that it names."""
    verdicts = audit(output) if records.run_folders(output) else ()
    return [f"{each.folder}: {each.reason}" for each in verdicts if each.state not in ("sound", "unfinished")]


def kept(output: Path) -> str:
    """What of a command a disk holds."""
    if list(output.rglob(records.RECORD)):
        return "a record"
    return "a checkpoint" if list(output.rglob("checkpoint-*.safetensors")) else "neither"


@dataclass
class Cuts:
    """A command that is cut off: `seconds` after its first run began it would end, and with `expected`.

    `copies` counts what the copies held; `problems` says what was wrong.
    """

    command: list[str]
    place: Path
    dice: random.Random
    seconds: float
    expected: dict[str, Any]
    copies: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    images: int = 0

    def on_a_new_disk(self, cuts: int) -> None:
        """Give the command so many times that the power is cut, and once more."""
        options = self.dice.choice(MOUNTS)
        image = new_image(self._new())
        for _ in range(cuts):
            with self._mounted(image, options) as disk:
                copy = self.cut_off(image, disk)
            image.unlink()
            image = copy
            with self._mounted(image, options) as disk:
                self.copies[kept(disk)] += 1
                self.problems += damaged(disk)
        with self._mounted(image, options) as disk:
            self.end(disk)
        image.unlink()

    def cut_off(self, image: Path, disk: Path) -> Path:
        """Start the command, and cut the power at a random moment after a run has begun; return the copy."""
        known = beats(disk)  # those of runs that were cut off before
        process = start(self.command, disk / "runs")
        try:
            wait_for_life(process, disk, known)
            time.sleep(self.dice.uniform(0, self.seconds))
            return cut(image, self._new())
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def end(self, disk: Path) -> None:
        """Give the command for the last time, and compare."""
        if code := start(self.command, disk / "runs").wait():
            self.problems.append(f"the command ended with {code}")
        found = essences(disk / "runs")
        self.problems += damaged(disk)
        self.problems += [f"{name} differs" for name, each in self.expected.items() if found.get(name) != each]

    def _new(self) -> Path:
        self.images += 1
        return self.place / f"image-{self.images}"

    def _mounted(self, image: Path, options: str) -> AbstractContextManager[Path]:
        return mounted(image, self.place / f"disk-{self.images}", options)


def beats(output: Path) -> set[tuple[Path, int]]:
    """The heartbeats of runs, and when they were written."""
    found = set()
    for path in output.rglob(HEARTBEAT):
        with suppress(FileNotFoundError):
            found.add((path, path.stat().st_mtime_ns))
    return found


def wait_for_life(process: subprocess.Popen[bytes], output: Path, known: Collection[tuple[Path, int]] = ()) -> None:
    """Wait until a run has begun, its heartbeat none of those `known`, or the process has ended."""
    while process.poll() is None and not beats(output).difference(known):
        time.sleep(0.02)


def spared(command: list[str], output: Path) -> tuple[float, dict[str, Any]]:
    """Let the command end: seconds since the first run began, and what came of it."""
    process = start(command, output)
    wait_for_life(process, output)
    begun = time.monotonic()
    if process.wait() != 0:
        sys.exit("the spared command failed")
    return time.monotonic() - begun, essences(output)


def main() -> None:
    """Compare a command that was cut off with a spared one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "sweep"], nargs="?", default="run")
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    if reason := missing():
        sys.exit(f"The power cannot be cut here: {reason}.")
    command = [*(RUN if options.what == "run" else SWEEP), f"trainer.epochs={options.epochs}"]
    with tempfile.TemporaryDirectory() as folder:
        seconds, expected = spared(command, Path(folder) / "spared")
        cuts = Cuts(command, Path(folder), random.Random(options.seed), seconds, expected)
        left = options.cuts
        while left:
            some = min(left, cuts.dice.randint(1, 5))
            cuts.on_a_new_disk(some)
            left -= some
    for problem in cuts.problems:
        print(problem)
    held = ", ".join(f"{count} {what}" for what, count in sorted(cuts.copies.items()))
    print(f"{options.cuts} power cuts, {len(cuts.problems)} problems; the copies held: {held}")
    sys.exit(1 if cuts.problems else 0)


if __name__ == "__main__":
    main()
