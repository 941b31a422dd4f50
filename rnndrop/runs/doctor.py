"""Is everything there that a run of these settings needs? Each check is one function that returns what it found."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from rnndrop.config.schema import Config, own_code
from rnndrop.ops.matmul import has_bf16
from rnndrop.runs import environment
from rnndrop.runs.loading import load_corpus
from rnndrop.store.lock import HELD, held
from rnndrop.store.progress import Progress, Watching
from rnndrop.tasks.base import checked

LITTLE = 2**30  # bytes: less free disk than this is worth a complaint


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    sound: bool
    detail: str


def examine(config: Config) -> Iterator[Finding]:
    """Check versions, device, threads, disk, locks, the corpus, and time one step of training."""
    checks: dict[str, Callable[[Config], str]] = {
        "versions": _versions,
        "device": _device,
        "threads": _threads,
        "output": _output,
        "locks": _locks,
        "data": _data,
        "step": _step,
    }
    for name, check in checks.items():
        try:
            yield Finding(name, True, check(config))
        except Exception as error:  # the next checks may still have something to say
            yield Finding(name, False, f"{error}" or type(error).__name__)


def _versions(config: Config) -> str:
    def of(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"no {package}"

    packages = ("rnndrop", "torch", "numba", "hydra-core", "submitit", "ray", "tensorboard", "mlflow", "wandb")
    return f"python {environment.describe(torch.device('cpu'))['python']} · " + " · ".join(map(of, packages))


def _device(config: Config) -> str:
    device = environment.device(config.trainer.device)
    environment.check_precision(config.trainer.precision, device, config.model.cell)
    facts = environment.describe(device)
    bf16 = " · bf16 products" if device.type == "cpu" and has_bf16() else ""
    return f"{facts['device']} · {facts['device_name']}{bf16}"


def _threads(config: Config) -> str:
    return f"{config.trainer.threads or torch.get_num_threads()} of {os.cpu_count()} processors"


def _output(config: Config) -> str:
    folder = Path(config.output).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    with tempfile.TemporaryFile(dir=existing):
        pass
    free = shutil.disk_usage(existing).free
    if free < LITTLE:
        raise OSError(f"only {free / 2**20:.0f} MiB are free on the disk of {existing}")
    return f"{folder} can be written; {free / 2**30:.0f} GiB free"


def _locks(config: Config) -> str:
    folder = Path(config.output).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    with tempfile.TemporaryDirectory(dir=existing) as place, held(Path(place) / "lock") as by_system:
        if by_system:
            return "the file system locks files"
        return f"the file system has no file locks: a file *{HELD} stands in for each; remove it after a crash"


def _data(config: Config) -> str:
    corpus, facts = load_corpus(config.data)
    sizes = [f"{facts[name]:,}" for split in ("train", "valid", "test") if (name := f"{split}_tokens") in facts]
    said = [f"{' / '.join(sizes)} tokens"] if sizes else []  # a task of the user's own may have none
    return " · ".join([corpus.name, *said, f"{len(corpus.vocabulary):,} types", f"sha256 {facts['sha256'][:16]}"])


def _step(config: Config) -> str:
    """Train on two steps; time the second."""
    own_code(config)
    with environment.computing(config.trainer):
        return _timed_step(config)


def _timed_step(config: Config) -> str:
    corpus, facts = load_corpus(config.data)
    device = environment.device(config.trainer.device)
    task = checked(config, corpus, device)
    model = task.build(config, corpus, device)
    one = config.trainer.model_copy(update={"epochs": 1, "finetune_epochs": 0})
    short = config.model_copy(update={"trainer": one})
    training = task.training(short, task.few(corpus, config, 2), model)
    marks = [(time.perf_counter(), 0)]

    def mark(progress: Progress) -> None:
        marks.append((time.perf_counter(), training.tokens or marks[-1][1]))

    training.run(lambda: 1.0, Watching(mark))
    (start, before), (end, after) = marks[1:3] if len(marks) > 3 else marks[:2]
    rate = (after - before) / (end - start)
    epoch = f" · about {facts['train_tokens'] / rate:,.0f} s an epoch" if "train_tokens" in facts else ""
    return f"{(end - start) * 1000:.0f} ms · {rate:,.0f} tokens/s{epoch}"
