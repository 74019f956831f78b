"""Curves: Dice against the number of training cases or any numeric factor, and training over steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from harness.report.estimates import binned
from harness.report.figures.style import (
    MOST_PANELS,
    MOST_POINTS,
    PAGE,
    colours,
    distinct,
    grid,
    label_left,
    legend,
    panel_title,
    panels,
    styled,
)

FEW_SHOT_PANELS = ("dataset", "architecture")
FACTOR_PANELS = TRAINING_PANELS = ("dataset", "architecture", "shots")


@styled
def few_shot_curves(scores: pd.DataFrame) -> Figure:
    """Return mean Dice against the number of training cases: a panel per dataset and architecture.

    Args:
        scores: one row per trial: ``dataset``, ``architecture``, ``shots``, ``training`` (number of training
            cases), ``arm``, ``value`` (%).
    """
    arms = distinct(scores["arm"])
    palette = colours(arms)
    shown = panels(scores, FEW_SHOT_PANELS)
    figure, axes = grid(len(shown), width=2.2, height=2.2)
    for axis, (values, rows) in zip(axes, shown, strict=True):
        counts = sorted(rows["training"].unique())
        apart = (counts[-1] / counts[0]) ** 0.02  # so that arms of one number lie side by side
        for i, arm in enumerate(arms):
            own = rows[rows["arm"] == arm]
            summary = own.groupby("training")["value"].agg(["mean", "std"])
            nudge = apart ** (i - (len(arms) - 1) / 2)
            x = summary.index.to_numpy(float) * nudge
            axis.errorbar(x, summary["mean"], summary["std"].fillna(0), color=palette[arm], capsize=2,
                          marker="o", markersize=3.5, linewidth=1.2, elinewidth=0.8)  # fmt: skip
            _points(axis, own["training"].astype(float) * nudge, own["value"], palette[arm])
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(FixedLocator(counts))
        axis.xaxis.set_minor_locator(NullLocator())
        every = {n: shots == "all" for n, shots in zip(rows["training"], rows["shots"], strict=True)}
        axis.set_xticklabels([f"all ({n})" if every[n] else str(n) for n in counts])
        axis.set_xlim(counts[0] / apart**6, counts[-1] * apart**6)
        axis.set_xlabel("Training cases")
        axis.set_title(panel_title(scores, values))
    label_left(axes, "Dice (%)")
    legend(figure, {arm: Line2D([], [], color=palette[arm], marker="o", markersize=3.5) for arm in arms})
    return figure


@styled
def factor_curves(scores: pd.DataFrame, label: str) -> Figure:
    """Return mean Dice against a numeric factor: a panel per dataset, architecture and shots.

    An arm that does not set the factor is a dashed line across its panel, with its interval as a band.

    Args:
        scores: one row per trial: ``dataset``, ``architecture``, ``shots``, ``arm``, ``value`` (%), ``x`` (the
            factor, NaN where it is not set), ``low`` and ``high`` (% , the same for all trials of a point, NaN where
            there is no interval).
        label: of the factor.
    """
    arms = distinct(scores["arm"])
    palette = colours(arms)
    shown = panels(scores, FACTOR_PANELS)
    figure, axes = grid(len(shown), width=2.2, height=2.2)
    for axis, (values, rows) in zip(axes, shown, strict=True):
        for arm, own in rows.groupby("arm", sort=False):
            colour = palette[str(arm)]
            if own["x"].isna().all():
                mean, low, high = own[["value", "low", "high"]].mean()
                axis.axhline(mean, color=colour, linewidth=1, linestyle="--")
                if not np.isnan(low):
                    axis.axhspan(low, high, color=colour, alpha=0.12, linewidth=0)
                continue
            points = own.groupby("x")[["value", "low", "high"]].mean()
            reach = [
                (points["value"] - points["low"]).fillna(0),
                (points["high"] - points["value"]).fillna(0),
            ]
            axis.errorbar(points.index, points["value"], reach, color=colour, capsize=2, marker="o",
                          markersize=3.5, linewidth=1.2, elinewidth=0.8)  # fmt: skip
            _points(axis, own["x"], own["value"], colour)
        axis.xaxis.set_major_locator(FixedLocator(_legible(rows["x"])))
        axis.set_xlabel(label)
        axis.set_title(panel_title(scores, values))
    label_left(axes, "Dice (%)")
    unset = {arm: rows["x"].isna().all() for arm, rows in scores.groupby("arm", sort=False)}
    legend(figure, {arm: Line2D([], [], color=palette[arm], linestyle="--" if unset[arm] else "-",
                                marker="" if unset[arm] else "o", markersize=3.5) for arm in arms})  # fmt: skip
    return figure


def _legible(values: pd.Series) -> list[float]:
    """Return the values that get a tick: those at least a tenth of the axis apart."""
    ordered = sorted(values.dropna().unique())
    ticks: list[float] = []
    for value in ordered:
        if not ticks or value - ticks[-1] >= 0.1 * (ordered[-1] - ordered[0]):
            ticks.append(float(value))
    return ticks


def _points(axis: Axes, x: pd.Series, y: pd.Series, colour: Any) -> None:
    """Draw trials one by one, where they are few."""
    if y.groupby(x.to_numpy()).size().max() <= MOST_POINTS:
        axis.plot(x, y, "o", markerfacecolor="white", markeredgecolor=colour, markeredgewidth=0.6,
                  markersize=2.2, zorder=3)  # fmt: skip


@styled
def training_curves(history: pd.DataFrame) -> Figure:
    """Return total loss by step, and below it validation Dice where there is any.

    A column per dataset, architecture and shots; a thick line is the mean over seeds, thin ones are seeds.

    Args:
        history: ``dataset``, ``architecture``, ``shots``, ``arm``, ``id``, ``step``, ``kind`` (``loss`` or
            ``dice``), ``value``.
    """
    arms = distinct(history["arm"])
    palette = colours(arms)
    kinds = [kind for kind in ("loss", "dice") if (history["kind"] == kind).any()]
    shown = panels(history, TRAINING_PANELS)[: MOST_PANELS // len(kinds)]
    columns = min(len(shown), 4)
    blocks = -(-len(shown) // columns)
    size = (min(PAGE, 1.2 + 1.9 * columns), 0.4 + 1.6 * blocks * len(kinds))
    figure = Figure(figsize=size, layout="constrained")
    axes = np.atleast_2d(figure.subplots(blocks * len(kinds), columns, squeeze=False, sharey="row"))
    for axis in axes.flat:
        axis.set_visible(False)
    for index, (values, rows) in enumerate(shown):
        block, column = divmod(index, columns)
        for k, kind in enumerate(kinds):
            axis = axes[block * len(kinds) + k, column]
            axis.set_visible(True)
            _curves(axis, rows[rows["kind"] == kind], palette)
            if k == 0:
                axis.set_title(panel_title(history, values).replace(", ", "\n"))
            if k == len(kinds) - 1:
                axis.set_xlabel("Step")
            if column == 0:
                axis.set_ylabel({"loss": "Total loss", "dice": "Validation Dice (%)"}[kind])
    legend(figure, {arm: Line2D([], [], color=palette[arm]) for arm in arms})
    return figure


def _curves(axis: Axes, rows: pd.DataFrame, palette: Mapping[str, Any]) -> None:
    scale = 100.0 if (rows["kind"] == "dice").any() else 1.0
    for arm, own in rows.groupby("arm", sort=False):
        thin = binned(own, ["id"])
        if thin["id"].nunique() <= MOST_POINTS:
            for _, one in thin.groupby("id", sort=False, observed=True):
                axis.plot(
                    one["step"], one["value"] * scale, color=palette[str(arm)], linewidth=0.5, alpha=0.4
                )
        mean = thin.groupby("step")["value"].mean()
        marker = "o" if scale > 1 and len(mean) < 30 else ""
        axis.plot(
            mean.index, mean * scale, color=palette[str(arm)], linewidth=1.3, marker=marker, markersize=2.5
        )
