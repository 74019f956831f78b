"""What the page is told of a figure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FigureEntry:
    """A figure of a section: drawn to ``figures/<name>.*``, ``width`` inches, or left out for a ``reason``."""

    name: str
    title: str
    caption: str = ""
    width: float = 0.0
    reason: str = ""
    section: str = "figures"
