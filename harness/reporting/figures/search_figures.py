"""Which figures a search gets: their series and captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.records.schema import safe_name
from harness.reporting.figures import search_plots
from harness.reporting.figures.drawing import PlannedFigure
from harness.reporting.figures.style import MOST_PANELS
from harness.reporting.wording import count, heading, value_text
from harness.search.findings import Findings
from harness.study.searches import Dimension

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECTION = "search"
_OBJECTIVE = "Validation Dice of the student at the selected step, mean over regions, cases and seeds, in %"


def plan_search_figures(searches: Sequence[Findings]) -> Iterator[PlannedFigure]:
    """Yield the figures of a study's searches."""
    if not searches:
        return
    yield PlannedFigure("search_history", "Search by suggestion", partial(_history, searches), SECTION)
    yield PlannedFigure(
        "search_importances", "What the searched parameters matter", partial(_importances, searches), SECTION
    )
    for found in searches:
        name = safe_name(found.arm.name)
        yield PlannedFigure(
            f"search_slices_{name}",
            f"Searched parameters of {found.arm.name}",
            partial(_slices, found),
            SECTION,
        )
        yield PlannedFigure(
            f"search_contours_{name}",
            f"Pairs of parameters of {found.arm.name}",
            partial(_contours, found),
            SECTION,
        )


def suggestion_frame(found: Findings) -> pd.DataFrame:
    """Return one row per suggestion that has ended: ``arm``, ``number``, ``state``, ``value`` (%), a column per dimension.

    The values of a dimension are as :func:`axis_of` draws them: one minus the value where that is what was searched,
    the place among its choices where they are no numbers.
    """
    rows = [
        {"arm": found.arm.name, "number": one.number, "state": one.state,
         "value": float("nan") if one.objective is None else 100 * one.objective,
         **{dimension.key: _place(dimension, one.values[dimension.key]) for dimension in found.arm.dimensions}}
        for one in found.suggestions if one.state != "running"
    ]  # fmt: skip
    columns = ["arm", "number", "state", "value", *(dimension.key for dimension in found.arm.dimensions)]
    return pd.DataFrame(rows, columns=columns)


def axis_of(dimension: Dimension) -> search_plots.Axis:
    """Return a dimension as an axis."""
    searched, label = dimension.range, heading(dimension.key)
    categories = () if _is_numeric(dimension) else tuple(value_text(choice) for choice in searched.choices)
    label = f"1 − {label}" if searched.complement else label
    return search_plots.Axis(dimension.key, label, searched.log, dimension.whole, categories)


def _is_numeric(dimension: Dimension) -> bool:
    return all(isinstance(end, int | float) and not isinstance(end, bool) for end in dimension.range.ends())


def _place(dimension: Dimension, value: Any) -> float:
    if not _is_numeric(dimension):
        return float(dimension.range.choices.index(value))
    return 1 - value if dimension.range.complement else float(value)


def _with_values(found: Findings) -> pd.DataFrame:
    frame = suggestion_frame(found)
    return frame[frame["value"].notna()]


def _by_importance(found: Findings) -> list[Dimension]:
    return sorted(found.arm.dimensions, key=lambda one: -found.importances.get(one.key, 0.0))


def _history(searches: Sequence[Findings]) -> tuple[Figure, str] | str:
    frame = pd.concat([suggestion_frame(found) for found in searches], ignore_index=True)
    if not len(frame):
        return "no suggestion has ended"
    note = "; of a pruned one at its rung" if (frame["state"] == "pruned").any() else ""
    caption = f"{_OBJECTIVE}{note}, by the suggestion's number. Line: the best so far."
    return search_plots.search_history(frame), caption + _left_out(len(searches))


def _importances(searches: Sequence[Findings]) -> tuple[Figure, str] | str:
    rows = [
        {"arm": found.arm.name, "label": heading(key), "share": share}
        for found in searches for key, share in found.importances.items() if len(found.importances) > 1
    ]  # fmt: skip
    if not rows:
        return "no arm has two searched parameters and two complete suggestions that differ"
    caption = (
        "How much each parameter decides whether a complete suggestion is among the better ones (PED-ANOVA, "
        "Watanabe et al., IJCAI 2023), shares of 1. From few suggestions it says little."
    )
    arms = [found.arm.name for found in searches]
    return search_plots.search_importances(pd.DataFrame(rows), arms), caption


def _slices(found: Findings) -> tuple[Figure, str] | str:
    frame = _with_values(found)
    if not len(frame):
        return "no suggestion has a value"
    axes = [axis_of(dimension) for dimension in _by_importance(found)]
    pruned = " Triangles: pruned, at their rung." if (frame["state"] == "pruned").any() else ""
    caption = f"{_OBJECTIVE}, of {count(len(frame), 'suggestion')} against each parameter; later ones are darker.{pruned}"
    return search_plots.search_slices(frame, axes), caption + _left_out(len(axes))


def _contours(found: Findings) -> tuple[Figure, str] | str:
    frame = _with_values(found)
    frame = frame[frame["state"] == "complete"]
    if len(frame) < 4:
        return "fewer than four suggestions are complete"
    numeric = [axis_of(dimension) for dimension in _by_importance(found) if _is_numeric(dimension)]
    axes = [axis for axis in numeric if frame[axis.column].nunique() > 1]
    if len(axes) < 2:
        return "fewer than two searched parameters are numbers that vary"
    caption = (
        f"{_OBJECTIVE}, over pairs of parameters: linear between the {len(frame)} complete suggestions (points), whose "
        "other parameters differ too."
    )
    return search_plots.search_contours(frame, axes), caption + _left_out(len(axes) * (len(axes) - 1) // 2)


def _left_out(panels: int) -> str:
    return f" The first {MOST_PANELS} of {panels} panels are shown." if panels > MOST_PANELS else ""
