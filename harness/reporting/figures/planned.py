"""A figure before and after it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FigureOrReason: TypeAlias = "tuple[Figure, str] | str"
"""A figure with its caption, or the reason why there is none."""


@dataclass(frozen=True)
class PlannedFigure:
    """A figure to draw, for a ``section`` of the page."""

    name: str
    title: str
    draw: Callable[[], FigureOrReason]
    section: str = "figures"


@dataclass(frozen=True)
class FigureEntry:
    """A figure on the page: it lies in ``figures/<name>.*`` and is ``width`` inches wide, or is left out for a ``reason``."""

    name: str
    title: str
    caption: str = ""
    width: float = 0.0
    reason: str = ""
    section: str = "figures"
