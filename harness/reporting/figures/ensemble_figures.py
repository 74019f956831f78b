"""The figure of ensembles: the mean of an arm's networks beside each of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd

from harness.errors import UserError
from harness.reporting.figures.dots import role_dots
from harness.reporting.figures.planned import Drawing, DrawingOrReason, PlannedFigure
from harness.reporting.figures.study_figures import dice_series
from harness.reporting.report_data import ReportData, with_print_names
from harness.reporting.statistics.estimates import MEAN, STUDENT
from harness.reporting.tables.ensembles import averaged

_CAPTION = (
    "Mean Dice (%) of each student and of the mean of their probabilities, on the same test cases. Students: mean and sample standard "
    "deviation over seeds; points: each. An ensemble is one predictor, so that it has no error bar."
)


def plan_ensemble_figures(
    data: ReportData, scored: pd.DataFrame | UserError | None
) -> Iterator[PlannedFigure]:
    """Yield the figure of a study's ensembles, where it has any.

    Args:
        data: of the report.
        scored: of ``ensemble_frame``.
    """
    if isinstance(scored, pd.DataFrame):
        yield PlannedFigure("ensembles", "Ensembles beside their members", partial(_find, data, scored))


def _find(data: ReportData, scored: pd.DataFrame) -> DrawingOrReason:
    if data.undeclared_differences:
        return f"refused: {data.undeclared_differences[0]}"
    scores, parts = dice_series(data), list[pd.DataFrame]()
    for one in averaged(data, scored):
        members = scores[scores["id"].isin(one.trials) & (scores["role"] == STUDENT)]
        if one.role != STUDENT or not len(members):
            continue
        value = 100 * one.values["dice", MEAN]
        parts += [members, members.iloc[:1].assign(role=f"ensemble over {one.over}s", value=value)]
    if not parts:
        return "no ensemble of students is whole"
    series = pd.concat(parts).drop_duplicates(["id", "role"])
    return Drawing(role_dots, (with_print_names(series, data.names),), _CAPTION)
