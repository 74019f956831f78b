"""Dots of mean scores with their spread, on an axis that fits them: by architecture and arm, and by role."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.reporting.figures import style
from harness.reporting.palette import ROLE_COLOURS

DOT_PANELS = ("dataset", "shots")


@style.applied
def score_dots(scores: pd.DataFrame) -> Figure:
    """Return dots of mean Dice by architecture and arm: a panel per dataset and shots, a hollow point per seed.

    Args:
        scores: one row per trial: ``dataset``, ``shots``, ``architecture``, ``arm``, ``seed``, ``value`` (%).
    """
    return _dots(scores, DOT_PANELS, "architecture", "arm", style.arm_styles(style.distinct(scores["arm"])))


@style.applied
def role_dots(scores: pd.DataFrame) -> Figure:
    """Return dots of mean Dice by role: panels of :func:`role_panels`, a hollow point per seed.

    Args:
        scores: one row per trial and role: the columns of :func:`score_dots`, and ``role``.
    """
    by = role_panels(scores)
    looks = zip(style.distinct(scores["role"]), cycle(ROLE_COLOURS), cycle(style.MARKERS), strict=False)
    styles = {role: style.PlotStyle(colour, marker=marker) for role, colour, marker in looks}
    return _dots(scores, by, "arm" if "architecture" in by else "architecture", "role", styles)


def role_panels(scores: pd.DataFrame) -> tuple[str, ...]:
    """Return the keys of panels of roles: architectures or arms, whichever are fewer; the others stand side by side."""
    several = scores["architecture"].nunique() > scores["arm"].nunique()
    return ("dataset", "shots", "arm") if several else ("dataset", "architecture", "shots")


def _dots(
    scores: pd.DataFrame, by: tuple[str, ...], across: str, kind: str, styles: Mapping[str, style.PlotStyle]
) -> Figure:
    kinds = list(styles)
    shown = style.panel_groups(scores, by)
    most = max(rows[across].nunique() for _, rows in shown)
    room = max(max(0.2 * len(kinds), 0.7) * most, 1.3)
    side_by_side = max(1, min(len(shown), int(style.most_width() / (0.7 + room))))
    each = (min(0.7 + room, style.most_width() / side_by_side) - 0.7) / most
    below, upright = style.names_below(style.distinct(scores[across]), each)
    names = dict(zip(style.distinct(scores[across]), below, strict=True))
    figure, axes = style.panel_grid(len(shown), width=0.7 + room, height=2.2 + upright, least=1.5 + upright)
    limits = style.robust_limits(scores["value"])
    for axis, (values, rows) in zip(axes, shown, strict=True):
        groups = dict(list(rows.groupby([across, kind], sort=False, observed=True)["value"]))
        places = style.distinct(rows[across])
        for (place, name), own in groups.items():
            x = places.index(place) + 0.8 * ((kinds.index(name) + 0.5) / len(kinds) - 0.5)
            reach = style.reach_within(own, limits)
            _draw_dot(axis, x, 0.5 / len(kinds), own, reach, styles[name])
            style.mark_beyond(axis, x, own, limits, styles[name].colour, mean=own.mean())
        if len(places) > 1:
            for edge in range(1, len(places)):
                axis.axvline(edge - 0.5, color="0.85", linewidth=0.6)
        axis.set_xticks(range(len(places)), [names[place] for place in places])
        axis.tick_params(axis="x", length=0, labelrotation=90 if upright else 0)
        axis.set_xlim(-0.5, len(places) - 0.5)
        axis.set_title(style.panel_title(scores, values))
    style.label_left(axes, "Dice (%)")
    style.legend(figure, {name: _legend_dot(styles[name]) for name in kinds})
    return figure


def _draw_dot(
    axis: Axes, x: float, width: float, values: pd.Series, reach: float, look: style.PlotStyle
) -> None:
    """Draw mean and error bar, and beside them each seed, where they are few."""
    axis.errorbar(x, values.mean(), reach or None, color=look.colour, marker=look.marker, markersize=4.5,
                  markerfacecolor=look.face, elinewidth=0.9, capsize=2)  # fmt: skip
    if 1 < len(values) <= style.MOST_POINTS:
        spread = x + np.linspace(0.4, 1.0, len(values)) * width
        axis.plot(spread, values, "o", markersize=2, markerfacecolor="white", markeredgecolor=look.colour,
                  markeredgewidth=0.5)  # fmt: skip


def _legend_dot(look: style.PlotStyle) -> Line2D:
    return Line2D([], [], color=look.colour, marker=look.marker, markerfacecolor=look.face, markersize=4.5, linestyle="")  # fmt: skip
