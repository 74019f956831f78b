"""A figure before it is drawn, and as the page shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Style = Literal["column", "page"]
"""What a figure fits: a column of a paper with two, or the width of the page."""


@dataclass(frozen=True)
class Drawing:
    """All that a figure is made of, so that any process can draw it.

    Attributes:
        plot: a function of a module that makes the figure.
        series: its arguments: frames, arrays and plain values.
        caption: below the figure.
    """

    plot: Callable[..., Figure]
    series: tuple[Any, ...]
    caption: str


DrawingOrReason: TypeAlias = Drawing | str
"""What is to be drawn, or the reason why there is no figure."""


@dataclass(frozen=True)
class PlannedFigure:
    """A figure for a ``section`` of the page; ``find`` returns what it shows."""

    name: str
    title: str
    find: Callable[[], DrawingOrReason]
    section: str = "figures"


@dataclass(frozen=True)
class FigureEntry:
    """A figure on the page: it lies in ``figures/<name>.*``, or is left out for a ``reason``."""

    name: str
    title: str
    caption: str = ""
    reason: str = ""
    section: str = "figures"
