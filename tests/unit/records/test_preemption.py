"""A driver's request to its workers, and a signal to a process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from harness.errors import Interrupted
from harness.records import preemption
from harness.records.preemption import StopFile, interrupt_and_remember, is_signalled, listen
from harness.records.processes import Process
from harness.records.store import Store
from harness.spec import TrialSpec


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch):
    """Put the handlers of signals back, and forget what was received."""
    monkeypatch.setattr(preemption, "_received", [])
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_word_says_go_on_until_it_says_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "_LOOK", 0.0)
    driver, worker = StopFile(tmp_path / "word"), StopFile(tmp_path / "word")
    assert not worker.asks_to_stop()  # no driver, as with 'medctx trial'
    driver.create()
    assert not worker.asks_to_stop()
    driver.ask_to_stop()
    assert worker.asks_to_stop()
    driver.remove()
    assert worker.asks_to_stop() and not StopFile(tmp_path / "word").asks_to_stop()


def test_looking_at_a_word_is_cheap_enough_for_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    monkeypatch.setattr(Path, "read_text", lambda path: looks.append(path) or "go")
    stop_file = StopFile(tmp_path / "word")
    assert not any(stop_file.asks_to_stop() for _ in range(1000)) and len(looks) <= 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_puts_a_trial_down(
    number: signal.Signals, handlers: None, spec: TrialSpec, tmp_path: Path
) -> None:
    attempt = Store(tmp_path).claim(spec.id, Process.this())
    assert attempt
    listen()
    attempt.check_in()
    os.kill(os.getpid(), number)
    assert is_signalled() and attempt.is_asked_to_stop()
    with pytest.raises(Interrupted, match="asked to stop"):
        attempt.check_in()


def test_the_second_interrupt_does_not_wait(handlers: None) -> None:
    listen(signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    assert is_signalled()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()


def test_ctrl_c_that_somebody_swallows_is_remembered(handlers: None) -> None:
    preemption._received.append(signal.SIGINT)  # of an earlier run in this process
    interrupt_and_remember()
    assert not is_signalled()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert is_signalled()
