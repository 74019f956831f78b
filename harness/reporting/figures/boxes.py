"""Box plots of scores over cases, by region and arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import ScalarFormatter, SymmetricalLogLocator

from harness.reporting.figures import style

BOX_PANELS = ("architecture",)
MOST_BOX_PANELS = 6
_MOST_CASES = 60  # drawn one by one beside the boxes
_LEAST_CASES = 5  # of a box
_FAR = 12  # times the median, from which on boxes would be squashed by the largest value
_EDGE = "0.28"
_WIDTH = 0.8  # of all boxes of a region


@style.applied
def region_boxes(values: pd.DataFrame, label: str, every: Sequence[str]) -> Figure:
    """Return a box per region and arm, over cases: a panel per architecture, one below the other.

    A box spans the quartiles with the median across; whiskers reach to the last case within 1.5 box lengths.

    Args:
        values: one row per architecture, arm, region (a categorical, in order) and case: ``value``, in the
            printed unit.
        label: of the values, with their unit.
        every: arm of the study, so that each has one colour in all figures.
    """
    arms, regions = style.distinct(values["arm"]), [str(region) for region in values["region"].cat.categories]
    palette = {arm: look.colour for arm, look in style.arm_styles(every).items()}
    shown = style.panel_groups(values, BOX_PANELS)[:MOST_BOX_PANELS]
    width = min(style.most_width(), max(style.COLUMN, 0.6 + 0.16 * len(arms) * len(regions)))
    figure = Figure(figsize=(width, 0.2 + 1.7 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axis, (names, rows) in zip(axes, shown, strict=True):
        placed = rows.assign(place=_positions(rows, regions, arms))
        if rows["case"].nunique() >= _LEAST_CASES:  # of fewer, quartiles say nothing
            _draw_boxes(axis, placed, palette, 0.85 * _WIDTH / len(arms))
        if rows["case"].nunique() <= _MOST_CASES:
            _draw_points(axis, placed, 0.4 / len(arms))
        axis.set_xticks(range(len(regions)), regions)
        axis.set_xlim(-0.5, len(regions) - 0.5)
        axis.xaxis.grid(False)
        axis.set(xlabel="", ylabel=label, title=style.panel_title(values, names))
        axis.tick_params(axis="x", length=0)
    # after the last panel: a limit that is set is not widened
    if _is_wide(values["value"]):
        for axis in axes:
            _use_broken_scale(axis, values["value"])
    axes[0].set_ylim(bottom=max(0, axes[0].get_ylim()[0]))
    style.legend(figure, {arm: Patch(facecolor=palette[arm]) for arm in arms})
    return figure


def _is_wide(values: pd.Series) -> bool:
    """Return whether the largest value would squash the boxes of the others on a linear axis."""
    return bool(values.max() > _FAR * values.median() > 0)


def axis_note(values: pd.Series) -> str:
    """Return a sentence on an axis that is not linear, if any."""
    if not _is_wide(values):
        return ""
    if values.min() > 0:
        return " The axis is logarithmic."
    return " The axis is linear up to the median of all values, and logarithmic above it."


def _use_broken_scale(axis: Axes, values: pd.Series) -> None:
    """Make the axis logarithmic; linear near zero, where there are zeros."""
    if values.min() > 0:
        style.use_log_scale(axis, "y")
        return
    threshold = float(values.median())
    axis.set_yscale("symlog", linthresh=threshold)
    axis.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=threshold, subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(ScalarFormatter())


def _positions(rows: pd.DataFrame, regions: Sequence[str], arms: Sequence[str]) -> pd.Series:
    """Return the middle of the box that each row belongs to, on the horizontal axis."""
    places = {name: i for i, name in enumerate(regions)}
    offsets = {name: _WIDTH * (i - (len(arms) - 1) / 2) / len(arms) for i, name in enumerate(arms)}
    return rows["region"].map(places).astype(float) + rows["arm"].map(offsets).astype(float)


def _draw_boxes(axis: Axes, rows: pd.DataFrame, palette: Mapping[str, Any], width: float) -> None:
    """Draw all boxes of a panel as two collections: hundreds of single lines take half a report's time."""
    corners, colours, lines = [], [], []
    for (arm, place), values in rows.groupby(["arm", "place"], observed=True)["value"]:
        (box,) = boxplot_stats(values.to_numpy())
        left, right = place - width / 2, place + width / 2
        corners.append([(left, box["q1"]), (right, box["q1"]), (right, box["q3"]), (left, box["q3"])])
        colours.append(palette[str(arm)])
        lines.append([(left, box["med"]), (right, box["med"])])
        lines += [[(place, box["q1"]), (place, box["whislo"])], [(place, box["q3"]), (place, box["whishi"])]]
    look: Any = {"linewidths": 0.6, "zorder": 2}
    axis.add_collection(PolyCollection(corners, facecolors=colours, edgecolors=_EDGE, **look))
    axis.add_collection(LineCollection(lines, colors=_EDGE, **look))
    axis.autoscale_view()


def _draw_points(axis: Axes, rows: pd.DataFrame, width: float) -> None:
    """Draw the cases side by side over their box, in the order of their ids."""
    cases = rows["case"].astype("category").cat.codes
    x = rows["place"] + width * (cases / max(cases.max(), 1) - 0.5)
    axis.plot(x, rows["value"], "o", color="0.2", markersize=1.2, alpha=0.6, markeredgewidth=0)
