"""Performance profiles, and how likely an arm does better than the baseline: what readers of rliable expect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.reporting.figures import style


@style.applied
def performance_profiles(rows: pd.DataFrame) -> Figure:
    """Return the share of scores above each level of Dice, a line with its band for each arm, a panel for each group.

    Source: Agarwal et al., NeurIPS 2021, figure 4 (score distributions).

    Args:
        rows: ``title`` of the panel, ``arm``, ``level`` (%), ``value``, ``low`` and ``high`` (%, NaN where there is no band).
    """
    groups = style.panel_groups(rows, ["title"])
    figure, axes = style.panel_grid(len(groups), width=style.COLUMN, height=2.1, least=1.5)
    looks = style.arm_styles(style.distinct(rows["arm"]))
    for axis, (values, own) in zip(axes, groups, strict=True):
        for arm, line in own.groupby("arm", sort=False):
            look = looks[str(arm)]
            axis.plot(line["level"], line["value"], color=look.colour, linestyle=look.line, linewidth=1.1)
            axis.fill_between(
                line["level"], line["low"], line["high"], color=look.colour, alpha=0.15, linewidth=0
            )
        axis.set_title(values["title"])
        axis.set_xlim(*_span(own))
        axis.set_ylim(0, 102)
        axis.set_xlabel("Dice (%)")
    style.label_left(axes, "Scores above (%)")
    style.legend(
        figure, {arm: Line2D([], [], color=look.colour, linestyle=look.line) for arm, look in looks.items()}
    )
    return figure


def _span(rows: pd.DataFrame) -> tuple[float, float]:
    """Return where the lines fall: from the last level that nearly all scores are above to the first that none is; 0 for neither."""
    upper = rows.loc[rows["value"] > 0, "level"].max()
    lower = rows.loc[rows["value"] >= 98, "level"].groupby(rows["arm"]).max().min()
    return float(np.nan_to_num(lower)), float(np.nan_to_num(upper)) + 1


@style.applied
def improvement(rows: pd.DataFrame, arms: Sequence[str]) -> Figure:
    """Return how likely each arm does better than the baseline on a patient, with its interval; a panel for each group.

    Source: Agarwal et al., NeurIPS 2021, figure 8.

    Args:
        rows: ``title``, ``arm``, ``value``, ``low`` and ``high`` (0 to 1, NaN where there is no interval).
        arms: all of the study, so that each has the colour that it has elsewhere.
    """
    groups = style.panel_groups(rows, ["title"])
    most = int(rows.groupby("title", sort=False)["arm"].size().max())
    names = {arm: style.wrap_text(arm, 1.6) for arm in style.distinct(rows["arm"])}
    lines = max(name.count("\n") for name in names.values()) + 1
    figure, axes = style.panel_grid(
        len(groups), width=style.COLUMN, height=0.75 + 0.17 * lines * most, share_y=False
    )
    looks = style.arm_styles(arms)
    for axis, (values, own) in zip(axes, groups, strict=True):
        axis.axvline(0.5, color="0.5", linewidth=0.8)
        for place, row in enumerate(own.itertuples()):
            look = looks[str(row.arm)]
            axis.plot([row.low, row.high], [place, place], color=look.colour, linewidth=1.1)
            axis.plot(
                row.value, place, look.marker, color=look.colour, markerfacecolor=look.face, markersize=4
            )
        axis.set_yticks(range(len(own)), [names[arm] for arm in own["arm"]])
        axis.set_ylim(len(own) - 0.5, -0.5)
        axis.set_xlim(0, 1)
        axis.set_title(values["title"])
        axis.set_xlabel("P(better than the baseline)")
    return figure
