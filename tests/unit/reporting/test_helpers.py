"""Helpers: the results of calls in order, whoever makes them; errors as raised; none that outlives its owner."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.reporting.helpers import Share, alone, helpers

OWNER = """
import time
from harness.reporting.helpers import helpers
with helpers(1) as share:
    share(time.sleep, [(1.0,)] * 600)
    time.sleep(600)
"""  # no guard around it: helpers do not import the main module


def others(share: Share) -> set[int]:
    """Return the processes that make calls beside this one, once there are any."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := {*share(os.getpid, [()] * 2000)()} - {os.getpid()}:
            return found
    raise AssertionError


def test_results_come_in_order_from_several_processes() -> None:
    numbers = [(number, 3) for number in range(200)]
    before = {*psutil.Process().children(recursive=True)}  # of other tests
    with helpers(2) as share:
        assert 1 <= len(others(share)) <= 2
        assert share(divmod, numbers)() == alone(divmod, numbers)() == [divmod(*pair) for pair in numbers]
    assert {*psutil.Process().children(recursive=True)} <= before


def test_few_calls_are_made_here() -> None:
    with helpers() as share:
        assert share(os.getpid, [()] * 3)() == [os.getpid()] * 3


def test_calls_that_wait_count_together_however_they_are_asked_for() -> None:
    before = {*psutil.Process().children(recursive=True)}
    with helpers(1) as share:
        for _ in range(9):
            share(os.getpid, [()])()  # made at once
        assert {*psutil.Process().children(recursive=True)} <= before
        waiting = [share(time.sleep, [(0.0,)]) for _ in range(4)]
        assert len({*psutil.Process().children(recursive=True)} - before) == 1
        assert [finish() for finish in waiting] == [[None]] * 4


DIE = "__import__('os').getpid() == {here} or __import__('os')._exit(9)"


@pytest.mark.parametrize(
    ("first", "error", "said"),
    [("1 / 0", ZeroDivisionError, "division"), (DIE, RuntimeError, "is lost"), ("lambda: 1", RuntimeError, "is lost")],
    ids=["raised", "died", "cannot be sent"],
)  # fmt: skip
def test_an_error_comes_as_it_was_raised_and_a_loss_is_told(
    first: str, error: type[Exception], said: str
) -> None:
    with helpers(1) as share:
        others(share)
        finish = share(eval, [(first.format(here=os.getpid()),), *[("1",)] * 9])
        time.sleep(1.0)  # the helper makes the first call
        with pytest.raises(error, match=said):
            finish()


def test_no_helper_outlives_its_owner(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    owner = subprocess.Popen([sys.executable, script])
    end = time.monotonic() + 60
    while not (family := psutil.Process(owner.pid).children(recursive=True)):
        assert time.monotonic() < end and owner.poll() is None
        time.sleep(0.05)
    time.sleep(3.0)  # in the middle of a call, unless the machine is slow
    owner.kill()
    owner.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    for process in alive:
        process.kill()
    assert not alive
