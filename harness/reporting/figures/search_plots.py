"""What a search found: its history, what mattered, and where the good values lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import LinearTriInterpolator, Triangulation, UniformTriRefiner

from harness.reporting.figures import style

DICE = "Validation Dice (%)"
_COMPLETE: dict[str, Any] = {"marker": "o", "markersize": 3.5, "linestyle": ""}
_PRUNED: dict[str, Any] = {"marker": "o", "markersize": 3.5, "linestyle": "", "markerfacecolor": "white"}
_FAILED: dict[str, Any] = {"marker": "x", "markersize": 4, "linestyle": "", "color": "0.3"}
_TRIANGLES = 10_000  # that a surface is drawn with; small ones have straight sides on logarithmic axes too


@dataclass(frozen=True)
class Axis:
    """One searched parameter as an axis: a column of the frame, its label, and its categories where it has no numbers."""

    column: str
    label: str
    log: bool = False
    whole: bool = False
    categories: tuple[str, ...] = ()


@style.applied
def search_history(frame: pd.DataFrame) -> Figure:
    """Return the objective of each suggestion in order, and the best so far: a panel per arm.

    Args:
        frame: one row per suggestion: ``arm``, ``number``, ``state``, ``value`` (%; NaN where it failed).
    """
    arms = list(dict.fromkeys(frame["arm"]))
    look = style.arm_styles(arms)
    shown = arms[: style.MOST_PANELS]
    figure, axes = style.panel_grid(len(shown), width=2.4, height=2.1, least=1.5)
    for axis, arm in zip(axes, shown, strict=True):
        rows, colour = frame[frame["arm"] == arm], look[arm].colour
        complete = rows[rows["state"] == "complete"]
        pruned, failed = rows[rows["state"] == "pruned"], rows[rows["state"] == "failed"]
        best = complete.set_index("number")["value"].cummax().reindex(rows["number"]).ffill()
        axis.step(best.index, best, where="post", color=colour, linewidth=1)
        axis.plot(complete["number"], complete["value"], color=colour, **_COMPLETE)
        axis.plot(pruned["number"], pruned["value"], markeredgecolor=colour, **_PRUNED)
        axis.plot(
            failed["number"], np.full(len(failed), 0.03), transform=axis.get_xaxis_transform(), **_FAILED
        )
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("Suggestion")
        axis.set_title(arm)
    style.label_left(axes, DICE)
    seen = set(frame["state"])
    kinds = {"complete": Line2D([], [], color="0.3", **_COMPLETE),
             "pruned, at its rung": Line2D([], [], markeredgecolor="0.3", **_PRUNED),
             "failed": Line2D([], [], **_FAILED), "best so far": Line2D([], [], color="0.3")}  # fmt: skip
    style.legend(
        figure, {kind: one for kind, one in kinds.items() if kind.partition(",")[0] in {*seen, "best so far"}}
    )
    return figure


@style.applied
def search_importances(frame: pd.DataFrame, arms: Sequence[str]) -> Figure:
    """Return bars of the share of each parameter: a panel per arm.

    Args:
        frame: one row per arm and parameter, in order: ``arm``, ``label``, ``share`` (0 to 1).
        arms: all that were searched, so that each has the colour that it has elsewhere.
    """
    look = style.arm_styles(arms)
    shown = list(dict.fromkeys(frame["arm"]))[: style.MOST_PANELS]
    most = max(int((frame["arm"] == arm).sum()) for arm in shown)
    figure, axes = style.panel_grid(len(shown), width=3.0, height=0.7 + 0.22 * most, share_y=False)
    for axis, arm in zip(axes, shown, strict=True):
        rows = frame[frame["arm"] == arm]
        places = np.arange(len(rows))
        axis.barh(places, rows["share"], 0.7, color=look[arm].colour, alpha=0.8, linewidth=0)
        for place, share in zip(places, rows["share"], strict=True):
            axis.annotate(
                f"{share:.2f}", (share, place), (3, 0), textcoords="offset points", va="center", fontsize=6.5
            )
        axis.set_yticks(places, [style.wrap_text(label, 1.2) for label in rows["label"]])
        axis.tick_params(axis="y", length=0)
        axis.grid(False)
        axis.set_xlim(0, 1.12)
        axis.set_ylim(most - 0.4, -0.6)
        axis.set_xlabel("Share of importance")
        axis.set_title(arm)
    return figure


@style.applied
def search_slices(frame: pd.DataFrame, dimensions: Sequence[Axis]) -> Figure:
    """Return the objective against each parameter; later suggestions are darker.

    Args:
        frame: one row per suggestion that has a value: ``number``, ``state``, ``value`` (%), and the columns of ``dimensions``.
        dimensions: the axes.
    """
    shown = dimensions[: style.MOST_PANELS]
    figure, axes = style.panel_grid(len(shown), width=1.7, height=2.0, least=1.5)
    shades = Normalize(0, max(int(frame["number"].max()), 1))
    pruned = (frame["state"] == "pruned").to_numpy()
    for axis, dimension in zip(axes, shown, strict=True):
        for which, edge in ((~pruned, "none"), (pruned, "0.3")):
            rows = frame[which]
            axis.scatter(rows[dimension.column], rows["value"], c=rows["number"], cmap="viridis_r", norm=shades,
                         s=14, marker="o" if edge == "none" else "v", edgecolors=edge, linewidths=0.5)  # fmt: skip
        _scale_axis(axis, dimension)
    style.label_left(axes, DICE)
    _add_colour_bar(figure, axes, ScalarMappable(shades, "viridis_r"), "Suggestion").locator = MaxNLocator(
        integer=True
    )
    return figure


@style.applied
def search_contours(frame: pd.DataFrame, dimensions: Sequence[Axis]) -> Figure:
    """Return the objective over pairs of parameters, linear between suggestions: a panel per pair.

    Args:
        frame: one row per suggestion that has a value: ``value`` (%), and the columns of ``dimensions``.
        dimensions: axes with numbers, at least two.
    """
    pairs = contour_pairs(dimensions)
    figure, axes = style.panel_grid(len(pairs), width=2.2, height=1.9, share_y=False, least=1.6)
    levels = MaxNLocator(10).tick_values(frame["value"].min(), frame["value"].max())
    shades = Normalize(levels[0], levels[-1])
    for axis, (across, up) in zip(axes, pairs, strict=True):
        surface = _surface(frame, across, up)
        if surface:
            axis.tricontourf(*surface, levels=levels, cmap="viridis", norm=shades)
        axis.scatter(frame[across.column], frame[up.column], c=frame["value"], cmap="viridis", norm=shades, s=12,
                     edgecolors="white", linewidths=0.6, zorder=3)  # fmt: skip
        axis.grid(False)
        _scale_axis(axis, across)
        _scale_axis(axis, up, vertical=True)
        axis.use_sticky_edges = False
        axis.margins(0.06)
        axis.autoscale_view()
    _add_colour_bar(figure, axes, ScalarMappable(shades, "viridis"), DICE)
    return figure


def contour_pairs(dimensions: Sequence[Axis]) -> list[tuple[Axis, Axis]]:
    """Return the pairs of axes that have a panel, those of the first axes first."""
    return sorted(combinations(dimensions, 2), key=lambda pair: sum(map(list(dimensions).index, pair)))[
        : style.MOST_PANELS
    ]


def _surface(frame: pd.DataFrame, across: Axis, up: Axis) -> tuple[Triangulation, Any] | None:
    """Return fine triangles between the suggestions and the objective at their corners; None where they lie on a line."""
    units = []
    for one in (across, up):
        values = frame[one.column].to_numpy(float)
        units.append(np.log10(values) if one.log else values)
    spans = [np.ptp(unit) for unit in units]
    if min(spans) == 0:
        return None
    try:
        coarse = Triangulation(*((unit - unit.min()) / span for unit, span in zip(units, spans, strict=True)))
    except (RuntimeError, ValueError):  # fewer than three, or all on one line
        return None
    heights = frame["value"].to_numpy(float)
    linear = LinearTriInterpolator(coarse, heights)
    halvings = int(np.log(_TRIANGLES / len(coarse.triangles)) / np.log(4))  # of their sides
    fine, values = UniformTriRefiner(coarse).refine_field(heights, linear, subdiv=min(max(halvings, 0), 5))
    x, y = (
        unit.min() + place * span for unit, place, span in zip(units, (fine.x, fine.y), spans, strict=True)
    )
    corners = (10**x if across.log else x, 10**y if up.log else y)
    return Triangulation(*corners, fine.triangles), values


def _scale_axis(axis: Axes, dimension: Axis, vertical: bool = False) -> None:
    name = "y" if vertical else "x"
    if dimension.log:
        style.use_log_scale(axis, "y" if vertical else "x", long=not vertical)
    elif dimension.categories:
        ticks = range(len(dimension.categories))
        getattr(axis, f"set_{name}ticks")(
            ticks, [style.wrap_text(word, 0.8) for word in dimension.categories]
        )
        getattr(axis, f"set_{name}lim")(-0.5, len(dimension.categories) - 0.5)
    else:
        getattr(axis, f"{name}axis").set_major_locator(MaxNLocator(4, integer=dimension.whole))
    getattr(axis, f"set_{name}label")(dimension.label)


def _add_colour_bar(figure: Figure, axes: Sequence[Axes], colours_of: ScalarMappable, label: str) -> Any:
    bar = figure.colorbar(colours_of, ax=list(axes), label=label, fraction=0.05, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    return bar
