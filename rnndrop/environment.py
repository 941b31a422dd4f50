"""What a record says about where a run was computed."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rnndrop.errors import RequestError


def device(name: str) -> torch.device:
    """The device that `trainer.device` names; "auto": the best one here. Raises RequestError if it is absent."""
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(each for each, present in here.items() if present)
    if not here[name]:
        raise RequestError(f"trainer.device={name}: this machine has {' '.join(n for n, yes in here.items() if yes)}.")
    return torch.device(name)


_PRECISIONS = {"float32": "highest", "tf32": "high", "bf16": "medium"}  # torch's words


def set_precision(name: str) -> None:
    """Let the products of float32 matrices round their factors as `trainer.precision` says, where the device can."""
    torch.set_float32_matmul_precision(_PRECISIONS[name])
    torch.backends.cudnn.allow_tf32 = name != "float32"  # torch's default allows it in cuDNN's recurrent kernels


def describe(device: torch.device) -> dict[str, Any]:
    """Versions, revision of the code, host, device and threads."""
    revision, dirty = git_revision()
    return {
        "rnndrop": version("rnndrop"),
        "torch": str(torch.__version__),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "git_revision": revision,
        "git_dirty": dirty,
    }


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
