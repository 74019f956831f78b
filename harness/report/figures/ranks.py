"""Ranks of arms over cases: critical-difference diagram and stability under the bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.figures.style import COLUMN, colours, grid, styled
from harness.report.statistics import Ranking, Scores


@dataclass(frozen=True)
class RankedArms:
    """Arms that were ranked together.

    Attributes:
        title: of the panel.
        arms: their names.
        ranking: of ``rank_arms``.
        frequencies: ``(arms, ranks)``, of ``rank_stability``.
    """

    title: str
    arms: Sequence[str]
    ranking: Ranking
    frequencies: Scores


@styled
def critical_difference(groups: Sequence[RankedArms]) -> Figure:
    """Return a diagram of mean ranks for each group; bars join arms that Nemenyi's test does not tell apart.

    Source: Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006), figure 1.
    """
    height = 0.55 + 0.19 * max(_lines(group) for group in groups)
    figure, axes = grid(len(groups), width=COLUMN, height=height, share_y=False)
    palette = _palette(groups)
    for axis, group in zip(axes, groups, strict=True):
        _diagram(axis, group, palette)
    return figure


def _palette(groups: Sequence[RankedArms]) -> dict[str, Any]:
    return colours(list(dict.fromkeys(arm for group in groups for arm in group.arms)))


def _lines(group: RankedArms) -> float:
    """Return how many lines of text high a diagram is."""
    return (len(group.arms) + 1) // 2 + 0.5 * len(alike(group.ranking)) + 2.5


def alike(ranking: Ranking) -> list[tuple[float, float]]:
    """Return the widest runs of arms whose mean ranks differ by no more than the critical difference, as ranks."""
    ordered = np.sort(ranking.average)
    runs: list[tuple[float, float]] = []
    for i, low in enumerate(ordered):
        last = int(np.searchsorted(ordered, low + ranking.critical, side="right")) - 1
        if last > i and (not runs or ordered[last] > runs[-1][1]):
            runs.append((float(low), float(ordered[last])))
    return runs


def _diagram(axis: Axes, group: RankedArms, palette: Mapping[str, Any]) -> None:
    ranking, number = group.ranking, len(group.arms)
    order = np.argsort(ranking.average, kind="stable")
    runs = alike(ranking)
    axis.set_axis_off()
    axis.grid(False)
    margin = 0.75 * (number - 1) + 0.5  # for names, in ranks
    axis.set_xlim(1 - margin, number + margin)
    axis.hlines(0, 1, number, color="black", linewidth=0.8)
    for rank in range(1, number + 1):
        axis.vlines(rank, 0, 0.25, color="black", linewidth=0.8)
        axis.text(rank, 0.35, str(rank), ha="center", va="bottom", fontsize=6.5)
    axis.hlines(1.9, 1, 1 + ranking.critical, color="black", linewidth=1.2)
    axis.vlines([1, 1 + ranking.critical], 1.75, 2.05, color="black", linewidth=1.2)
    axis.text(1, 2.15, f"critical difference {ranking.critical:.2f}", ha="left", va="bottom", fontsize=6.5)
    for i, (low, high) in enumerate(runs):
        axis.hlines(-0.35 - 0.4 * i, low - 0.04, high + 0.04, color="black", linewidth=2.2)
    start, half = -0.9 - 0.4 * len(runs), (number + 1) // 2
    for position, index in enumerate(order):
        left = position < half
        y = start - (position if left else number - 1 - position)
        end = 1 - 0.1 * (number - 1) if left else number + 0.1 * (number - 1)
        rank, colour = ranking.average[index], palette[group.arms[index]]
        axis.plot([rank, rank, end], [0, y, y], color=colour, linewidth=1)
        text = f"{group.arms[index]} {rank:.2f}" if left else f"{rank:.2f} {group.arms[index]}"
        shift = -3 if left else 3
        axis.annotate(text, (end, y), (shift, 0), textcoords="offset points", va="center",
                      ha="right" if left else "left", fontsize=6.5)  # fmt: skip
    axis.set_ylim(start - half + 0.4, 3.0)
    axis.set_title(f"{group.title}\nFriedman p {_p(ranking.p)}, {ranking.cases} cases", fontsize=7)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


@styled
def rank_stability(groups: Sequence[RankedArms]) -> Figure:
    """Return discs whose areas are how often each arm takes each rank when cases are drawn anew.

    Source: Wiesenfarth et al., Methods and open-source toolkit for analyzing and visualizing challenge results,
    Scientific Reports 11 (2021), figure 4.
    """
    most = max(len(group.arms) for group in groups)
    figure, axes = grid(
        len(groups), width=max(2.2, 1.4 + 0.3 * most), height=0.7 + 0.26 * most, share_y=False
    )
    palette = _palette(groups)
    for axis, group in zip(axes, groups, strict=True):
        order = np.argsort(group.ranking.average, kind="stable")
        for row, index in enumerate(order):
            shares = group.frequencies[index]
            axis.scatter(np.arange(1, len(shares) + 1), np.full(len(shares), row), s=120 * shares,
                         color=palette[group.arms[index]], linewidths=0)  # fmt: skip
        axis.set_yticks(range(len(order)), [group.arms[index] for index in order])
        axis.set_xticks(range(1, len(order) + 1))
        axis.set_xlim(0.4, len(order) + 0.6)
        axis.set_ylim(len(order) - 0.4, -0.6)
        axis.set_xlabel("Rank")
        axis.set_title(group.title)
    return figure
