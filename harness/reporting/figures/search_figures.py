"""Which figures a search gets: their series and captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from harness.records.schema import safe_name
from harness.reporting.figures import parallel, search_plots
from harness.reporting.figures.planned import Drawing, DrawingOrReason, PlannedFigure
from harness.reporting.figures.style import left_out_note
from harness.reporting.tables.search import searched_names
from harness.reporting.wording import count, is_number
from harness.search.findings import Findings
from harness.study.names import Names
from harness.study.searches import Dimension

_LEAST_SUGGESTIONS = 10  # of importances and parallel coordinates; of fewer, what they show is chance
_OBJECTIVE = "Validation Dice of the student at the selected step, mean over regions, cases and seeds, in %"


def plan_search_figures(searches: Sequence[Findings], names: Names) -> Iterator[PlannedFigure]:
    """Yield the figures of a study's searches."""
    if not searches:
        return
    plan, shown = partial(PlannedFigure, section="search"), searched_names(searches, names)
    yield plan("search_history", "Search by suggestion", partial(_find_history, searches, shown))
    title = "What the searched parameters matter"
    yield plan("search_importances", title, partial(_find_importances, searches, shown, names))
    for found in searches:
        arm, name = shown[found.arm.name], safe_name(found.arm.name)
        yield plan(
            f"search_slices_{name}", f"Searched parameters of {arm}", partial(_find_slices, found, names)
        )
        yield plan(
            f"search_parallel_{name}", f"Parallel coordinates of {arm}", partial(_find_parallel, found, names)
        )
        yield plan(
            f"search_contours_{name}", f"Pairs of parameters of {arm}", partial(_find_contours, found, names)
        )


def suggestion_frame(found: Findings) -> pd.DataFrame:
    """Return one row per suggestion that has ended: ``arm``, ``number``, ``state``, ``value`` (%), a column per dimension.

    The values of a dimension are as :func:`axis_of` draws them: one minus the value where that is what was searched,
    the place among its choices where they are no numbers.
    """
    rows = [
        {"arm": found.arm.name, "number": one.number, "state": one.state,
         "value": float("nan") if one.objective is None else 100 * one.objective,
         **{dimension.key: _axis_position(dimension, one.values[dimension.key]) for dimension in found.arm.dimensions}}
        for one in found.suggestions if one.state != "running"
    ]  # fmt: skip
    columns = ["arm", "number", "state", "value", *(dimension.key for dimension in found.arm.dimensions)]
    return pd.DataFrame(rows, columns=columns)


def axis_of(dimension: Dimension, names: Names) -> search_plots.Axis:
    """Return a dimension as an axis."""
    searched, label = dimension.range, names.factor(dimension.key)
    categories = (
        ()
        if _is_numeric(dimension)
        else tuple(names.value(dimension.key, choice) for choice in searched.choices)
    )
    label = f"1 − {label}" if searched.complement else label
    return search_plots.Axis(dimension.key, label, searched.log, dimension.whole, categories)


def _is_numeric(dimension: Dimension) -> bool:
    return all(map(is_number, dimension.range.ends()))


def _axis_position(dimension: Dimension, value: Any) -> float:
    if not _is_numeric(dimension):
        return float(dimension.range.choices.index(value))
    return 1 - value if dimension.range.complement else float(value)


def _by_importance(found: Findings) -> list[Dimension]:
    return sorted(found.arm.dimensions, key=lambda one: -found.importances.get(one.key, 0.0))


def _find_history(searches: Sequence[Findings], shown: Mapping[str, str]) -> DrawingOrReason:
    frame = pd.concat([suggestion_frame(found) for found in searches], ignore_index=True)
    if not len(frame):
        return "no suggestion has ended"
    note = "; of a pruned one at its rung" if (frame["state"] == "pruned").any() else ""
    caption = f"{_OBJECTIVE}{note}, by the suggestion's number. Line: the best so far."
    frame = frame.assign(arm=frame["arm"].map(shown))
    return Drawing(search_plots.search_history, (frame,), caption + left_out_note(len(searches)))


def _completed(found: Findings) -> int:
    return sum(one.state == "complete" for one in found.suggestions)


def _find_importances(
    searches: Sequence[Findings], shown: Mapping[str, str], names: Names
) -> DrawingOrReason:
    rows = [
        {"arm": shown[found.arm.name], "label": names.factor(key), "share": share}
        for found in searches if _completed(found) >= _LEAST_SUGGESTIONS
        for key, share in found.importances.items() if len(found.importances) > 1
    ]  # fmt: skip
    if not rows:
        return f"no arm has two searched parameters and {_LEAST_SUGGESTIONS} complete suggestions"
    caption = (
        "How much each parameter decides whether a complete suggestion is among the better ones (PED-ANOVA, "
        "Watanabe et al., IJCAI 2023), shares of 1. From few suggestions it says little."
    )
    arms = [shown[found.arm.name] for found in searches]
    return Drawing(search_plots.search_importances, (pd.DataFrame(rows), arms), caption)


def _find_slices(found: Findings, names: Names) -> DrawingOrReason:
    frame = suggestion_frame(found).dropna(subset="value")
    if not len(frame):
        return "no suggestion has a value"
    axes = [axis_of(dimension, names) for dimension in _by_importance(found)]
    pruned = " Triangles: pruned, at their rung." if (frame["state"] == "pruned").any() else ""
    caption = f"{_OBJECTIVE}, of {count(len(frame), 'suggestion')} against each parameter; later ones are darker.{pruned}"
    return Drawing(search_plots.search_slices, (frame, axes), caption + left_out_note(len(axes)))


def _find_parallel(found: Findings, names: Names) -> DrawingOrReason:
    frame = suggestion_frame(found)
    frame = frame[frame["state"] == "complete"]
    if len(frame) < _LEAST_SUGGESTIONS:
        return f"fewer than {_LEAST_SUGGESTIONS} suggestions are complete"
    axes = [axis_of(dimension, names) for dimension in _by_importance(found)]
    if len(axes) < 2:
        return "a single parameter is searched"
    caption = (
        f"Each of {count(len(frame), 'complete suggestion')} is a line through its parameters to its Dice: {_OBJECTIVE[0].lower()}{_OBJECTIVE[1:]}. "
        f"Better ones are darker, the best is thick. What matters most stands on the left; the parameters that have room are shown."
    )
    return Drawing(parallel.search_parallel, (frame, axes), caption)


def _find_contours(found: Findings, names: Names) -> DrawingOrReason:
    frame = suggestion_frame(found).dropna(subset="value")
    frame = frame[frame["state"] == "complete"]
    if len(frame) < 4:
        return "fewer than four suggestions are complete"
    numeric = [axis_of(dimension, names) for dimension in _by_importance(found) if _is_numeric(dimension)]
    axes = [axis for axis in numeric if frame[axis.column].nunique() > 1]
    if len(axes) < 2:
        return "fewer than two searched parameters are numbers that vary"
    caption = (
        f"{_OBJECTIVE}, over pairs of parameters: linear between the {len(frame)} complete suggestions (points), whose "
        "other parameters differ too."
    )
    caption += left_out_note(len(axes) * (len(axes) - 1) // 2)
    return Drawing(search_plots.search_contours, (frame, axes), caption)
