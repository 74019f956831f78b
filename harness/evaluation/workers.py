"""How many processes may work at the same time."""

from __future__ import annotations

import math
import os

_LOADERS = 8  # of a trial whose needs are not known


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_loaders(cores: float, threads: int, needed: int | None = None) -> int:
    """Return how many loaders a trial on a GPU gets.

    Args:
        cores: that the trial has.
        threads: of these, what its own process takes.
        needed: as was measured; None where it was not.
    """
    wanted = _LOADERS if needed is None else needed
    return max(0, min(wanted, math.floor(cores + 1e-9) - threads))
