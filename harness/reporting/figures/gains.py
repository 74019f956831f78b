"""Gains over the baseline with their intervals, arm by arm, as a forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.reporting.figures import style
from harness.reporting.wording import signed

MOST_GAINS = 16
"""Arms of one panel; the table of comparisons has the rest."""
# inches: a name's line, a letter, a line, the least axis
_NAME, _LETTER, _LINE, _SCALE = 1.5, 0.055, 0.12, 1.15
_GREY = "0.55"  # of an interval that is not for retraining
_INK = "0.25"  # of an arm without a verdict
_FAR = 5  # times the median reach of the intervals, beyond which one is cut off


@style.applied
def gain_forest(gains: pd.DataFrame, by: Sequence[str], arms: Sequence[str]) -> Figure:
    """Return gains and intervals, written beside them: a panel for each value of ``by``, a line per arm.

    One scale for all panels of an architecture; what lies far beyond the other intervals is cut off at an arrow.

    Args:
        gains: one row per arm: the columns ``by``, one of them ``architecture``, ``arm``; ``gain``, ``low``, ``high``
            (percentage points; NaN where there is no interval), ``fixed`` (whether it is of these networks alone), ``holds``.
        by: what panels differ in.
        arms: all arms of the study, in the order of their colours.
    """
    styles = style.arm_styles(arms)
    limits = {
        name: axis_limit(rows[["gain", "low", "high"]])
        for name, rows in gains.groupby("architecture", sort=False, observed=True)
    }
    shown = [(values, rows.iloc[:MOST_GAINS]) for values, rows in style.panel_groups(gains, by)]
    names = {arm: style.wrap_text(str(arm), _NAME) for arm in gains["arm"]}
    texts = {interval_text(row.gain, row.low, row.high) for _, rows in shown for row in rows.itertuples()}
    widest = max(len(line) for name in names.values() for line in name.split("\n"))
    beside = _LETTER * (widest + max(map(len, texts)))
    lines = max(sum(names[arm].count("\n") + 1.4 for arm in rows["arm"]) for _, rows in shown)
    height = 0.75 + _LINE * max(lines, 5)
    width = min(style.most_width(), beside + _SCALE)
    figure, axes = style.panel_grid(len(shown), width=width, height=height, share_y=False)
    for axis, (values, rows) in zip(axes, shown, strict=True):
        limit = limits[values["architecture"]]
        axis.axvline(0, color="0.4", linewidth=0.8)
        for place, row in enumerate(rows.itertuples()):
            _draw_arm(axis, place, row, styles[str(row.arm)], limit)
        axis.set_yticks(range(len(rows)), [names[arm] for arm in rows["arm"]])
        axis.tick_params(axis="y", length=0, pad=5)
        axis.set(xlim=(-limit, limit), ylim=(len(rows) - 0.4, -0.6), title=style.panel_title(gains, values))
        axis.grid(True, axis="x")
        axis.grid(False, axis="y")
        axis.spines["left"].set_visible(False)
    for axis in axes[-int(axes[0].get_subplotspec().get_gridspec().ncols) :]:  # type: ignore[union-attr]
        axis.set_xlabel("Gain in Dice (points)")
    return figure


def axis_limit(numbers: pd.DataFrame) -> float:
    """Return where the axis ends: at the widest interval that is not far wider than most; a row has a value and its interval."""
    reach = numbers.abs().max(axis="columns").to_numpy(float)
    near = reach[reach <= _FAR * np.median(reach)]
    return 1.06 * float(near.max()) or 1.0


def draw_interval(
    axis: Axes,
    place: float,
    value: float,
    low: float,
    high: float,
    limit: float,
    width: float = 1.2,
    **looks: Any,
) -> None:
    """Draw a value as a marker upon its interval; an interval beyond the axis ends there at an arrow, and so does a value.

    Args:
        axis: that ends at ``limit`` on both sides.
        place: of the line.
        value, low, high: in the unit of the axis; ``low`` and ``high`` are NaN where there is no interval.
        limit: of :func:`axis_limit`.
        width: of the line, in points.
        looks: of the marker; ``line`` is the colour of the line.
    """
    colour = looks.pop("line")
    low, high = (value, value) if np.isnan(low) else (low, high)
    axis.hlines(place, max(low, -limit), min(high, limit), color=colour, linewidth=width)
    for beyond, end, marker in ((low < -limit, -limit, "<"), (high > limit, limit, ">")):
        if beyond:
            axis.plot(end, place, marker, color=colour, markersize=4, clip_on=False)
    axis.plot(value if abs(value) <= limit else np.copysign(0.94 * limit, value), place, **looks)


def _draw_arm(axis: Axes, place: int, row: Any, look: style.PlotStyle, limit: float) -> None:
    colour = look.colour if row.holds else _INK
    draw_interval(axis, place, row.gain, row.low, row.high, limit, line=_GREY if row.fixed else colour, marker=look.marker,
                  color=colour, markersize=4.5, markerfacecolor=look.colour if row.holds else "white")  # fmt: skip
    axis.text(1.06, place, interval_text(row.gain, row.low, row.high), transform=axis.get_yaxis_transform(), va="center", fontsize=6.5,
              color=_GREY if row.fixed else "black", fontweight="bold" if row.holds else "normal")  # fmt: skip


def interval_text(value: float, low: float, high: float) -> str:
    """Return ``−0.39 (−1.36 to +0.59)``."""
    return signed(value) + ("" if np.isnan(low) else f" ({signed(low)} to {signed(high)})")
