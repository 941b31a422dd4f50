"""Kill runs at random moments, give the same command again, and compare with what was never killed.

    python scripts/kills.py run --kills 20      # one run, kill -9
    python scripts/kills.py sweep --kills 5     # a sweep of 8 runs with --jobs 2, the whole process group
    python scripts/kills.py worker --kills 5    # the same sweep, one worker at a time; the command is given once

Exit code 0 if every metric, every row of the history (but its timing) and the sha256 of the weights agree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnndrop.store import files, records

RNNDROP = Path(sys.executable).parent / "rnndrop"
SIZE = ["data.train_tokens=4000", "model.hidden=16", "trainer.threads=1", "trainer.checkpoint_seconds=0.05"]
RUN = ["run", *SIZE, "dropout=variational", "trainer.device=cpu"]
SWEEP = ["sweep", *SIZE, "dropout=naive,variational", "seed=range(4)", "trainer.device=cpu", "--jobs", "2"]

MOST = (0.5, 0.2, 0.1, 0.05, 0.0)
"""Seconds from a checkpoint to a kill, at most: where a fast machine ends before the last kill, the next is tried."""


def essence(folder: Path) -> dict[str, Any]:
    """All of a run that must not depend on how often it was killed."""
    record = records.read_record(folder)
    assert record is not None, folder
    timing = records.HISTORY_TIMING
    contents = {name: files.read_file(folder / name) for name in (records.WEIGHTS, records.TEST_NLL)}
    return {
        "status": record.status,
        "metrics": record.metrics,
        "history": [{k: v for k, v in row.items() if k not in timing} for row in records.read_history(folder)],
        **{name: hashlib.sha256(content).hexdigest() for name, content in contents.items() if content is not None},
    }


def essences(output: Path) -> dict[str, dict[str, Any]]:
    """The essence of each run below a folder, by its relative name."""
    return {str(folder.relative_to(output)): essence(folder) for folder in records.find_runs(output)}


def start(command: list[str], output: Path) -> subprocess.Popen[bytes]:
    """Start the command in a process group of its own."""
    arguments = [str(RNNDROP), *command, f"output={output}"]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def struck(begin: Callable[[], subprocess.Popen[str]], state: Callable[[], object] | None, most: float,
           dice: random.Random) -> bool:  # fmt: skip
    """Begin a command and kill its process group within `most` seconds; False if it had ended before.

    With `state`: counted from when what that returns has changed.
    """
    before = state() if state else None
    process = begin()
    while state and state() == before and process.poll() is None:
        time.sleep(0.01)
    try:
        process.communicate(timeout=dice.uniform(0, most))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


def wait_for_checkpoint(process: subprocess.Popen[bytes], output: Path, known: set[Path]) -> bool:
    """Wait until there is a checkpoint that was not there before; False if the process ended first."""
    while process.poll() is None:
        if set(output.rglob("checkpoint-*.safetensors")) - known:
            return True
        time.sleep(0.02)
    return False


def kill_again_and_again(command: list[str], output: Path, kills: int, most: float, dice: random.Random) -> int:
    """Kill the whole process group `kills` times, then let the command end; return how many kills hit.

    Each falls within `most` seconds of a new checkpoint, unless the command ends before.
    """
    hit = 0
    for _ in range(kills):
        known = set(output.rglob("checkpoint-*.safetensors"))
        process = start(command, output)
        if not wait_for_checkpoint(process, output, known):
            break
        time.sleep(dice.uniform(0, most))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            hit += 1
        process.wait()
        time.sleep(0.2)
    process = start(command, output)
    if process.wait() != 0:
        sys.exit(f"the command ended with {process.returncode}")
    return hit


def kill_workers(command: list[str], output: Path, kills: int, most: float, dice: random.Random) -> int:
    """Give the command once and kill `kills` of its workers; return how many kills hit.

    The moments are those of `kill_again_and_again`.
    """
    hit = 0
    process = start(command, output)
    while hit < kills and process.poll() is None:
        known = set(output.rglob("checkpoint-*.safetensors"))
        if not wait_for_checkpoint(process, output, known):
            break
        time.sleep(dice.uniform(0, most))
        beats = filter(None, map(_beat, output.rglob("heartbeat.json")))
        workers = [beat["pid"] for beat in beats if _parent(beat["pid"]) == process.pid]
        if workers:
            os.kill(dice.choice(workers), signal.SIGKILL)
            hit += 1
    if process.wait() != 0:
        sys.exit(f"the command ended with {process.returncode}")
    return hit


def _parent(pid: int) -> int | None:
    """The parent of a process: an old heartbeat may name a process that is someone else's by now."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _beat(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return content
    except (OSError, ValueError):
        return None


def main() -> None:
    """Compare a killed command with a spared one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "sweep", "worker"])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    command = [*(RUN if options.what == "run" else SWEEP), f"trainer.epochs={options.epochs}"]
    kill = kill_workers if options.what == "worker" else kill_again_and_again
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        spared = Path(folder) / "spared"
        if start(command, spared).wait() != 0:
            sys.exit("the spared command failed")
        for most in MOST:
            killed = Path(folder) / f"killed-{most}"
            hit = kill(command, killed, options.kills, most, dice)
            if hit == options.kills:
                break
        expected, found = essences(spared), essences(killed)
        resumed = [read.timing["resumed_from_steps"] for run in records.find_runs(killed) if (read := _read(run))]
    same = [name for name in expected if found.get(name) == expected[name]]
    print(f"{hit} kills; {len(same)} of {len(expected)} runs equal in every metric, history row and weight")
    print(f"resumed from steps: {resumed[0] if options.what == 'run' else resumed}")
    sys.exit(0 if len(same) == len(expected) == len(found) and hit == options.kills else 1)


def _read(folder: Path) -> records.Record | None:
    return records.read_record(folder)


if __name__ == "__main__":
    main()
