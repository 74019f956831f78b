"""What is computed does not end because nobody reads what is printed, or cannot show it."""

from __future__ import annotations

import subprocess
import sys

import pytest

TALKS = """
from harness.console import console, replace_what_cannot_be_shown
import sys
replace_what_cannot_be_shown()
out = console()
for number in range(20_000):
    out.print(f"line {number} · Fälle")
print("ended", file=sys.stderr)
"""


@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_pipe_that_nobody_reads_ends_nothing(reader: str) -> None:
    command = f"{sys.executable} -c '{TALKS}' | {reader}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr.strip() == "ended" and "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_cannot_be_shown_become_question_marks(encoding: str) -> None:
    code = TALKS.replace("20_000", "1").replace("Fälle", "Fälle 漢字")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=True,
    )
    shown = done.stdout.decode(encoding)
    expected = {"ascii": "line 0 ? F?lle ??", "latin-1": "line 0 · Fälle ??", "utf-8": "line 0 · Fälle 漢字"}
    assert shown.strip() == expected[encoding]
