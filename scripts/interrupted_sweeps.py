"""Press Ctrl-C on a sweep at random moments, give the same command again, and compare with an undisturbed one.

    python -m scripts.interrupted_sweeps --times 20

The sweep has two workers and takes no checkpoints of its own, so nothing but the interrupt can keep a step. SIGINT goes
to the whole process group, as from a terminal, once every worker has passed a step.

Exit code 0 if each time the command ended with 130, no process of it was left, and every run that had begun was
recorded as interrupted with a checkpoint at or after the step that it had last told; and if in the end every run had
gone on from exactly those checkpoints, and had the metrics, history (but its timing) and weights of the undisturbed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnndrop.store import checkpoint, heartbeat, records
from scripts.kills import RNNDROP, essences, start

JOBS = 2
RUNS = 4
SIZE = ["data.train_tokens=20000", "model.hidden=32", "trainer.epochs=3", "trainer.threads=1", "trainer.device=cpu"]
NO_CHECKPOINTS = ["trainer.checkpoint_seconds=null", "trainer.checkpoint_epochs=null"]
SWEEP = ["sweep", *SIZE, *NO_CHECKPOINTS, "dropout=variational", f"seed=range({RUNS})", "--jobs", str(JOBS)]
LEAVING = 60.0  # seconds within which an interrupted sweep must have ended


@dataclass
class Interrupts:
    """What the interrupts of sweeps came to; `expected` are the essences of the undisturbed one."""

    dice: random.Random
    expected: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    hit: int = 0
    resumed: int = 0
    slowest: float = 0.0  # seconds from an interrupt to the end of the process

    def sweep(self, output: Path, times: int) -> None:
        """Give the command, interrupt it at most so many times, let it end, and compare."""
        steps: dict[Path, list[int]] = defaultdict(list)
        for _ in range(times):
            before = self.hit
            said = self.interrupt(output)
            if self.hit == before:
                break  # it was through
            self.check_resumed(said, steps)
            for folder in records.run_folders(output):
                newest = newest_step(folder)
                if newest is not None and newest not in steps[folder]:
                    steps[folder].append(newest)
        if code := start(SWEEP, output).wait():
            self.problems.append(f"the command ended with {code}")
        found = essences(output)
        self.problems += [f"{name} differs" for name, each in self.expected.items() if found.get(name) != each]
        for folder, taken in steps.items():
            self.compare_steps(folder, taken)

    def interrupt(self, output: Path) -> str:
        """Start the command and interrupt it once its workers are at work; check what it leaves; return its stderr."""
        process = subprocess.Popen(
            [str(RNNDROP), *SWEEP, f"output={output}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            if not wait_for_work(process, output):
                return ""
            time.sleep(self.dice.uniform(0, heartbeat.EVERY))
            told = at_work(output)
            if process.poll() is not None:
                return ""
            pressed = time.monotonic()
            os.killpg(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=LEAVING)
            self.slowest = max(self.slowest, time.monotonic() - pressed)
        finally:
            if group_is_there(process.pid):
                self.problems.append("a process was left")
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.hit += 1
        if process.returncode != 130 or "The same command goes on from here" not in said:
            self.problems.append(f"the interrupted command ended with {process.returncode}: {said}")
        self.check_kept(told)
        return said

    def check_kept(self, told: dict[Path, int]) -> None:
        """Each run that had told of a step is recorded as interrupted, or finished, and no step is lost."""
        for folder, step in told.items():
            record, newest = records.read_record(folder), newest_step(folder)
            if record and record.status == "finished":
                continue
            if record is None or record.status != "interrupted" or newest is None or newest < step:
                state = record and record.status
                self.problems.append(f"{folder}: told of step {step}, has a checkpoint at {newest}, is {state}")
            if (folder / heartbeat.HEARTBEAT).exists():
                self.problems.append(f"{folder}: a heartbeat was left")

    def check_resumed(self, said: str, steps: dict[Path, list[int]]) -> None:
        """What the command said about going on is true."""
        for line in said.splitlines():
            name, found, rest = line.partition(": going on from step ")
            if found:
                self.resumed += 1
                step = int(rest.split()[0])
                if steps[Path(name)][-1:] != [step]:
                    self.problems.append(f"{name}: went on from step {step}, not from {steps[Path(name)]}")

    def compare_steps(self, folder: Path, taken: list[int]) -> None:
        """The record tells of every checkpoint that the run went on from."""
        record = records.read_record(folder)
        found = list(dict.fromkeys(record.timing["resumed_from_steps"])) if record else None
        if found != taken:
            self.problems.append(f"{folder}: its record says that it went on from {found}, not from {taken}")


def at_work(output: Path) -> dict[Path, int]:
    """The last step that each run at work has told of."""
    beats = ((folder, heartbeat.read(folder)) for folder in records.run_folders(output))
    return {folder: beat["step"] for folder, beat in beats if beat and "step" in beat}


def wait_for_work(process: subprocess.Popen[str], output: Path) -> bool:
    """Wait until each worker that has something to do has passed a step; False if the process ended first."""
    while process.poll() is None:
        found = [records.read_record(folder) for folder in records.find_runs(output)]
        left = RUNS - sum(record is not None and record.status == "finished" for record in found)
        if len(at_work(output)) >= min(JOBS, max(1, left)):
            return True
        time.sleep(0.05)
    return False


def newest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint."""
    return next(map(checkpoint.step_of, checkpoint.paths(folder)), None)


def group_is_there(group: int, patience: float = 5.0) -> bool:
    """Whether a process of this group is still there after some seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


def main() -> None:
    """Compare interrupted sweeps with an undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it, and theirs
    with tempfile.TemporaryDirectory() as folder:
        if start(SWEEP, Path(folder) / "undisturbed").wait() != 0:
            sys.exit("the undisturbed sweep failed")
        interrupts = Interrupts(random.Random(options.seed), essences(Path(folder) / "undisturbed"))
        sweeps = 0
        while interrupts.hit < options.times:
            sweeps += 1
            times = min(options.times - interrupts.hit, interrupts.dice.randint(2, 6))
            interrupts.sweep(Path(folder) / f"interrupted-{sweeps}", times)
    for problem in interrupts.problems:
        print(problem)
    print(
        f"{interrupts.hit} interrupts of {sweeps} sweeps, the slowest left within {interrupts.slowest:.1f} s; "
        f"runs went on {interrupts.resumed} times; {len(interrupts.problems)} problems"
    )
    sys.exit(1 if interrupts.problems else 0)


if __name__ == "__main__":
    main()
