"""Freed memory stays with the process; each measurement in a process of its own, since the setting stays too."""

from __future__ import annotations

import subprocess
import sys

STEPS = """
import resource
import numpy as np
from harness.training.memory import keep_freed_memory

if {keep}:
    keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(2**17) for _ in range(40)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults_of_a_step(keep: bool) -> int:
    """Return the page faults of filling 40 MB in arrays of 1 MB and letting them go, for the third time."""
    program = [sys.executable, "-c", STEPS.format(keep=keep)]
    return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


def test_memory_that_a_step_has_freed_is_there_for_the_next() -> None:
    assert faults_of_a_step(keep=True) < faults_of_a_step(keep=False) / 10
