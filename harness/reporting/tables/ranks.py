"""The table of ranks: arms by mean and by test, how firm their order is, and summaries that a few bad cases do not carry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.reporting.formats.table import Cell, Column, Table, factor_columns
from harness.reporting.frames import row_dicts
from harness.reporting.rank_groups import GROUP, RankGroup
from harness.reporting.report_data import ReportData
from harness.reporting.statistics.ranking import RESAMPLES
from harness.reporting.statistics.robust import Estimate, interquartile_mean, probability_of_improvement
from harness.reporting.statistics.significance import LEAST_CASES_RETRAINING, LEAST_SEEDS
from harness.reporting.wording import UNSET, factor_text, number

_SCALE = 100  # Dice is shown in %


def rank_table(data: ReportData, groups: Sequence[RankGroup]) -> Table:
    """Return the ranks of arms in Dice, a row for each arm of each group.

    Args:
        data: of the report.
        groups: of ``rank_groups``, at least one.
    """
    frame = rank_frame(groups)
    keys = [key for key in GROUP if frame[key].nunique() > 1]
    columns = [*factor_columns(data.names, keys), Column("Arm"), *(Column(text, "number") for text in (
        "Mean", "IQM", "Mean rank", "Rank by mean", "Rank by test", "Kendall's tau", "First in draws", "Rank in draws", "P(improvement)",
    ))]  # fmt: skip
    rows = [
        (*(Cell(factor_text(data.names, key, row[key])) for key in keys), *_cells(row))
        for row in row_dicts(frame)
    ]
    reasons = dict.fromkeys(group.reason for group in groups if group.reason)
    return Table(
        name="ranks",
        title="Ranks and robust summaries",
        caption="Student's mean Dice over regions, in %, of arms of one dataset, network and number of training cases, 1 the best.",
        columns=tuple(columns),
        rows=tuple(rows),
        footnotes=(*_NOTES, *(f"No rank by test: {reason}." for reason in reasons)),
        data=frame,
    )


_NOTES = (
    "IQM: interquartile mean, of the middle half of all scores of networks on patients. P(improvement): how likely a network of the arm has "
    "the higher score on a patient than one of the baseline, ties count half. Both with 95 % intervals for new seeds and new patients, "
    f"from {LEAST_SEEDS} seeds and {LEAST_CASES_RETRAINING} patients on (Agarwal et al., NeurIPS 2021; intervals by linearisation and the two-way model).",
    "Mean rank: over patients, of means over seeds. Rank by test: by how many others an arm beats for retraining, Holm-corrected over all "
    "pairs of its group. Kendall's tau: of the ranks by mean and by test; – where tests tell no two apart.",
    f"First and rank in draws: seeds and patients are drawn anew {RESAMPLES:,} times, and arms ranked by their mean; how often an arm "
    "is first, and between which ranks it lies in 95 % of draws (Wiesenfarth et al., Scientific Reports 11, 2021).",
)  # fmt: skip


def rank_frame(groups: Sequence[RankGroup]) -> pd.DataFrame:
    """Return one row per arm of each group: the columns of :data:`GROUP`, ``arm``, ``seeds``, ``patients`` and the numbers, Dice in %."""
    rows = []
    for group in groups:
        for i, arm in enumerate(group.arms):
            low, high = np.quantile(group.drawn[:, i], [0.025, 0.975], method="nearest")
            iqm, gain = _summaries(group, i)
            rows.append({
                **group.values, "arm": arm, "seeds": len(group.scores[i]), "patients": group.scores[i].shape[1],
                "mean": _SCALE * group.scores[i].mean(), "iqm": _SCALE * iqm.value, "iqm_low": _SCALE * iqm.low, "iqm_high": _SCALE * iqm.high,
                "mean_rank": group.ranking.average[i], "rank_by_mean": group.by_mean[i], "rank_by_test": group.by_test[i],
                "tau": group.tau, "first": (group.drawn[:, i] == 1).mean(), "rank_low": low, "rank_high": high,
                "improvement": gain.value, "improvement_low": gain.low, "improvement_high": gain.high,
            })  # fmt: skip
    return pd.DataFrame(rows)


def _summaries(group: RankGroup, place: int) -> tuple[Estimate, Estimate]:
    """Return an arm's interquartile mean and its probability of improvement; without intervals where seeds or patients are few."""
    own = group.scores[place]
    base = None if group.baseline in (None, place) else group.scores[group.baseline]
    few = min(len(one) for one in (own, *([] if base is None else [base]))) < LEAST_SEEDS
    few = few or own.shape[1] < LEAST_CASES_RETRAINING
    if min(own.shape) < 2 or (base is not None and len(base) < 2):
        return _NOTHING, _NOTHING
    found = (
        interquartile_mean(own),
        _NOTHING if base is None else probability_of_improvement(own, base, group.shared),
    )
    return (
        (Estimate(found[0].value, np.nan, np.nan), Estimate(found[1].value, np.nan, np.nan)) if few else found
    )


_NOTHING = Estimate(np.nan, np.nan, np.nan)


def _cells(row: dict[str, Any]) -> list[Cell]:
    ranks = [Cell(number(row[name], 0), value=row[name]) for name in ("rank_by_mean", "rank_by_test")]
    return [
        Cell(str(row["arm"])),
        Cell(number(row["mean"]), value=row["mean"]),
        Cell(_with_interval(row, "iqm", 2), value=row["iqm"]),
        Cell(number(row["mean_rank"]), value=row["mean_rank"]),
        *ranks,
        Cell(number(row["tau"]), value=row["tau"]),
        Cell(number(row["first"]), value=row["first"]),
        Cell(f"{row['rank_low']:.0f} to {row['rank_high']:.0f}", value=row["rank_low"]),
        Cell(_with_interval(row, "improvement", 2), value=row["improvement"]),
    ]


def _with_interval(row: dict[str, Any], name: str, decimals: int) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if np.isnan(value):
        return UNSET
    return (
        number(value, decimals)
        if np.isnan(low)
        else f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"
    )
