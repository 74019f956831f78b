"""The contrasts of a study with their intervals and verdicts, as a forest plot; below one of several datasets a line for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.reporting.figures import style
from harness.reporting.figures.gains import axis_limit, draw_interval, interval_text
from harness.reporting.palette import VERDICT_COLOURS

MOST_CONTRASTS = 24
_LINE, _LETTER, _BORDERS = 0.125, 0.055, 0.7  # inches: a line, a letter, what is above and below the lines
_LEAST_SCALE = 1.0  # inches of the axis
_INK, _GREY = "0.25", "0.55"


@style.applied
def contrast_forest(contrasts: pd.DataFrame, margin: float, label: str) -> Figure:
    """Return differences and intervals, written beside them with their verdicts.

    Args:
        contrasts: one row per line: ``name``; ``difference``, ``low``, ``high`` in the unit of the axis (NaN where there is no
            interval); ``verdict``, empty without one; ``primary``; ``of_dataset``, whether it is a part of the line above;
            ``note``, written below its numbers.
        margin: within which a difference counts as none, shaded; NaN where it is not one for all.
        label: of the axis.
    """
    width = style.most_width()
    between = "\n" if width <= style.COLUMN else "  "
    texts = [_words(row, between) for row in contrasts.itertuples()]
    beside = _LETTER * max(len(line) for text in texts for line in text.split("\n"))
    names = [
        style.wrap_text(name, max(0.9, min(2.4, width - beside - _LEAST_SCALE))) for name in contrasts["name"]
    ]
    lines = [1.5 + max(name.count("\n"), text.count("\n")) for name, text in zip(names, texts, strict=True)]
    places = np.cumsum(lines) - np.array(lines) / 2
    figure = Figure(figsize=(width, _BORDERS + _LINE * sum(lines)), layout="constrained")
    axis = figure.subplots()
    limit = axis_limit(contrasts[["difference", "low", "high"]])
    if not np.isnan(margin):
        axis.axvspan(-margin, margin, color="0.93", linewidth=0, zorder=0)
        limit = max(limit, 1.06 * margin)
    axis.axvline(0, color="0.4", linewidth=0.8)
    for place, row, text in zip(places, contrasts.itertuples(), texts, strict=True):
        _draw(axis, place, row, text, limit)
    for end, goes_on in zip(np.cumsum(lines)[:-1], contrasts["of_dataset"].iloc[1:], strict=True):
        if not goes_on:
            axis.axhline(end, color="0.9", linewidth=0.5)
    axis.set_yticks(places, names)
    axis.tick_params(axis="y", length=0, pad=5)
    axis.set(xlim=(-limit, limit), ylim=(sum(lines), 0), xlabel=label)
    axis.grid(True, axis="x")
    axis.grid(False, axis="y")
    axis.spines["left"].set_visible(False)
    return figure


def _draw(axis: Axes, place: float, row: Any, text: str, limit: float) -> None:
    colour = VERDICT_COLOURS.get(row.verdict, _INK)
    marker, size, width = ("s", 3.5, 0.9) if row.of_dataset else ("D", 4.5, 1.3)
    draw_interval(axis, place, row.difference, row.low, row.high, limit, width, line=colour, marker=marker, color=colour,
                  markersize=size, markerfacecolor=colour if row.verdict in VERDICT_COLOURS else "white")  # fmt: skip
    axis.text(1.06, place, text, transform=axis.get_yaxis_transform(), va="center", fontsize=6.5, linespacing=1.1,
              color="black" if row.primary else _GREY)  # fmt: skip


def _words(row: Any, between: str) -> str:
    """Return ``+0.55 (+0.11 to +0.99)  gain``, and the note below it."""
    words = f"{interval_text(row.difference, row.low, row.high)}{between}{row.verdict}".rstrip()
    return f"{words}\n{row.note}" if row.note else words
