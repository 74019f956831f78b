"""Ranks of arms over cases: critical-difference diagram and stability under the bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.reporting.figures import style
from harness.reporting.statistics.mean_variance import FloatArray
from harness.reporting.statistics.ranking import Ranking

_NAME, _LETTER, _LINE = 2.4, 0.05, 0.15  # inches: the most of a name's line, a letter of 6.5 pt, a line
_DISC = 100  # square points, of a share of one


@dataclass(frozen=True)
class RankedArms:
    """Arms that were ranked together.

    Attributes:
        title: of the panel.
        arms: their names.
        ranking: of ``rank_arms``.
        frequencies: ``(arms, ranks)``, of ``rank_frequencies``.
    """

    title: str
    arms: Sequence[str]
    ranking: Ranking
    frequencies: FloatArray


@style.applied
def critical_difference(groups: Sequence[RankedArms]) -> Figure:
    """Return a diagram of mean ranks for each group; bars join arms that Nemenyi's test does not tell apart.

    Source: Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006), figure 1.
    """
    widest = min(_NAME, style.most_width() / 3)
    names = {arm: style.wrap_text(arm, widest) for group in groups for arm in group.arms}
    lines = max(name.count("\n") for name in names.values()) + 1
    margin = 0.2 + _LETTER * max(len(line) for name in names.values() for line in f"{name} 1.00".split("\n"))
    several = len(groups) > 2  # in two columns, with a shorter scale where names are short
    width = min(
        style.most_width(),
        max(style.most_width() / 2 if several else style.COLUMN, 2 * margin + (0.9 if several else 1.1)),
    )
    height = 0.35 + _LINE * max(_height_in_lines(group, lines) for group in groups)
    figure, axes = style.panel_grid(len(groups), width=width, height=height, share_y=False)
    palette = _palette(groups)
    for axis, group in zip(axes, groups, strict=True):
        scale = width - 2 * margin
        every = max(1, ceil(0.17 * (len(group.arms) - 1) / scale))  # rank that has room for its number
        _draw_diagram(axis, group, names, palette, margin / scale, lines, every)
    return figure


def _palette(groups: Sequence[RankedArms]) -> dict[str, Any]:
    arms = [arm for group in groups for arm in group.arms]
    return {arm: look.colour for arm, look in style.arm_styles(arms).items()}


def _height_in_lines(group: RankedArms, lines: int) -> float:
    """Return how many lines of text high a diagram is, where names have so many ``lines``."""
    return (len(group.arms) + 1) // 2 * lines + 0.5 * len(tied_runs(group.ranking)) + 3.2


def tied_runs(ranking: Ranking) -> list[tuple[float, float]]:
    """Return the widest runs of arms whose mean ranks differ by no more than the critical difference, as ranks."""
    ordered = np.sort(ranking.average)
    runs: list[tuple[float, float]] = []
    for i, low in enumerate(ordered):
        last = int(np.searchsorted(ordered, low + ranking.critical, side="right")) - 1
        if last > i and (not runs or ordered[last] > runs[-1][1]):
            runs.append((float(low), float(ordered[last])))
    return runs


def _draw_diagram(
    axis: Axes, group: RankedArms, names: Mapping[str, str], palette: Mapping[str, Any], margin: float, lines: int,
    every: int,
) -> None:  # fmt: skip
    """Draw one diagram; ``margin`` is the room for names on either side, in lengths of the scale."""
    ranking, number = group.ranking, len(group.arms)
    order = np.argsort(ranking.average, kind="stable")
    runs = tied_runs(ranking)
    axis.set_axis_off()
    axis.grid(False)
    length = number - 1
    axis.set_xlim(1 - margin * length, number + margin * length)
    axis.hlines(0, 1, number, color="black", linewidth=0.8)
    axis.vlines(range(1, number + 1), 0, 0.25, color="black", linewidth=0.8)
    for rank in range(1, number + 1, every):
        axis.text(rank, 0.35, str(rank), ha="center", va="bottom", fontsize=6.5)
    axis.hlines(1.55, 1, 1 + ranking.critical, color="black", linewidth=1.2)
    axis.vlines([1, 1 + ranking.critical], 1.4, 1.7, color="black", linewidth=1.2)
    axis.text(1, 1.75, f"critical difference {ranking.critical:.2f}", ha="left", va="bottom", fontsize=6.5)
    if runs:
        low, high = np.transpose(runs)
        heights = -0.35 - 0.5 * np.arange(len(runs))
        axis.hlines(heights, low - 0.01 * length, high + 0.01 * length, color="black", linewidth=2.2)
    start, half = -0.7 - 0.5 * len(runs), (number + 1) // 2
    for position, index in enumerate(order):
        left = position < half
        y = start - lines * (position if left else number - 1 - position)
        end = 1 - 0.04 * length if left else number + 0.04 * length
        rank, arm = ranking.average[index], group.arms[index]
        axis.plot([rank, rank, end], [0, y, y], color=palette[arm], linewidth=1)
        text = f"{names[arm]} {rank:.2f}" if left else f"{rank:.2f} {names[arm]}"
        shift = -3 if left else 3
        axis.annotate(text, (end, y), (shift, 0), textcoords="offset points", va="center",
                      ha="right" if left else "left", fontsize=6.5)  # fmt: skip
    axis.set_ylim(start - lines * half + 0.5 * lines, 2.5)
    axis.set_title(f"{group.title}\nFriedman p {_p_text(ranking.p)}, {ranking.cases} patients", fontsize=7)


def _p_text(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


@style.applied
def rank_stability(groups: Sequence[RankedArms]) -> Figure:
    """Return discs whose areas are how often each arm takes each rank when seeds and patients are drawn anew.

    Source: Wiesenfarth et al., Methods and open-source toolkit for analyzing and visualizing challenge results,
    Scientific Reports 11 (2021), figure 4.
    """
    most = max(len(group.arms) for group in groups)
    names = {
        arm: style.wrap_text(arm, min(_NAME, style.most_width() / 3))
        for group in groups
        for arm in group.arms
    }
    lines = max(name.count("\n") for name in names.values()) + 1
    widest = max(len(line) for name in names.values() for line in name.split("\n"))
    width = max(2.2, 0.06 * widest + 0.4 + 0.3 * most)
    titles = [style.wrap_text(group.title, 0.6 + 0.3 * most) for group in groups]
    height = 0.6 + 0.13 * max(title.count("\n") + 1 for title in titles) + max(0.22, 0.13 * lines) * most
    figure, axes = style.panel_grid(len(groups), width=width, height=height, share_y=False)
    palette = _palette(groups)
    for axis, group, title in zip(axes, groups, titles, strict=True):
        order = np.argsort(group.ranking.average, kind="stable")
        for row, index in enumerate(order):
            shares = group.frequencies[index]
            axis.scatter(np.arange(1, len(shares) + 1), np.full(len(shares), row), s=_DISC * shares,
                         color=palette[group.arms[index]], linewidths=0)  # fmt: skip
        axis.set_yticks(range(len(order)), [names[group.arms[index]] for index in order])
        axis.set_xticks(range(1, len(order) + 1))
        axis.set_xlim(0.4, len(order) + 0.6)
        axis.set_ylim(len(order) - 0.4, -0.6)
        axis.set_xlabel("Rank")
        axis.set_title(title)
    sizes = {f"{share:.0%}".replace("%", " %"): Line2D([], [], color="0.4", marker="o", linestyle="", markeredgewidth=0,
             markersize=np.sqrt(_DISC * share)) for share in (0.1, 0.5, 1.0)}  # fmt: skip
    style.legend(figure, sizes, title="Share of the draws in which an arm has the rank")
    return figure
