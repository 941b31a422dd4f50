"""What many runs cost: planning a grid of 20,000, and reporting and watching a folder of records.

    python scripts/synthetic_records.py FOLDER 50000
    python scripts/many_runs.py FOLDER

Wall and processor time of each command, start-up included; the median of three.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RATES = "range(0.01,0.51,0.01)"
GRID = [
    "sweep", "dropout=variational", f"dropout.recurrent.p={RATES}", f"dropout.input.p={RATES}", "model.hidden=100,200",
    "trainer.learning_rate=.001,.002,.003,.004", "--dry-run",
]  # fmt: skip


def main() -> None:
    """Time the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as nowhere:
        commands = [[*GRID, f"output={nowhere}/runs"]]
        if arguments.folder:
            commands += [["report", arguments.folder], ["watch", arguments.folder, "--once"]]
        for command in commands:
            spent = [_time(command) for _ in range(arguments.times)]
            wall, processor = (statistics.median(each) for each in zip(*spent, strict=True))
            print(f"rnndrop {command[0]}: {wall:.1f} s, of which processor {processor:.1f} s")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _time(command: list[str]) -> tuple[float, float]:
    start, before = time.perf_counter(), os.times()
    rnndrop = str(Path(sys.executable).parent / "rnndrop")
    subprocess.run([rnndrop, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, processor


if __name__ == "__main__":
    main()
