"""What people read on standard output."""

from __future__ import annotations

import sys

from rich.console import Console

_ANY_WIDTH = 1000  # columns: what is piped or logged is wrapped by whoever shows it


def console() -> Console:
    """Return a console that writes lines as they are, and tables as wide as the terminal, if it is one."""
    width = None if sys.stdout.isatty() else _ANY_WIDTH
    return Console(highlight=False, soft_wrap=True, width=width)


def counted(number: int, noun: str) -> str:
    """Return ``1 trial`` or ``2 trials``."""
    return f"{number} {noun}" + "s" * (number != 1)
