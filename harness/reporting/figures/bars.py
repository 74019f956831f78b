"""Bars of mean scores: by architecture and arm, and by role."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harness.reporting.figures import style
from harness.reporting.palette import ROLE_COLOURS

BAR_PANELS = ("dataset", "shots")


@style.applied
def dice_bars(scores: pd.DataFrame) -> Figure:
    """Return bars of mean Dice by architecture and arm: a panel per dataset and shots, a point per seed.

    Args:
        scores: one row per trial: ``dataset``, ``shots``, ``architecture``, ``arm``, ``seed``, ``value`` (%).
    """
    return _bars(scores, BAR_PANELS, "architecture", "arm", style.arm_styles(style.distinct(scores["arm"])))


@style.applied
def role_bars(scores: pd.DataFrame) -> Figure:
    """Return bars of mean Dice by role: panels of :func:`role_panels`, a point per seed.

    Args:
        scores: one row per trial and role: the columns of :func:`dice_bars`, and ``role``.
    """
    by = role_panels(scores)
    roles = style.distinct(scores["role"])
    styles = {role: style.PlotStyle(colour) for role, colour in zip(roles, cycle(ROLE_COLOURS), strict=False)}
    return _bars(scores, by, "arm" if "architecture" in by else "architecture", "role", styles)


def role_panels(scores: pd.DataFrame) -> tuple[str, ...]:
    """Return the keys of panels of roles: architectures or arms, whichever are fewer; the others stand side by side."""
    several = scores["architecture"].nunique() > scores["arm"].nunique()
    return ("dataset", "shots", "arm") if several else ("dataset", "architecture", "shots")


def _bars(
    scores: pd.DataFrame, by: tuple[str, ...], across: str, bars: str, styles: Mapping[str, style.PlotStyle]
) -> Figure:
    kinds = list(styles)
    shown = style.panel_groups(scores, by)
    most = max(rows[across].nunique() for _, rows in shown)
    room = max(max(0.28 * len(kinds), 0.7) * most, 1.3)
    figure, axes = style.panel_grid(len(shown), width=0.7 + room, height=2.2)
    width, drawn = 0.8 / len(kinds), min(room, float(figure.get_figwidth()) - 0.7)
    for axis, (values, rows) in zip(axes, shown, strict=True):
        groups = dict(list(rows.groupby([across, bars], sort=False, observed=True)["value"]))
        places = style.distinct(rows[across])  # one without trials would read as a Dice of 0
        inches = width * drawn / len(places)
        for i, kind in enumerate(kinds):
            for j, place in enumerate(places):
                if (place, kind) in groups:
                    x = j + (i - (len(kinds) - 1) / 2) * width
                    _draw_bar(axis, x, width, groups[place, kind], styles[kind], inches)
        axis.set_xticks(range(len(places)), [style.wrap_text(place, room / len(places)) for place in places])
        axis.tick_params(axis="x", length=0)
        axis.set_xlim(-0.5, len(places) - 0.5)
        axis.set_ylim(0, 100)
        axis.set_title(style.panel_title(scores, values))
    style.label_left(axes, "Dice (%)")
    style.legend(figure, {kind: Patch(**_patch_style(styles[kind])) for kind in kinds})
    return figure


def _patch_style(look: style.PlotStyle) -> dict[str, Any]:
    return {"facecolor": look.colour, "alpha": 0.8, "hatch": look.hatch, "linewidth": 0}


def _draw_bar(
    axis: Axes, x: float, width: float, values: pd.Series, look: style.PlotStyle, inches: float
) -> None:
    mean, sd = values.mean(), values.std()
    axis.bar(x, mean, width * 0.9, **_patch_style(look))
    top = max(values.max(), mean + (0 if np.isnan(sd) else sd))
    if not np.isnan(sd):
        axis.errorbar(x, mean, sd, color="black", elinewidth=0.8, capsize=2, capthick=0.8)
    if len(values) <= style.MOST_POINTS:
        spread = np.linspace(-0.18, 0.18, len(values)) * width if len(values) > 1 else [0.0]
        axis.plot(x + np.asarray(spread), values, "o", markersize=2.4, markerfacecolor="white",
                  markeredgecolor="black", markeredgewidth=0.5)  # fmt: skip
    if inches > 0.09:
        axis.annotate(f"{mean:.1f}", (x, top), (0, 3), textcoords="offset points", ha="center", va="bottom",
                      fontsize=6, rotation=0 if inches > 0.185 else 90)  # fmt: skip
