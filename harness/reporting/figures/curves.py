"""Curves: Dice against the number of training cases or any numeric factor, and training over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from harness.reporting.figures import style
from harness.reporting.palette import CURVE_COLOURS
from harness.reporting.statistics.estimates import bin_by_step

FEW_SHOT_PANELS = ("dataset", "architecture")
FACTOR_PANELS = TRAINING_PANELS = ("dataset", "architecture", "shots")
MOST_TRAINING_PANELS = 10


@style.applied
def few_shot_curves(scores: pd.DataFrame) -> Figure:
    """Return mean Dice against the number of training cases: a panel per dataset and architecture.

    Args:
        scores: one row per trial: ``dataset``, ``architecture``, ``shots``, ``training`` (number of training
            cases), ``arm``, ``value`` (%).
    """
    arms = style.distinct(scores["arm"])
    styles = style.arm_styles(arms)
    shown = style.panel_groups(scores, FEW_SHOT_PANELS)
    figure, axes = style.panel_grid(len(shown), width=2.2, height=2.2, least=1.6)
    limits = style.robust_limits(scores["value"])
    for axis, (values, rows) in zip(axes, shown, strict=True):
        counts = sorted(rows["training"].unique())
        apart = max(2.0, counts[-1] / counts[0]) ** 0.02  # so that arms of one number lie side by side
        for i, arm in enumerate(arms):
            own = rows[rows["arm"] == arm]
            by_number = own.groupby("training")["value"]
            summary = by_number.mean().to_frame("mean")
            summary["std"] = [style.reach_within(one, limits) for _, one in by_number]
            nudge = apart ** (i - (len(arms) - 1) / 2)
            x = summary.index.to_numpy(float) * nudge
            _draw_means(axis, x, summary["mean"], summary["std"], styles[arm])
            for place, (_, one) in zip(x, by_number, strict=True):
                style.mark_beyond(axis, place, one, limits, styles[arm].colour, mean=one.mean())
            _draw_points(axis, own["training"].astype(float) * nudge, own["value"], styles[arm].colour)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(FixedLocator(counts))
        axis.xaxis.set_minor_locator(NullLocator())
        every = {n: shots == "all" for n, shots in zip(rows["training"], rows["shots"], strict=True)}
        axis.set_xticklabels([f"all ({n})" if every[n] else str(n) for n in counts])
        axis.set_xlim(counts[0] / apart**6, counts[-1] * apart**6)
        axis.set_xlabel("Training cases")
        axis.set_title(style.panel_title(scores, values))
    style.label_left(axes, "Dice (%)")
    style.legend(figure, {arm: _legend_line(styles[arm], styles[arm].marker) for arm in arms})
    return figure


def _draw_means(axis: Axes, x: Any, y: Any, reach: Any, look: style.PlotStyle) -> None:
    axis.errorbar(x, y, reach, color=look.colour, linestyle=look.line, capsize=2, marker=look.marker, markersize=3.8,
                  markerfacecolor=look.face, linewidth=1.2, elinewidth=0.8)  # fmt: skip


def _legend_line(look: style.PlotStyle, marker: str = "", line: Any = "") -> Line2D:
    return Line2D([], [], color=look.colour, linestyle=line or look.line, marker=marker, markersize=3.8,
                  markerfacecolor=look.face)  # fmt: skip


@style.applied
def factor_curves(scores: pd.DataFrame, label: str, every: Sequence[str]) -> Figure:
    """Return mean Dice against a numeric factor: a panel per dataset, architecture and shots.

    Values that would lie too close are evenly spaced. An arm that does not vary the factor is a dashed line across its panel, with its interval as a band.

    Args:
        scores: one row per trial: ``dataset``, ``architecture``, ``shots``, ``arm``, ``value`` (%), ``x`` (the
            factor, NaN where the arm does not vary it), ``low`` and ``high`` (% , the same for all trials of a point, NaN where
            there is no interval).
        label: of the factor.
        every: arm of the study, so that a dashed one has the colour that it has in all figures.
    """
    unset = {str(arm): bool(rows["x"].isna().all()) for arm, rows in scores.groupby("arm", sort=False)}
    setting = [arm for arm, dashed in unset.items() if not dashed]
    own_looks = {
        arm: style.PlotStyle(colour) for arm, colour in zip(setting, cycle(CURVE_COLOURS), strict=False)
    }
    styles = {arm: own_looks.get(arm) or style.arm_styles([*every, arm])[arm] for arm in unset}
    places, even = _positions(scores["x"])
    shown = style.panel_groups(scores, FACTOR_PANELS)
    figure, axes = style.panel_grid(len(shown), width=2.2, height=2.2, least=1.6)
    for axis, (values, rows) in zip(axes, shown, strict=True):
        for arm, own in rows.groupby("arm", sort=False):
            look = styles[str(arm)]
            if unset[arm]:
                _draw_constant(axis, own, look)
                continue
            points = own.groupby("x")[["value", "low", "high"]].mean()
            reach = [
                (points["value"] - points["low"]).fillna(0),
                (points["high"] - points["value"]).fillna(0),
            ]
            nudge = 0.04 * (setting.index(str(arm)) - (len(setting) - 1) / 2) * _least_gap(places)
            _draw_means(axis, points.index.map(places) + nudge, points["value"], reach, look)
            _draw_points(axis, own["x"].map(places) + nudge, own["value"], look.colour)
        axis.set_xticks(list(places.values()), [f"{value:g}" for value in places])
        axis.set_xlabel(f"{label} (evenly spaced)" if even else label)
        axis.set_title(style.panel_title(scores, values))
    style.label_left(axes, "Dice (%)")
    keys = {
        arm: _legend_line(look, "", "--") if unset[arm] else _legend_line(look, look.marker)
        for arm, look in styles.items()
    }
    style.legend(figure, keys)
    return figure


def _draw_constant(axis: Axes, own: pd.DataFrame, look: style.PlotStyle) -> None:
    """Draw an arm that does not vary the factor: a line with its interval as a band."""
    mean, low, high = own[["value", "low", "high"]].mean()
    axis.axhline(mean, color=look.colour, linewidth=1, linestyle="--")
    if not np.isnan(low):
        axis.axhspan(low, high, color=look.colour, alpha=0.12, linewidth=0)


def _positions(values: pd.Series) -> tuple[dict[float, float], bool]:
    """Return where each value of a factor stands, and whether that is evenly: where to scale they would lie too close."""
    ordered = [float(value) for value in sorted(values.dropna().unique())]
    least = min((b - a for a, b in pairwise(ordered)), default=0.0)
    even = len(ordered) > 2 and least < 0.1 * (ordered[-1] - ordered[0])
    return {value: float(i) if even else value for i, value in enumerate(ordered)}, even


def _least_gap(places: Mapping[float, float]) -> float:
    return min((b - a for a, b in pairwise(places.values())), default=0.0)


def _draw_points(axis: Axes, x: pd.Series, y: pd.Series, colour: Any) -> None:
    """Draw trials one by one, where they are few."""
    if y.groupby(x.to_numpy()).size().max() <= style.MOST_POINTS:
        axis.plot(x, y, "o", markerfacecolor="white", markeredgecolor=colour, markeredgewidth=0.6,
                  markersize=2.2, zorder=3)  # fmt: skip


@style.applied
def training_curves(history: pd.DataFrame) -> Figure:
    """Return total loss by step (logarithmic where no loss is negative), and below it validation Dice where there is any.

    A column per dataset, architecture and shots; a thick line is the mean over seeds, thin ones are seeds.

    Args:
        history: ``dataset``, ``architecture``, ``shots``, ``arm``, ``id``, ``step``, ``kind`` (``loss`` or
            ``dice``), ``value``.
    """
    arms = style.distinct(history["arm"])
    looks = style.arm_styles(arms).items()
    styles = {
        arm: replace(look, line=dashes)
        for (arm, look), dashes in zip(looks, cycle(style.DASHES), strict=False)
    }
    kinds = [kind for kind in ("loss", "dice") if (history["kind"] == kind).any()]
    positive = bool((history.loc[history["kind"] == "loss", "value"] > 0).all())
    shown = style.panel_groups(history, TRAINING_PANELS)[:MOST_TRAINING_PANELS]
    columns = min(len(shown), 4 if len(shown) < 9 else 5, int(style.most_width() / 1.4))
    blocks = -(-len(shown) // columns)
    size = (min(style.most_width(), max(style.COLUMN, 0.5 + 1.7 * columns)), 0.2 + 1.6 * blocks * len(kinds))
    figure = Figure(figsize=size, layout="constrained")
    axes = np.atleast_2d(figure.subplots(blocks * len(kinds), columns, squeeze=False, sharey="row"))
    for axis in axes.flat:
        axis.set_visible(False)
    for index, (values, rows) in enumerate(shown):
        block, column = divmod(index, columns)
        for k, kind in enumerate(kinds):
            axis = axes[block * len(kinds) + k, column]
            axis.set_visible(True)
            _draw_curves(axis, rows[rows["kind"] == kind], styles)
            axis.set_xlim(0, 1.02 * rows["step"].max())
            if kind == "loss" and positive:
                style.use_log_scale(axis, "y")
            if k == 0:
                axis.set_title(style.panel_title(history, values).replace(", ", "\n"))
            if k == len(kinds) - 1:
                axis.set_xlabel("Step")
            if column == 0:
                axis.set_ylabel({"loss": "Total loss", "dice": "Validation Dice (%)"}[kind])
    style.legend(figure, {arm: _legend_line(styles[arm]) for arm in arms})
    return figure


def _draw_curves(axis: Axes, rows: pd.DataFrame, styles: Mapping[str, style.PlotStyle]) -> None:
    scale = 100.0 if (rows["kind"] == "dice").any() else 1.0
    for arm, own in rows.groupby("arm", sort=False):
        look, thin = styles[str(arm)], bin_by_step(own, ["id"])
        if thin["id"].nunique() <= style.MOST_POINTS:
            for _, one in thin.groupby("id", sort=False, observed=True):
                axis.plot(one["step"], one["value"] * scale, color=look.colour, linewidth=0.5, alpha=0.4)
        mean = thin.groupby("step")["value"].mean()
        marker = "o" if scale > 1 and len(mean) < 30 else ""
        axis.plot(mean.index, mean * scale, color=look.colour, linestyle=look.line, linewidth=1.3, marker=marker,
                  markersize=2.5)  # fmt: skip
