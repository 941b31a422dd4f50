"""Kill `rnndrop gc` and `rnndrop import` at random moments: 200 runs, and for `gc` a sweep that goes on among them.

    python scripts/objects.py gc --kills 20
    python scripts/objects.py import --kills 20

Exit code 0 if nothing was lost: what runs, what is unfinished and what has finished is there to the bit, and the same
command, given again, does the rest.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.append(str(Path(__file__).parents[1]))  # after what is installed, which has the configurations

from rnndrop.store import records
from rnndrop.store.audit import audit
from rnndrop.store.nll_blocks import to_bytes
from rnndrop.store.records import Record, run_folder
from scripts import kills, synthetic_records
from scripts.forked import Outcome, command, warm_up

GC = ["gc", "--yes", "--refused", "--pruned", "--checkpoints", "--leftovers"]
Contents = dict[str, bytes]


def invented(output: Path) -> Iterator[tuple[Record, dict[str, bytes]]]:
    """Runs without end, each with its files: of every eight the first five have finished."""
    from safetensors.numpy import save

    number = np.random.default_rng(0)
    for overrides, config in synthetic_records.configs(str(output)):
        for seed in range(2):
            record, history, nll = synthetic_records.record(overrides, config, seed)
            yield (
                record,
                {
                    records.CONFIG: yaml.safe_dump(record.config).encode(),
                    records.HISTORY: records.history_text(history).encode(),
                    records.TEST_NLL: to_bytes(nll),
                    records.WEIGHTS: save({"weight": number.standard_normal((40, 40))}),
                },
            )


def write(output: Path, count: int) -> tuple[dict[str, Contents], dict[str, Contents]]:
    """Write runs below a folder: what must stay, and what `GC` deletes, as files by the relative name of their run."""
    stays: dict[str, Contents] = {}
    goes: dict[str, Contents] = {}
    for number, (record, outputs) in enumerate(islice(invented(output), count)):
        folder = run_folder(output, record.run_id, record.seed)
        folder.mkdir(parents=True)
        state = f"checkpoint-{number:08}-{'ab' * 8}.safetensors"
        kind = number % 8
        if kind <= 4:
            records.write_whole(folder, record, outputs)
            extra = {state: bytes(20_000)} if kind == 0 else {}
        else:
            record.status, record.metrics = ("failed", {}) if kind == 6 else ("interrupted", {})
            record.error = "no such corpus" if kind == 6 else None
            if kind == 7:
                record.metrics = {"pruned": 2, "pruned_step": number, "epochs": 2, "valid_perplexity": 500.0}
                outputs[records.CONFIG] = outputs[records.CONFIG].replace(b"label: null", b"label: trial")
            record.data = {} if kind == 6 else record.data
            (folder / records.CONFIG).write_bytes(outputs[records.CONFIG])
            extra = {} if kind == 6 else {state: bytes(20_000)}
            if kind == 5:
                (folder / state).write_bytes(extra.pop(state))
            else:
                extra = {records.CONFIG: outputs[records.CONFIG], **extra, records.RECORD: record.to_json().encode()}
            if kind == 5 and number % 16 == 5:  # the others were killed before they could write one
                records.write_less(folder, record)
        if kind <= 5:
            stays[str(folder.relative_to(output))] = contents(folder)
        if extra:
            goes[str(folder.relative_to(output))] = extra
    return stays, goes


def contents(folder: Path) -> Contents:
    """The files of a run but for its lock."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != records.LOCK}


def plant(output: Path, goes: dict[str, Contents]) -> None:
    """Write what is to be deleted (again), and some of what killed commands leave."""
    for name, extra in goes.items():
        (output / name).mkdir(parents=True, exist_ok=True)
        for part, content in extra.items():
            (output / name / part).write_bytes(content)
    (output / "0123456789abcdef" / "seed-0").mkdir(parents=True, exist_ok=True)


def lost(output: Path, stays: dict[str, Contents], more: tuple[str, ...] = ()) -> list[str]:
    """The runs of which a file is gone or other than it was; files whose names begin with `more` may be there too."""
    wrong = []
    for name, expected in stays.items():
        there = contents(output / name) if (output / name).is_dir() else {}
        there = {part: content for part, content in there.items() if part in expected or not part.startswith(more)}
        if there != expected:
            wrong.append(f"{name}: {sorted(set(there) ^ set(expected)) or 'another content'}")
    return wrong


