"""Ctrl-C on a terminal: what is said, how soon, and that nothing of Ray's stands in between."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path

import pytest

_ALLOWED = 20.0  # seconds; some 3 where nothing else runs


def until_ctrl_c(results: Path, pattern: str, after: float) -> tuple[int, float, str]:
    """Run the quickstart on a terminal, press Ctrl-C ``after`` seconds from the ``pattern``; return status, seconds, text."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "harness", "run", "quickstart", "--results", str(results)])  # fmt: skip
    text, seen, pressed, mark = b"", 0.0, 0.0, 0
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                text += os.read(terminal, 2**16)
            except OSError:  # the other side is closed
                break
        seen = seen or (time.monotonic() if re.search(pattern.encode(), text) else 0.0)
        if seen and not pressed and time.monotonic() - seen > after:
            pressed, mark = time.monotonic(), len(text)
            os.write(terminal, b"\x03")
    else:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text[mark:].decode())
    return status, time.monotonic() - pressed, shown


@pytest.mark.slow
@pytest.mark.whole_machine
@pytest.mark.parametrize(
    ("pattern", "after"), [("starting Ray", 0.5), ("starting Ray", 4.0), (r"[12] running", 2.0)]
)
def test_ctrl_c_stops_a_run_soon_and_says_how_to_go_on(tmp_path: Path, pattern: str, after: float) -> None:
    status, seconds, shown = until_ctrl_c(tmp_path / "results", pattern, after)
    assert status == 75 and seconds < _ALLOWED, shown
    assert "Stopped. The same command goes on." in shown
    assert not re.search(r"WARNING|worker\.py|Traceback|raylet", shown), shown
