"""What is scored in tests, in a module that a process imports at once."""

from __future__ import annotations

import os
import signal
import time


def slowly(number: int) -> tuple[int, int]:
    """Return the number and who has worked on it, the first ones after the last."""
    time.sleep(0.4 - 0.05 * number)
    return number, os.getpid()


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(error: Exception) -> None:
    raise error
