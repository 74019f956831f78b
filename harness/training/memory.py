"""Memory of one trial in a process that runs many: what it is allocated from, and its peak."""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress
from pathlib import Path

import torch

_PROC = Path("/proc/self")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # options of glibc's mallopt


def keep_freed_memory() -> None:
    """Let freed host memory stay with the process, up to 1 GiB, for the next step to take.

    glibc returns it to the kernel after each step, which then hands out zeroed pages one fault at a time: a
    sixth of a small network's step. Another C library is left as it is.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, 32 * 2**20)  # the largest that glibc takes
        libc.mallopt(_TRIM_THRESHOLD, 2**30)


def reset_peak(device: torch.device) -> None:
    """Forget earlier peaks and give back what earlier trials left, so that a reused process measures one trial."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        (_PROC / "clear_refs").write_text("5")


def limit_memory(device: torch.device, share: float) -> None:
    """Let this process allocate only a share of the device's memory, so that it cannot crowd out neighbours."""
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(share, device)


def peak_bytes(device: torch.device) -> int:
    """Return the peak of the device's memory, or on the CPU the resident high-water mark, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError, StopIteration, ValueError):
        lines = (_PROC / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
