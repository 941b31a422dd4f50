"""Kill decisions at random moments, give the same command again until it ends, and compare with an undisturbed one.

    python -m scripts.killed_decisions --kills 10

Each race of `RACES` is run twice, with `--jobs 2`. The second time the whole process group is killed with -9 at random
moments: by turns after the start of the command (while Python starts, runs train, a run is taken in), and after a new
look has been written. The same `--seed` draws the same moments.

Exit code 0 if after every kill the decision was absent, or whole with the first looks of the undisturbed one; and if in
the end the decision's file, what the command prints and the looks that it tells are the same to the byte, every run
that the undisturbed one has is the same in all its numbers and weights, and `doctor` finds every run and the decision
sound.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rnndrop.decisions import document
from scripts.kills import RNNDROP, essences, struck

SIZE = ["data.train_tokens=4000", "model.hidden=16", "trainer.epochs=6", "trainer.threads=1", "trainer.device=cpu"]
RACES = {
    "better": ["dropout=none,naive", "--margin", ".5%"],
    "equal": ["dropout=none,variational"],
    "three plans": ["dropout=none,naive,variational"],
}
OUTPUT = "runs"  # the same words for both: a decision has the overrides of its contestants
AFTER_START, AFTER_LOOK = 4.0, 0.7  # seconds to a kill, at most


@dataclass(frozen=True)
class End:
    """What a race came to: its decisions' files, what the command printed, the looks it told, the runs' essences."""

    files: dict[str, bytes]
    printed: str
    looks: list[str]
    runs: dict[str, object]


def start(request: list[str], place: Path) -> subprocess.Popen[str]:
    """Start the command in a folder, in a process group of its own."""
    place.mkdir(exist_ok=True)
    return subprocess.Popen(
        [str(RNNDROP), "decide", *request, *SIZE, f"output={OUTPUT}", "--jobs", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=place,
    )  # fmt: skip


def ended(request: list[str], place: Path) -> End:
    """Let the command end. Exits where it fails."""
    process = start(request, place)
    printed, told = process.communicate()
    if process.returncode != 0:
        sys.exit(f"the command ended with {process.returncode}: {told}")
    looks = [line for line in told.splitlines() if line.partition(": ")[0].endswith((" seed", " seeds"))]
    files = {path.name: path.read_bytes() for path in document.paths(place / OUTPUT)}
    return End(files, printed, looks, dict(essences(place / OUTPUT)))


def kill(request: list[str], place: Path, after_look: bool, dice: random.Random) -> bool:
    """Start the command and kill its process group at a random moment; False if it had ended before."""
    state, most = (partial(written, place), AFTER_LOOK) if after_look else (None, AFTER_START)
    return struck(partial(start, request, place), state, most, dice)


def written(place: Path) -> list[bytes]:
    """What the files of decisions hold now."""
    return [path.read_bytes() for path in document.paths(place / OUTPUT)]


def begun(place: Path, whole: End) -> str:
    """What is wrong with the decision that a kill has left; empty if nothing is."""
    for path in document.paths(place / OUTPUT):
        found = document.read(path)
        expected = document.Decision.from_json(whole.files[path.name].decode())
        if found is None or found.looks != expected.looks[: len(found.looks)]:
            return f"{path.name} has other looks than the undisturbed one"
    return ""


def compare(whole: End, found: End) -> list[str]:
    """In what two ends of a race differ."""
    problems = [name for name in ("files", "printed", "looks") if getattr(found, name) != getattr(whole, name)]
    return problems + [name for name, run in whole.runs.items() if found.runs.get(name) != run]


def main() -> None:
    """Compare killed decisions with undisturbed ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("races", nargs="*", help=f"any of {', '.join(RACES)}; all unless given")
    parser.add_argument("--kills", type=int, default=10, help="of each race")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    if unknown := set(options.races) - set(RACES):
        parser.error(f"no such race: {', '.join(sorted(unknown))}")
    wrong = 0
    for name in options.races or RACES:
        with tempfile.TemporaryDirectory() as folder:
            wrong += race(name, Path(folder).resolve(), options.kills, random.Random(f"{options.seed} {name}"))
    sys.exit(1 if wrong else 0)


def race(name: str, folder: Path, kills: int, dice: random.Random) -> int:
    """Run a race undisturbed and killed, print what came of it, and return how much went wrong."""
    request, place = RACES[name], folder / "killed"
    whole = ended(request, folder / "undisturbed")
    problems: list[str] = []
    looks: list[int] = []
    began = time.monotonic()
    while len(looks) < kills and kill(request, place, len(looks) % 2 == 1, dice):
        looks.append(max((len(document.Decision.from_json(text.decode()).looks) for text in written(place)), default=0))
        if problem := begun(place, whole):
            problems.append(f"after kill {len(looks)}: {problem}")
    if len(looks) < kills:
        problems.append(f"it ended after {len(looks)} kills")
    found = ended(request, place)
    seconds = time.monotonic() - began
    problems += compare(whole, found)
    if subprocess.run([str(RNNDROP), "doctor", OUTPUT], stdout=subprocess.DEVNULL, cwd=place).returncode:
        problems.append("doctor finds a problem")
    (decision,) = (document.Decision.from_json(text.decode()) for text in whole.files.values())
    more = len(found.runs) - len(whole.runs)
    print(
        f"{name}: {decision.verdict} after {len(decision.looks)} seeds; {len(looks)} kills, with so many looks: "
        f"{' '.join(map(str, looks))}; {seconds:.0f} s; {len(whole.runs)} runs, {more} more in the killed one; "
        f"{len(problems)} problems",
        flush=True,
    )
    print("".join(f"{name}: {problem}\n" for problem in problems), end="", file=sys.stderr, flush=True)
    return len(problems)


if __name__ == "__main__":
    main()
