"""How much memory a text of one's own needs, as a multiple of its size: loaded, hashed, dealt into a batch's columns.

python scripts/corpus_memory.py FILE [--level char]
python scripts/corpus_memory.py TRAIN VALID TEST

Reads the peak of its own process from /proc, so it needs Linux.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from rnndrop.config.compose import compose
from rnndrop.data import batching, load

BATCH = 20


def peak() -> int:
    """The most memory (bytes) that this process has had resident so far."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return 1024 * int(found[1])


def main() -> None:
    """Load the corpus as a run does and print what that took beyond the imported program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--level", choices=("word", "char"), default="word")
    given = parser.parse_args()
    names = ("file",) if len(given.files) == 1 else ("train", "valid", "test")
    overrides = [f"data.{name}='{path}'" for name, path in zip(names, given.files, strict=True)]
    settings = compose(["data=text", f"data.level={given.level}", *overrides]).data
    size = sum(Path(path).stat().st_size for path in given.files)

    before, start = peak(), time.process_time()
    corpus = load(settings)
    loaded = peak() - before
    corpus.fingerprint()
    columns = batching.columns(corpus.train, BATCH)
    print(
        f"{given.level}: {size / 1e6:.1f} MB, loaded at {loaded / size:.2f} times that, "
        f"in columns of {columns[0].dtype} at {(peak() - before) / size:.2f} times; "
        f"{time.process_time() - start:.1f} s of processor time"
    )


if __name__ == "__main__":
    main()
