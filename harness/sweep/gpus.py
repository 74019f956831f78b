"""The GPUs of this machine as the driver's own tool tells them, without importing torch."""

from __future__ import annotations

import shutil
import subprocess
import time

_LOOK = 5.0  # seconds between questions


def count_gpus() -> int:
    """Return how many there are."""
    return len(_ask("index"))


class Gpus:
    """How much the GPUs have to do, asked at most every few seconds."""

    def __init__(self) -> None:
        self._there = shutil.which("nvidia-smi") is not None
        self._asked = -_LOOK
        self._use: list[str] = []

    def use(self) -> list[str]:
        """Return the use of all GPUs in words, or nothing where there is none."""
        if self._there and time.monotonic() - self._asked >= _LOOK:
            self._asked = time.monotonic()
            rows = [row.split(",") for row in _ask("utilization.gpu")]
            loads = [int(row[0]) for row in rows if row[0].strip().isdigit()]
            self._use = [f"GPU {' '.join(f'{load} %' for load in loads)}"] if loads else []
        return self._use


def _ask(what: str) -> list[str]:
    """Return one line for each GPU."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.splitlines() if done.returncode == 0 else []