def collect(scratch: Path, count: int, times: int, dice: random.Random) -> tuple[int, list[str]]:
    """`gc` killed that often among runs of which a sweep makes some more; how often that was, and what is wrong."""
    spared, output = scratch / "spared", scratch / "runs"
    assert kills.start([*kills.SWEEP, "trainer.epochs=3"], spared).wait() == 0
    stays, goes = write(output, count)
    plant(output, goes)
    start = time.monotonic()
    assert command([*GC, "--dry-run", f"output={output}"]).code == 0
    seconds = 2 * (time.monotonic() - start)
    wrong, hit, amid = lost(output, stays, ("checkpoint-",)), 0, 0
    sweep = kills.start([*kills.SWEEP, "trainer.epochs=3"], output)
    while hit < times:
        plant(output, goes)
        outcome = command([*GC, f"output={output}"], limit=dice.uniform(0, seconds))
        hit += outcome.code < 0
        amid += outcome.code < 0 and sweep.poll() is None
        wrong += [f"gc ended with {outcome}"] if outcome.code > 0 else []
        wrong += lost(output, stays, ("checkpoint-",))
        if sweep.poll() is not None and hit < times:
            assert sweep.returncode == 0
            for name in kills.essences(spared):  # once more
                shutil.rmtree(output / name)
            sweep = kills.start([*kills.SWEEP, "trainer.epochs=3"], output)
    wrong += [f"the sweep ended with {sweep.returncode}"] if sweep.wait() else []
    last = command([*GC, f"output={output}"])
    wrong += [f"gc ended with {last}"] if last.code else []
    wrong += lost(output, stays)
    wrong += [f"{name} of the sweep differs" for name, run in kills.essences(spared).items()
              if kills.essence(output / name) != run]  # fmt: skip
    own = {*stays, *kills.essences(spared)}
    wrong += [f"{folder} is still there" for folder in records.run_folders(output)
              if str(folder.relative_to(output)) not in own]  # fmt: skip
    wrong += [f"{path} is still there" for path in records.set_aside(output)]
    print(f"{amid} of {hit} kills came while a sweep ran among {len(stays)} runs that must stay", file=sys.stderr)
    return hit, wrong + unsound(output)


def take_in(scratch: Path, count: int, times: int, dice: random.Random) -> tuple[int, list[str]]:
    """`import` killed that often, each time into a folder that has a third of the runs; and then given again."""
    source, some, output, archive = scratch / "source", scratch / "some", scratch / "target", scratch / "runs.tar"
    stays, _ = write(source, count)
    packed = {name: files for name, files in stays.items() if records.RECORD in files}
    done = command(["export", "-o", archive, "--weights", f"output={source}"])
    assert archive.exists(), done
    there = {name: files for number, (name, files) in enumerate(packed.items()) if number % 3 == 0}
    for name in there:
        shutil.copytree(source / name, some / name)
    expected = {
        name: {part: text for part, text in files.items() if name in there or not part.startswith("checkpoint-")}
        for name, files in packed.items()
    }
    seconds, hit, wrong = 0.0, 0, []
    while hit < times:
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(some, output)
        for _attempt in range(dice.randint(1, 3)):
            start = time.monotonic()
            first = command(["import", archive, f"output={output}"], limit=dice.uniform(0, seconds) if seconds else 120)
            seconds = seconds or time.monotonic() - start
            hit += first.code < 0
            wrong += lost(output, there)
            wrong += [f"after a kill: {problem}" for problem in unsound(output)]
            if first.code == 0:
                break
        second: Outcome = command(["import", archive, f"output={output}"])
        wrong += [f"import ended with {second}"] if second.code else []
        wrong += lost(output, expected) + unsound(output)
    return hit, wrong


def unsound(output: Path) -> list[str]:
    """What `rnndrop doctor` would call damaged."""
    return [str(verdict) for verdict in audit(output) if verdict.state in ("damaged", "unreadable")]


PARTS: dict[str, Any] = {"gc": collect, "import": take_in}


def main() -> None:
    """Print how many kills lost something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(PARTS))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        hit, wrong = PARTS[options.what](scratch, options.runs, options.kills, random.Random(options.seed))
    print("".join(f"{problem}\n" for problem in wrong), file=sys.stderr, end="")
    print(f"{options.what}: {hit} kills among {options.runs} runs; {len(wrong)} went wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
