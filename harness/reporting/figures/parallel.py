"""Parallel coordinates of a search: each suggestion is a line through its parameters to its Dice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator

from harness.reporting.figures import style
from harness.reporting.figures.search_plots import DICE, Axis

MOST_AXES = 8  # of which the last one is Dice
_GAP = 0.6  # inches between two axes at least: room for the values of one
_HEIGHT, _LETTERS = 1.9, 6.5  # inches of an axis, points
_COLOURS = "viridis_r"  # dark for the best, which shows on white
_HALO = withStroke(linewidth=2.5, foreground="white")


def axes_with_room() -> int:
    """Return how many axes stand side by side, Dice included."""
    return min(MOST_AXES, 1 + int((style.most_width() - 0.8) / _GAP))


@style.applied
def search_parallel(frame: pd.DataFrame, dimensions: Sequence[Axis]) -> Figure:
    """Return a line per suggestion through an axis for each parameter, and one for its Dice; better ones are darker.

    Args:
        frame: one row per complete suggestion: ``value`` (%), and the columns of ``dimensions``.
        dimensions: the axes, those that matter most first; the first ones that have room are drawn.
    """
    columns = [*dimensions[: axes_with_room() - 1], Axis("value", DICE)]
    gap = min(1.2, (style.most_width() - 0.8) / (len(columns) - 1))
    figure = Figure(figsize=(max(style.COLUMN, 0.8 + gap * (len(columns) - 1)), _HEIGHT + 0.9), layout="constrained")  # fmt: skip
    axis = figure.subplots()
    axis.set_axis_off()
    places = np.column_stack([_heights(frame, one, frame[one.column].to_numpy(float)) for one in columns])
    shades = Normalize(frame["value"].min(), frame["value"].max())
    _draw_lines(axis, places, frame["value"].to_numpy(float), shades)
    for place, one in enumerate(columns):
        _draw_axis(axis, place, one, frame, gap, last=place == len(columns) - 1)
    axis.set_xlim(-0.05, len(columns) - 0.95)
    axis.set_ylim(-0.02, 1.02)
    return figure


def _draw_lines(axis: Axes, places: Any, values: Any, shades: Normalize) -> None:
    """Draw the suggestions, the better ones over the others; the best is thick."""
    colours = matplotlib.colormaps[_COLOURS]
    for row in np.argsort(values, kind="stable"):
        best = row == int(np.argmax(values))
        axis.plot(places[row], color=colours(shades(values[row])), linewidth=2 if best else 0.9,
                  alpha=1 if best else 0.75, marker="o", markersize=2.2)  # fmt: skip


def _draw_axis(axis: Axes, place: int, one: Axis, frame: pd.DataFrame, gap: float, last: bool) -> None:
    """Draw one upright axis with its values; names stand below and above in turns, so that each has room."""
    axis.vlines(place, 0, 1, color="0.3", linewidth=0.8)
    ticks, words = _ticks(frame, one, gap)
    for tick, word in zip(_heights(frame, one, ticks), words, strict=True):
        axis.annotate(word, (place, tick), (4 if last else -3, 0), textcoords="offset points", va="center",
                      ha="left" if last else "right", fontsize=_LETTERS, path_effects=[_HALO])  # fmt: skip
    below = place % 2 == 0
    axis.annotate(style.wrap_text(one.label, 2 * gap - 0.15), (place, 0 if below else 1), (0, -7 if below else 7),
                  textcoords="offset points", ha="center", va="top" if below else "bottom", fontsize=7)  # fmt: skip


def _scaled(one: Axis, values: Any) -> Any:
    return np.log10(values) if one.log else np.asarray(values, float)


def _span(frame: pd.DataFrame, one: Axis) -> tuple[float, float]:
    """Return both ends of an axis, as :func:`_scaled` gives them: those of its categories, or of what was tried."""
    if one.categories:
        return -0.5, len(one.categories) - 0.5
    values = _scaled(one, frame[one.column].to_numpy(float))
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _heights(frame: pd.DataFrame, one: Axis, values: Any) -> Any:
    low, high = _span(frame, one)
    return (_scaled(one, values) - low) / (high - low)


def _ticks(frame: pd.DataFrame, one: Axis, gap: float) -> tuple[Any, list[str]]:
    """Return the values that are written beside an axis, and their words."""
    if one.categories:
        return np.arange(len(one.categories)), [style.wrap_text(word, gap - 0.1) for word in one.categories]
    low, high = _span(frame, one)
    if not one.log:
        found = MaxNLocator(4, integer=one.whole).tick_values(low, high)
    else:
        many = high - low > 1.3  # powers of ten
        found = LogLocator(subs=(1.0,) if many else (1.0, 2.0, 5.0)).tick_values(10**low, 10**high)
    near = _scaled(one, found)
    inside = found[(near >= low - 1e-9) & (near <= high + 1e-9)]
    return inside, [f"{value:g}" for value in inside]
