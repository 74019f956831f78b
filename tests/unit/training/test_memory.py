from __future__ import annotations

import resource

import numpy as np

from harness.training.memory import keep_freed_memory


def faults_of_a_step() -> int:
    """Return the page faults of filling 160 MB in arrays of 4 MB and letting them go."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(2**19) for _ in range(40)]
    del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_memory_that_a_step_has_freed_is_there_for_the_next() -> None:
    keep_freed_memory()
    first = faults_of_a_step()
    assert faults_of_a_step() < first / 10 or first < 100  # few from the start: an earlier test called it
