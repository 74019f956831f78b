"""Which figures of ranks and robust summaries a study gets, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial

import numpy as np
import pandas as pd

from harness.reporting.figures import profiles, ranks, style
from harness.reporting.figures.planned import Drawing, DrawingOrReason, PlannedFigure
from harness.reporting.rank_groups import GROUP, RankGroup
from harness.reporting.statistics.mean_variance import FloatArray
from harness.reporting.statistics.ranking import RESAMPLES, rank_frequencies
from harness.reporting.statistics.robust import performance_profile
from harness.reporting.statistics.significance import LEAST_CASES_RETRAINING, LEAST_SEEDS
from harness.reporting.tables.ranks import rank_frame

NO_GROUP = "no three arms have the same dataset, architecture and shots"
LEVELS: FloatArray = np.arange(0, 1, 0.01)
_FEW = f"from {LEAST_SEEDS} seeds and {LEAST_CASES_RETRAINING} patients on"


class _Groups:
    """The groups of a report, with the titles of their panels."""

    def __init__(self, groups: Sequence[RankGroup]) -> None:
        self.all = groups

    @cached_property
    def titles(self) -> list[str]:
        values = pd.DataFrame([dict(group.values) for group in self.all], columns=list(GROUP))
        return [style.panel_title(values, group.values) for group in self.all]

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(arm for group in self.all for arm in group.arms))

    def ranked(self) -> list[ranks.RankedArms]:
        return [
            ranks.RankedArms(title, list(group.arms), group.ranking, rank_frequencies(group.drawn))
            for title, group in zip(self.titles, self.all, strict=True)
        ]


def plan_rank_figures(found: Sequence[RankGroup]) -> Iterator[PlannedFigure]:
    """Yield the figures of ranks: critical difference, stability, profiles, probability of improvement."""
    groups = _Groups(found)
    yield PlannedFigure(
        "critical_difference", "Ranks over patients", partial(_find_critical_difference, groups)
    )
    yield PlannedFigure("rank_stability", "Stability of ranks", partial(_find_rank_stability, groups))
    yield PlannedFigure("performance_profiles", "Performance profiles", partial(_find_profiles, groups))
    yield PlannedFigure("improvement", "Probability of improvement", partial(_find_improvement, groups))


def _find_critical_difference(groups: _Groups) -> DrawingOrReason:
    tested = [group for group in groups.ranked() if not group.ranking.reason]
    if not tested:
        return "; ".join(sorted({group.ranking.reason for group in groups.all})) or NO_GROUP
    return Drawing(
        ranks.critical_difference, (tested[: style.MOST_PANELS],),
        "Arms ranked on every test patient by the student's mean Dice over regions, means over seeds, 1 the best; shown are "
        "mean ranks. Bars join arms that do not differ at 5 % by Nemenyi's test, all pairs together; "
        f"of these networks on new patients, not of retraining.{style.left_out_note(len(tested))}",
    )  # fmt: skip


def _find_rank_stability(groups: _Groups) -> DrawingOrReason:
    if not groups.all:
        return NO_GROUP
    return Drawing(
        ranks.rank_stability, (groups.ranked()[: style.MOST_PANELS],),
        f"Seeds and test patients are drawn anew {RESAMPLES:,} times, and arms ranked by the student's mean Dice over them, 1 the best. "
        f"Area: how often an arm has a rank. One seed alone is not drawn anew.{style.left_out_note(len(groups.all))}",
    )  # fmt: skip


def _find_profiles(groups: _Groups) -> DrawingOrReason:
    if not groups.all:
        return NO_GROUP
    rows = [
        _profile(title, arm, scores)
        for title, group in list(zip(groups.titles, groups.all, strict=True))[: style.MOST_PANELS]
        for arm, scores in zip(group.arms, group.scores, strict=True)
    ]
    return Drawing(
        profiles.performance_profiles, (pd.concat(rows, ignore_index=True),),
        "Share of all scores, the student's mean Dice over regions of each network on each test patient, above a Dice. Bands: 95 % "
        f"intervals of each point for new seeds and patients, {_FEW}.{style.left_out_note(len(groups.all))}",
    )  # fmt: skip


def _profile(title: str, arm: str, scores: FloatArray) -> pd.DataFrame:
    seeds, patients = scores.shape
    if seeds < LEAST_SEEDS or patients < LEAST_CASES_RETRAINING:
        value = (scores > LEVELS[:, None, None]).mean(axis=(1, 2))
        low = high = np.full(len(LEVELS), np.nan)
    else:
        found = performance_profile(scores, LEVELS)
        value, low, high = found.value, found.low, found.high
    return pd.DataFrame(
        {
            "title": title,
            "arm": arm,
            "level": 100 * LEVELS,
            "value": 100 * value,
            "low": 100 * low,
            "high": 100 * high,
        }
    )


def _find_improvement(groups: _Groups) -> DrawingOrReason:
    if not groups.all:
        return NO_GROUP
    rows = [rank_frame([group]).assign(title=title) for title, group in _shown(groups.titles, groups.all)]
    found = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame({"improvement": []})
    found = found[found["improvement"].notna()]
    if not len(found):
        return "no arm and the baseline have two seeds each"
    names = {"improvement": "value", "improvement_low": "low", "improvement_high": "high"}
    return Drawing(
        profiles.improvement, (found.rename(columns=names)[["title", "arm", *names.values()]], groups.arms),
        "How likely a network of an arm has the higher mean Dice over regions on a test patient than one of the baseline; ties count half. Bars: "
        f"95 % intervals for new seeds and patients, {_FEW}.{style.left_out_note(len(groups.all))}",
    )  # fmt: skip


def _shown(titles: Sequence[str], groups: Sequence[RankGroup]) -> list[tuple[str, RankGroup]]:
    """Return the groups that have room and a baseline, with their titles."""
    chosen = [
        (title, group) for title, group in zip(titles, groups, strict=True) if group.baseline is not None
    ]
    return chosen[: style.MOST_PANELS]
