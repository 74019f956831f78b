"""What a score costs: Dice against the shortest time of a trial."""

from __future__ import annotations

from itertools import cycle

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.reporting.figures import style

COST_PANELS = ("dataset", "shots")


@style.applied
def cost_scatter(scores: pd.DataFrame) -> Figure:
    """Return mean Dice against the time of an arm's fastest trial: a panel per dataset and shots.

    Other work on the machine affects the shortest time least. The axis is logarithmic where times differ tenfold.

    Args:
        scores: one row per trial: ``dataset``, ``shots``, ``architecture``, ``arm``, ``value`` (%), ``minutes``.
    """
    arms, architectures = style.distinct(scores["arm"]), style.distinct(scores["architecture"])
    styles, markers = style.arm_styles(arms), dict(zip(architectures, cycle(style.MARKERS), strict=False))
    shown = style.panel_groups(scores, COST_PANELS)
    figure, axes = style.panel_grid(len(shown), width=2.4, height=2.1, least=1.5)
    times = scores.groupby([*COST_PANELS, "architecture", "arm"], observed=True)["minutes"].min()
    limits = style.robust_limits(scores["value"])
    for axis, (values, rows) in zip(axes, shown, strict=True):
        for (architecture, arm), own in rows.groupby(["architecture", "arm"], sort=False, observed=True):
            look, time, mean, sd = (
                styles[arm],
                own["minutes"].min(),
                own["value"].mean(),
                style.reach_within(own["value"], limits),
            )
            style.mark_beyond(axis, time, [mean], limits, look.colour)
            axis.errorbar(time, mean, sd, color=look.colour, marker=markers[architecture], markersize=4.5, capsize=2,
                          markerfacecolor=look.face, elinewidth=0.8)  # fmt: skip
        if times.max() > 10 * times.min():
            style.use_log_scale(axis, "x")
        else:
            axis.set_xlim(0, 1.1 * times.max())
        axis.set_xlabel("Minutes, pretraining included")
        axis.set_title(style.panel_title(scores, values))
    style.label_left(axes, "Dice (%)")
    kinds = {arm: Patch(edgecolor=look.colour, facecolor=look.face)
             for arm, look in styles.items()}  # fmt: skip
    shapes = {a: Line2D([], [], color="0.3", marker=markers[a], linestyle="", markersize=4.5)
              for a in architectures}  # fmt: skip
    style.legend(figure, kinds, shapes if len(shapes) > 1 else {})
    return figure
