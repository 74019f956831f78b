"""What people read on standard output."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_ANY_WIDTH = 1000  # columns: what is piped or logged is wrapped by whoever shows it


class _Console(Console):
    """Goes on in silence where nobody reads any more, as after ``| head -1``: what is computed is worth more."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console() -> Console:
    """Return a console that writes lines as they are, and tables as wide as the terminal, if it is one."""
    width = None if sys.stdout.isatty() else _ANY_WIDTH
    return _Console(highlight=False, soft_wrap=True, width=width)


def replace_what_cannot_be_shown() -> None:
    """Print ``?`` for letters that a terminal, or a log that is not UTF-8, has no sign for."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def counted(number: int, noun: str) -> str:
    """Return ``1 trial`` or ``2 trials``."""
    return f"{number} {noun}" + "s" * (number != 1)
