"""Memory: how the C library gives it back, and how libraries say that a GPU has too little."""

from __future__ import annotations

import ctypes
import platform

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


# What the libraries below torch say where its own allocator was not the one that asked.
_NO_MEMORY = (
    "CUDA error: out of memory", "Triton Error [CUDA]: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)  # fmt: skip


def out_of_memory(error: BaseException | None) -> bool:
    """Whether a GPU had too little memory; torch.compile wraps what says so."""
    return error is not None and (
        isinstance(error, torch.OutOfMemoryError)
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY))
        or out_of_memory(getattr(error, "inner_exception", None))
    )


def keep_memory() -> None:
    """Keep freed memory in the process instead of mapping it anew at each step, which costs a tenth of a CPU's step.

    A training asks for the same large blocks in every step. From then on, and for the whole process. Does nothing where
    the C library is not glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
