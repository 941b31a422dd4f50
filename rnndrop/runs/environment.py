"""Where a run is computed: device, threads, precision, and what a record says about them."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rnndrop.config.cells import cell_named
from rnndrop.config.schema import TrainerSettings
from rnndrop.errors import RequestError
from rnndrop.ops import matmul
from rnndrop.recurrent import engine, kernels


def device(name: str) -> torch.device:
    """The device that `trainer.device` names; "auto": the best one here. Raises RequestError if it is absent."""
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(each for each, present in here.items() if present)
    kind, _, index = name.partition(":")
    if not here[kind]:
        raise RequestError(f"trainer.device={name}: this machine has {' '.join(n for n, yes in here.items() if yes)}.")
    if index and int(index) >= (count := torch.cuda.device_count()):
        raise RequestError(f"trainer.device={name}: torch finds {count} GPUs here, cuda:0 to cuda:{count - 1}.")
    return torch.device(name)


_AMPERE = 8  # the first generation of NVIDIA's GPUs with TF32, as torch counts them


def check_precision(name: str, device: torch.device, cell: str) -> None:
    """Raises RequestError where `trainer.precision` would not be what a model of this cell computes with on `device`.

    torch rounds the factors of float32 products on NVIDIA's GPUs alone, to TF32 (`torch.set_float32_matmul_precision`);
    to bf16 our own products round theirs on a CPU (`rnndrop.ops.matmul`), around the compiled steps of a cell.
    """
    if name == "tf32" and not (device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= _AMPERE):
        raise RequestError(
            f"trainer.precision=tf32 changes nothing on this {device.type} device. Use trainer.precision=float32, or an"
            " NVIDIA GPU from Ampere on (trainer.device=cuda)."
        )
    if name != "bf16":
        return
    if device.type != "cpu":
        wrong = f"is for CPUs, not for this {device.type} device"
    elif not matmul.has_bf16():
        wrong = "would be slow: this processor has no bf16 products (AVX512-BF16 or AMX)"
    elif not (cell_named(cell).linear or engine.compiles(cell, bf16=True)):
        hint = "" if kernels.AVAILABLE else " (pip install numba)"
        wrong = f"needs the compiled steps of a cell, and model.cell={cell} has none here{hint}"
    else:
        return
    raise RequestError(f"trainer.precision=bf16 {wrong}. Use trainer.precision=float32, or tf32 on an NVIDIA GPU.")


def fix_workspaces(settings: TrainerSettings) -> None:
    """Have CUDA's products work in the same memory each time, if the run is to be deterministic.

    Its libraries look once, when they are first asked for anything: as a model of the user's own is tried, say.
    """
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def computing(settings: TrainerSettings) -> Iterator[None]:
    """Compute as `precision`, `threads`, `deterministic` and a GPU's number in `device` say; afterwards as before."""
    found, restore, rounded = torch.get_num_threads(), _precision_as_it_is(), matmul.rounds()
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    number = settings.device.partition(":")[2]
    try:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        set_precision(settings.precision)
        if settings.deterministic:
            fix_workspaces(settings)
            torch.use_deterministic_algorithms(True)
        with torch.cuda.device(int(number)) if number else nullcontext():  # our kernels start on the current one
            yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        torch.set_num_threads(found)
        restore()
        matmul.round_factors(rounded)


def set_precision(name: str) -> None:
    """Let the products of float32 matrices round their factors as `trainer.precision` says, where the device can."""
    matmul.round_factors(name == "bf16")
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = name == "tf32"  # torch's default allows it in cuDNN's recurrent kernels


def _precision_as_it_is() -> Callable[[], None]:
    """What makes torch round again as it does now.

    There are two switches, and a setting for each library under them. A switch refuses to be read once a setting has
    been made by itself; then the settings are all that is restored.
    """
    backends: Any = torch.backends
    libraries = (backends.cuda.matmul, backends.mkldnn.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    settings = [(each, each.fp32_precision) for each in libraries]
    matmul, cudnn = None, None
    with suppress(RuntimeError):
        matmul = torch.get_float32_matmul_precision()
    with suppress(RuntimeError):
        cudnn = torch.backends.cudnn.allow_tf32

    def restore() -> None:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if cudnn is not None:
            torch.backends.cudnn.allow_tf32 = cudnn
        for library, precision in settings:
            library.fp32_precision = precision

    return restore


@cache
def code() -> dict[str, Any]:
    """Versions, and the revision of the code, as they are when this process first asks.

    To be asked before it computes: what lies on the disk later may be newer than what it has loaded.
    """
    revision, dirty = git_revision()
    return {
        "rnndrop": version("rnndrop"),
        "torch": str(torch.__version__),
        "numpy": version("numpy"),
        "numba": version("numba") if kernels.AVAILABLE else None,
        "python": platform.python_version(),
        "git_revision": revision,
        "git_dirty": dirty,
    }


def describe(device: torch.device) -> dict[str, Any]:
    """Versions, revision of the code, host, device and threads."""
    return {
        **code(),
        "platform": platform.platform(),
        "host": platform.node(),
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
    }


def machine(device: torch.device) -> str:
    """What computes, in words: `cpu, 2 threads`, or the name of a GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' * (threads != 1)}" if device.type == "cpu" else device.type


@cache
def git_revision() -> tuple[str | None, bool | None]:
    """The commit of this checkout of rnndrop and whether it has uncommitted changes; None when installed."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


@cache
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
