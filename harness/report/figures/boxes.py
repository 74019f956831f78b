"""Box plots of scores over cases, by region and arm."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harness.report.figures.style import (
    PAGE,
    distinct,
    legend,
    looks,
    panel_title,
    panels,
    styled,
)

BOX_PANELS = ("architecture",)
MOST_BOX_PANELS = 6
_MOST_CASES = 60  # drawn one by one beside the boxes


@styled
def region_boxes(values: pd.DataFrame, label: str, every: Sequence[str]) -> Figure:
    """Return a box per region and arm, over cases: a panel per architecture, one below the other.

    A box spans the quartiles with the median across; whiskers reach to the last case within 1.5 box lengths.

    Args:
        values: one row per architecture, arm, region (a categorical, in order) and case: ``value``, in the
            printed unit.
        label: of the values, with their unit.
        every: arm of the study, so that each has one colour in all figures.
    """
    arms, regions = distinct(values["arm"]), [str(region) for region in values["region"].cat.categories]
    palette = {arm: look.colour for arm, look in looks(every).items()}
    shown = panels(values, BOX_PANELS)[:MOST_BOX_PANELS]
    width = min(PAGE, max(3.4, 0.6 + 0.16 * len(arms) * len(regions)))
    figure = Figure(figsize=(width, 0.2 + 1.7 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axis, (names, rows) in zip(axes, shown, strict=True):
        common = {"data": rows, "x": "region", "y": "value", "hue": "arm", "order": regions, "hue_order": arms,
                  "palette": palette, "ax": axis, "legend": False}  # fmt: skip
        seaborn.boxplot(**common, showfliers=False, linewidth=0.6, width=0.8, gap=0.15, saturation=0.8)
        if rows["case"].nunique() <= _MOST_CASES:
            _points(axis, rows, regions, arms)
        axis.set(xlabel="", ylabel=label, title=panel_title(values, names))
        axis.tick_params(axis="x", length=0)
        axis.set_ylim(bottom=max(0, axis.get_ylim()[0]))
    legend(figure, {arm: Patch(facecolor=palette[arm]) for arm in arms})
    return figure


def _points(axis: Axes, rows: pd.DataFrame, regions: Sequence[str], arms: Sequence[str]) -> None:
    """Draw the cases side by side over their box, in the order of their ids."""
    places = {name: i for i, name in enumerate(regions)}
    offsets = {name: (i - (len(arms) - 1) / 2) / len(arms) for i, name in enumerate(arms)}
    cases = rows["case"].astype("category").cat.codes
    aside = 0.5 * (cases / max(cases.max(), 1) - 0.5) / len(arms)
    x = rows["region"].map(places).astype(float) + 0.8 * (rows["arm"].map(offsets).astype(float) + aside)
    axis.plot(x, rows["value"], "o", color="0.2", markersize=1.2, alpha=0.6, markeredgewidth=0)
