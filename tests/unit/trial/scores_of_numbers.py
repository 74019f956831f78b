"""What is scored in tests, in a module that a process imports at once; and a process that scores until it is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from harness.trial.scoring import beside


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


def sleep(number: int) -> None:
    time.sleep(600)


def own(path: str) -> None:
    """Write the ids of all processes below this one to a file, once two of them work."""

    def numbers() -> Iterator[int]:
        yield 0
        yield 1
        while len(family := psutil.Process().children(recursive=True)) < 4:
            time.sleep(0.05)
        part = Path(path).with_suffix(".part")
        part.write_text(" ".join(str(child.pid) for child in family))
        part.rename(path)
        time.sleep(600)

    with beside(2, 1) as score:
        list(score(sleep, numbers()))
