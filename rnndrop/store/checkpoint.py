"""Checkpoints: one file holds everything that a training needs to go on exactly as if it had never stopped.

A checkpoint is a safetensors file, its numbers and lists as JSON in the header; nothing is pickled. Its name carries
the step and the start of the sha256 of its bytes, `checkpoint-00000420-9f86d081884c7d65.safetensors`, so each file
proves itself: no second file can disagree with it. The newest two are kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from rnndrop.config.identity import is_owner
from rnndrop.errors import RequestError
from rnndrop.store.files import UnreadableError, read_file, write_atomically

if TYPE_CHECKING:
    from torch import Tensor

PATTERN = "checkpoint-*.safetensors"
KEPT = 2
_DIGITS = 16  # of the sha256, in the name

log = logging.getLogger("rnndrop")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training: `tensors`, all on the CPU, and `facts`, whatever JSON can hold."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint; only then remove all but the newest `KEPT`. Raises OSError, with the others untouched."""
    import safetensors.torch  # here, because sweeps and reports look for checkpoints without torch

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    first = {tensor.data_ptr(): name for name, tensor in reversed(tensors.items())}  # of those that are one
    tensors = {name: each if first[each.data_ptr()] == name else each.clone() for name, each in tensors.items()}
    content = safetensors.torch.save(tensors, metadata={"facts": json.dumps(checkpoint.facts)})
    path = folder / f"checkpoint-{checkpoint.step:08}-{_digest(content)}.safetensors"
    for later in paths(folder):  # left behind by a damaged or foreign continuation: they would win the next resume
        if step_of(later) > checkpoint.step:
            later.unlink(missing_ok=True)
    write_atomically(path, content)
    for old in [other for other in paths(folder) if other != path][KEPT - 1 :]:
        old.unlink(missing_ok=True)
    return path


def load(folder: Path, owner: Any) -> Checkpoint | None:
    """The newest sound checkpoint of the run that `owner` describes (`identity.owner`), or None.

    A damaged one, or one of another run, is named in a warning and the one before is used. Raises UnreadableError for
    one that may be whole: what it holds is not trained again.
    """
    import safetensors.torch

    for path in paths(folder):
        try:
            content = read_file(path)
            if content is None:
                continue
            if _digest(content) != path.stem.rpartition("-")[2]:
                raise ValueError("its content does not have the sha256 that its name says")
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            facts = json.loads(header["__metadata__"]["facts"])
            if not is_owner(owner, facts.get("owner", owner)):
                log.warning("%s belongs to another run, perhaps copied here; it is not used.", path)
                continue
            # Cloned, because torch aligns what it allocates itself, and sums may depend on the alignment.
            tensors = {name: tensor.clone() for name, tensor in safetensors.torch.load(content).items()}
            return Checkpoint(step_of(path), tensors, facts)
        except UnreadableError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            log.warning("%s is damaged (%s) and is not used.", path, error)
    return None


def paths(folder: Path) -> list[Path]:
    """The checkpoints in a run folder, newest first. Raises UnreadableError."""
    try:
        there = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UnreadableError(folder, error.strerror) from None
    found = [path for path in there if fnmatch(path.name, PATTERN) and path.stem.split("-")[1].isdigit()]
    return sorted(found, key=lambda path: (step_of(path), _written(path)), reverse=True)


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # removed by now
        return 0


def step_of(path: Path) -> int:
    """The step after which a checkpoint was taken."""
    return int(path.stem.split("-")[1])


def discard(folder: Path) -> None:
    """Remove all checkpoints of a run folder. Raises RequestError for one that stays: it would be taken up again."""
    for path in paths(folder):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise RequestError(f"Cannot remove {path}: {error.strerror}.") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
