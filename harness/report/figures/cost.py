"""What a score costs: Dice against the time of a trial."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.report.figures.style import (
    MARKERS,
    distinct,
    grid,
    label_left,
    legend,
    logarithmic,
    looks,
    panel_title,
    panels,
    styled,
)

COST_PANELS = ("dataset", "shots")


@styled
def cost_scatter(scores: pd.DataFrame) -> Figure:
    """Return mean Dice against mean time per trial: a panel per dataset and shots; logarithmic where times differ tenfold.

    Args:
        scores: one row per trial: ``dataset``, ``shots``, ``architecture``, ``arm``, ``value`` (%), ``minutes``.
    """
    arms, architectures = distinct(scores["arm"]), distinct(scores["architecture"])
    styles, markers = looks(arms), {a: MARKERS[i % len(MARKERS)] for i, a in enumerate(architectures)}
    shown = panels(scores, COST_PANELS)
    figure, axes = grid(len(shown), width=2.4, height=2.1)
    times = scores.groupby([*COST_PANELS, "architecture", "arm"], observed=True)["minutes"].mean()
    for axis, (values, rows) in zip(axes, shown, strict=True):
        means = rows.groupby(["architecture", "arm"], sort=False, observed=True)[["minutes", "value"]]
        for (architecture, arm), point in means.agg(["mean", "std"]).iterrows():
            look = styles[arm]
            axis.errorbar(point["minutes", "mean"], point["value", "mean"], point.fillna(0)["value", "std"],
                          color=look.colour, marker=markers[architecture], markersize=4.5, capsize=2,
                          markerfacecolor="white" if look.hatch else look.colour, elinewidth=0.8)  # fmt: skip
        if times.max() > 10 * times.min():
            logarithmic(axis, "x")
        else:
            axis.set_xlim(0, 1.1 * times.max())
        axis.set_xlabel("Minutes per trial, pretraining included")
        axis.set_title(panel_title(scores, values))
    label_left(axes, "Dice (%)")
    kinds = {arm: Patch(edgecolor=look.colour, facecolor="white" if look.hatch else look.colour)
             for arm, look in styles.items()}  # fmt: skip
    shapes = {a: Line2D([], [], color="0.3", marker=markers[a], linestyle="", markersize=4.5)
              for a in architectures}  # fmt: skip
    legend(figure, kinds, shapes if len(shapes) > 1 else {})
    return figure
