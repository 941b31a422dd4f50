"""What a sweep costs beyond its runs' own training: 200 tiny runs with --jobs 2, start-up included.

python scripts/sweep_overhead.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rnndrop.store import records

JOBS = 2


def main() -> None:
    """Time a sweep and subtract what its runs trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text("the cat sat on the mat and the dog ate the fish\n" * 200)
        command = [
            str(Path(sys.executable).parent / "rnndrop"), "sweep", "data=text", f"data.file={text}", "model.hidden=16",
            "trainer.epochs=2", "trainer.threads=1", f"seed=range({runs})", f"output={folder}/runs", f"--jobs={JOBS}",
        ]  # fmt: skip
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wall = time.perf_counter() - start
        found = [record for run in records.find_runs(f"{folder}/runs") if (record := records.read_record(run))]
    training = sum(record.timing["train_seconds"] for record in found) / JOBS
    load = os.getloadavg()[0]
    print(f"{len(found)} runs in {wall:.1f} s, of which training {training:.1f} s on each of {JOBS} workers")
    print(f"overhead {(wall - training) / len(found):.3f} s a run (load average {load:.1f} on {os.cpu_count()} cores)")


if __name__ == "__main__":
    main()
