"""What is written in a figure, and where: none may be too small, leave its figure, or lie over another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from harness.reporting.figures import style
from harness.reporting.figures.planned import Drawing, Style

LEAST = 6.0  # points
_TOUCH = 0.5  # pixels of 100 to an inch: boxes of letters have room above and below


@style.applied
def laid_out(drawing: Drawing, size: Style = "page") -> Figure:
    """Return a figure as it would be written."""
    with style.fitting(size):
        figure = drawing.plot(*drawing.series)
    figure.draw_without_rendering()
    return figure


def shown_labels(axis: Axes) -> list[Text]:
    """Return the labels of ticks within the axis; matplotlib holds others, which it does not draw."""
    if not axis.axison:
        return []
    sides = ((axis.xaxis, sorted(axis.get_xlim())), (axis.yaxis, sorted(axis.get_ylim())))
    return [
        label
        for side, (low, high) in sides
        for tick in side.get_major_ticks()
        if low <= tick.get_loc() <= high
        for label in (tick.label1, tick.label2)
    ]


def texts_of(figure: Figure) -> Iterator[Text]:
    """Yield what is written."""
    artists = [
        *figure.texts,
        *(text for legend in figure.legends for text in (*legend.get_texts(), legend.get_title())),
    ]
    for axis in figure.axes:
        if axis.get_visible():
            sides = (axis.xaxis.label, axis.yaxis.label, axis.xaxis.offsetText, axis.yaxis.offsetText)
            artists += [*axis.texts, axis.title, *(sides if axis.axison else ()), *shown_labels(axis)]
    yield from (one for one in artists if one.get_visible() and one.get_text().strip())


def faults(figure: Figure, width: float) -> list[str]:
    """Return what is wrong with the texts of a figure for a column or page of ``width`` inches."""
    found = [f"{figure.get_figwidth():.2f} inches wide"] if figure.get_figwidth() > width + 1e-6 else []
    boxes = [(one.get_text(), one.get_window_extent(), one.get_fontsize()) for one in texts_of(figure)]
    right, top = figure.get_size_inches() * figure.dpi
    for text, box, size in boxes:
        if size < LEAST:
            found.append(f"{text!r} has {size} points")
        if box.x0 < -1 or box.y0 < -1 or box.x1 > right + 1 or box.y1 > top + 1:
            found.append(f"{text!r} leaves the figure")
    for (one, a, _), (other, b, _) in combinations(boxes, 2):
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > _TOUCH and up > _TOUCH:
            found.append(f"{one!r} over {other!r}")
    return found
