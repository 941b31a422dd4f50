"""Kill `rnndrop eval` of many runs at random moments, give the same command again, and compare with an undisturbed one.

    python -m scripts.killed_evals --kills 10

Two plans of three seeds are trained once and copied. Each request of `REQUESTS` measures one copy undisturbed, with
`--jobs 2`; of another the whole process group is killed with -9, by turns while the command starts and after a further
record was written. The same `--seed` draws the same moments.

Exit code 0 if after every kill each record is the old one or has all that was asked for, a record that has it is never
written again, and in the end all files are the same to the byte.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from rnndrop.store import records
from scripts.kills import RNNDROP, struck

SIZE = ["data.train_tokens=4000", "model.hidden=16", "trainer.epochs=2", "trainer.threads=1", "trainer.device=cpu"]
RUNS = ["sweep", "dropout=none,variational", "seed=0,1,2", *SIZE, "--jobs", "2"]
MANY = ["eval", "--where", "status=finished", "--jobs", "2"]
REQUESTS = {
    "mc": ["--mc", "3"],
    "cache": ["evaluation=cache"],
    "dynamic": ["evaluation=dynamic"],
    "mc and cache": ["--mc", "2", "evaluation=cache"],
}
OUTPUT = "runs"
AFTER_START, AFTER_RECORD = 6.0, 1.0  # seconds to a kill, at most


def start(command: list[str], place: Path) -> subprocess.Popen[str]:
    """Start a command in a folder, in a process group of its own."""
    return subprocess.Popen(
        [str(RNNDROP), *command, f"output={OUTPUT}"], cwd=place, start_new_session=True, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(command: list[str], place: Path) -> None:
    """Let a command end. Exits where it fails."""
    process = start(command, place)
    told = process.communicate()[1]
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: {told}")


def stamps(place: Path) -> dict[str, tuple[int, int]]:
    """When each record was written, and as which file."""
    paths = {str(folder.relative_to(place)): folder / records.RECORD for folder in records.find_runs(place / OUTPUT)}
    return {name: (path.stat().st_mtime_ns, path.stat().st_ino) for name, path in paths.items()}


def contents(place: Path) -> dict[str, bytes]:
    """The files of all runs, but for those that come and go with whoever works there."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted((place / OUTPUT).rglob("*"))
        if path.is_file() and path.name not in (records.LOCK, "heartbeat.json")
    }


def kill(command: list[str], place: Path, after_record: bool, dice: random.Random) -> bool:
    """Start the command and kill its process group at a random moment; False if it had ended before."""
    state, most = (partial(stamps, place), AFTER_RECORD) if after_record else (None, AFTER_START)
    return struck(partial(start, command, place), state, most, dice)


def damage(place: Path, trained: Path, whole: dict[str, bytes]) -> list[str]:
    """The runs whose record is neither that of the training nor that of the undisturbed measurement."""
    found = {name: (place / name / records.RECORD).read_bytes() for name in stamps(place)}
    choices = {
        name: (whole[f"{name}/{records.RECORD}"], (trained / name / records.RECORD).read_bytes()) for name in found
    }
    return [name for name, content in found.items() if content not in choices[name]]


def race(request: list[str], trained: Path, folder: Path, kills: int, dice: random.Random) -> list[str]:
    """What went wrong with a request; how it went is printed."""
    command, spared, place = [*MANY, *request], folder / "spared", folder / "killed"
    for each in (spared, place):
        shutil.copytree(trained, each)
    ended(command, spared)
    whole, untouched = contents(spared), stamps(place)
    problems: list[str] = []
    done: dict[str, tuple[int, int]] = {}
    counts: list[int] = []
    while len(counts) < kills and len(done) < len(untouched):
        if not kill(command, place, len(counts) % 2 == 1, dice):
            break
        problems += [f"after kill {len(counts) + 1}: {name} is damaged" for name in damage(place, trained, whole)]
        now = stamps(place)
        problems += [f"{name} was measured twice" for name, stamp in done.items() if now[name] != stamp]
        done = {name: stamp for name, stamp in now.items() if stamp != untouched[name]}
        counts.append(len(done))
    ended(command, place)
    now, found = stamps(place), contents(place)
    problems += [f"{name} was measured twice" for name, stamp in done.items() if now[name] != stamp]
    problems += [f"{name} differs" for name in sorted({*whole, *found}) if whole.get(name) != found.get(name)]
    print(
        f"{' '.join(request)}: {len(counts)} kills, with so many runs measured: {' '.join(map(str, counts))}",
        flush=True,
    )
    return problems


def main() -> None:
    """Compare killed measurements with undisturbed ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requests", nargs="*", help=f"any of {', '.join(REQUESTS)}; all unless given")
    parser.add_argument("--kills", type=int, default=10, help="of each request, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    if unknown := set(options.requests) - set(REQUESTS):
        parser.error(f"no such request: {', '.join(sorted(unknown))}")
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        trained = Path(folder).resolve() / "trained"
        trained.mkdir()
        ended(RUNS, trained)
        for name in options.requests or REQUESTS:
            place = Path(folder).resolve() / name.replace(" ", "_")
            found = race(REQUESTS[name], trained, place, options.kills, random.Random(f"{options.seed} {name}"))
            print("".join(f"{name}: {problem}\n" for problem in found), end="", file=sys.stderr, flush=True)
            wrong += found
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
