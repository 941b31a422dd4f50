"""Disturb rnndrop in every way that a machine, a disk or a person may, and see that its folders still tell the truth.

    python scripts/torture.py                     # everything, in full: an hour or two
    python scripts/torture.py crashes --short     # one part, a sample of it

Prints a table for `docs/reliability.md`, and what went wrong on stderr. Exit code 0 if nothing did. The same `--seed`
disturbs in the same way.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # after what is installed, which has the configurations

from scripts import calls, command_lines, corruption, crashes
from scripts.forked import warm_up

Result = tuple[str, int, list[str]]  # what was disturbed, how often, what went wrong
PARTS: dict[str, tuple[Callable[[Path, int, random.Random], Iterator[Result]], int, int]] = {
    "kills": (crashes.kill_at_random, 200, 7),
    "crashes": (crashes.crash_everywhere, 10_000, 2),  # in each variant, at most
    "faults": (crashes.fail_everywhere, 500, 10),
    "corruption": (corruption.corrupt, 800, 15),
    "command lines": (command_lines.ask, 1500, 30),
}
"""What can be done, and how often: in full, and in the short form."""


def main() -> None:
    """Print a line for each kind of disturbance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}; all unless given")
    parser.add_argument("--short", action="store_true", help="a sample")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    parts = options.parts or list(PARTS)
    if {"kills", "crashes", "faults"} & set(parts):
        if not calls.compiler():
            sys.exit("There is no C compiler here, or no LD_PRELOAD: kills, crashes and faults need both.")
        calls.preload()
    warm_up()
    print("| disturbed | how | times | went wrong |\n|---|---|---|---|", flush=True)
    went_wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            disturb, full, short = PARTS[part]
            dice, times = random.Random(options.seed), short if options.short else full
            for name, done, wrong in disturb(Path(folder).resolve(), times, dice):
                print(f"| {name} | {part} | {done} | {len(wrong)} |", flush=True)
                print("".join(f"{part}, {name}: {problem}\n" for problem in wrong), file=sys.stderr, end="", flush=True)
                went_wrong += len(wrong)
    sys.exit(1 if went_wrong else 0)


if __name__ == "__main__":
    main()
