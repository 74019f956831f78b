"""Peak memory of one trial in a process that runs many."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

import torch

_PROC = Path("/proc/self")


def reset_peak(device: torch.device) -> None:
    """Forget earlier peaks, so that a reused process measures one trial."""
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
