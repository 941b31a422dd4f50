"""Pin what tiny runs compute, bit for bit, and hold a later version of the code to it, on the same machine.

python scripts/pins.py write before.json      # every plan, cell and task; resumed, MC, cache, dynamic evaluation
python scripts/pins.py check before.json      # exit code 0 if all of it is the same
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))  # after what is installed, which has the configurations

import rnndrop
from rnndrop.config.compose import choices, compose
from rnndrop.store import records
from rnndrop.store.ownership import folder_of
from scripts.crashes import SMALL, write_text
from tests import reviews

PLANS = [[f"dropout={plan}"] for plan in choices("dropout")]
OTHERS = [
    ["model.cell=gru", "dropout=variational"],
    ["model.cell=rnn", "dropout=dropconnect"],
    ["model.tie_weights=true", "trainer.optimizer=sgd", "trainer.nonmono=1", "trainer.ar=2", "trainer.tar=1"],
    ["data.level=char", "trainer.random_window=true"],
    ["evaluation.mc.samples=3"],
    ["evaluation=cache"],
    ["evaluation=dynamic"],
]


def pin(overrides: list[str], output: Path, interrupted: bool = False) -> str:
    """Run; the hash of the metrics, the history but for its timing, the weights and the run id."""
    request = [*overrides, f"output={output}"]
    if interrupted:
        with suppress(KeyboardInterrupt):
            rnndrop.run(request, _leave)
    record = rnndrop.run(request)
    folder = folder_of(compose(request))
    history = [
        {name: value for name, value in row.items() if name not in records.HISTORY_TIMING}
        for row in records.read_history(folder)
    ]
    assert record.status == "finished" and bool(record.timing["resumed_from_steps"]) == interrupted, record
    facts: list[Any] = [record.run_id, record.metrics, history]
    content = json.dumps(facts, sort_keys=True).encode() + (folder / records.WEIGHTS).read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def _leave(progress: Any) -> None:
    """As Ctrl-C in the second epoch."""
    if progress.epoch == 2:
        raise KeyboardInterrupt


def pins() -> dict[str, str]:
    """The hash of each run, by its overrides."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        words = [*SMALL, f"data.file={write_text(scratch / 'words.txt')}", "data.min_count=90"]  # with some <unk>
        rated = [*reviews.SMALL, f"data.file={reviews.write(scratch / 'reviews.tsv')}"]
        found = {" ".join(own): pin([*words, *own], scratch / "runs") for own in [*PLANS, *OTHERS]}
        found["resumed"] = pin(words, scratch / "resumed", interrupted=True)
        found["sentiment"] = pin([*rated, "evaluation.mc.samples=3"], scratch / "runs")
        found["sentiment, resumed"] = pin(rated, scratch / "resumed", interrupted=True)
    return found


def main() -> None:
    """Write the hashes, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["write", "check"])
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    found = pins()
    if options.what == "write":
        options.file.write_text(json.dumps(found, indent=1), encoding="utf-8")
        print(f"{len(found)} runs pinned")
        return
    expected = json.loads(options.file.read_text(encoding="utf-8"))
    different = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    print(f"{len(expected) - len(different)} of {len(expected)} runs the same", *different, sep="\n")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
