"""The tables of a search: every suggestion, and the best ones confirmed with fresh seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.reporting.comparisons import mean_intervals
from harness.reporting.formats.table import Cell, Column, Table, breaks_between
from harness.reporting.report_data import ReportData
from harness.reporting.statistics import estimates
from harness.reporting.statistics.estimates import MEAN, STUDENT
from harness.reporting.statistics.significance import LEAST_CASES_RETRAINING, LEAST_SEEDS
from harness.reporting.tables.scores import DECIMALS
from harness.reporting.tables.study import refuse_if_incomparable
from harness.reporting.wording import UNSET, count, factor_text, mean_with_interval, number
from harness.search.findings import Findings, Suggestion
from harness.study.cells import SETTING, setting_of
from harness.study.names import Names, value_text
from harness.study.searches import DEFAULT

MOST_SUGGESTIONS = 50
"""Suggestions of an arm that the table shows, the best ones; its CSV has all."""


def search_tables(
    searches: Sequence[Findings], data: ReportData, history: pd.DataFrame, trials: Sequence[pd.DataFrame]
) -> list[Table]:
    """Return the tables of a study's searches; none where it has none.

    Args:
        searches: the study's.
        data: of the report; its trials are those that confirm suggestions.
        history: of ``history_frame``, for the same trials.
        trials: for each search the ``trial_frame`` of its suggestions.
    """
    if not searches:
        return []
    return [
        refuse_if_incomparable(tuned_table(searches, data, history), data),
        suggestion_table(searches, data.names, trials),
    ]


def _keys(searches: Sequence[Findings]) -> list[str]:
    return list(dict.fromkeys(one.key for found in searches for one in found.arm.dimensions))


def searched_names(searches: Sequence[Findings], names: Names) -> dict[str, str]:
    """Return what people read in place of the name of each searched arm: its method, and what tells its cell apart."""
    settings = [found.arm.settings for found in searches]
    keys = searches[0].arm.grid if searches else ()
    varying = [key for key in keys if any(one[key] != settings[0][key] for one in settings)]
    return {
        found.arm.name: ", ".join(
            [names.value("method", one["method"]), *(factor_text(names, key, one[key]) for key in varying)]
        )
        for found, one in zip(searches, settings, strict=True)
    }


def suggestion_table(searches: Sequence[Findings], names: Names, trials: Sequence[pd.DataFrame]) -> Table:
    """Return every suggestion of every arm, the best first; for the arguments see :func:`search_tables`."""
    keys, shown = _keys(searches), searched_names(searches, names)
    lines: list[tuple[Cell, ...]] = []
    for found in searches:
        chosen = [one.number for one in found.best()]
        for one in sorted(found.suggestions, key=_rank)[:MOST_SUGGESTIONS]:
            objective = Cell(_percent(one.objective), bold=one.number in chosen, value=one.objective)
            values = [_value_cell(one.values.get(key)) for key in keys]
            lines.append((Cell(shown[found.arm.name]), Cell(str(one.number), value=one.number), *values, objective,
                          Cell(one.state), Cell(one.reason)))  # fmt: skip
    numbers = [
        {"arm": found.arm.name, "number": one.number, **{key: one.values.get(key) for key in keys},
         "validation_dice": one.objective, "state": one.state, "reason": one.reason}
        for found in searches for one in found.suggestions
    ]  # fmt: skip
    return Table(
        name="suggestions",
        title="Suggestions",
        caption="What the search tried, the best first. Validation Dice of the student at the selected step in %, mean over "
        f"regions, cases and {_listed(searches[0].arm.spec.seeds)}; of a pruned suggestion at its rung. No test label was read. Bold: "
        "confirmed with fresh seeds. The best of many is too good by chance: what it is worth is in the table above.",
        columns=(Column("Arm"), Column("Number", "number"), *(Column(names.factor(key), "number") for key in keys),
                 Column("Validation Dice\u00a0(%)", "number"), Column("State"), Column("Reason", "prose")),
        rows=tuple(lines),
        breaks=breaks_between([row[0].text for row in lines]),
        footnotes=tuple(_summary(*one) for one in zip(shown.values(), searches, trials, strict=True)),
        data=pd.DataFrame(numbers, columns=["arm", "number", *keys, "validation_dice", "state", "reason"]),
    )  # fmt: skip


def _rank(one: Suggestion) -> tuple[int, float, int]:
    states = ("complete", "running", "pruned", "failed")
    return states.index(one.state), -(one.objective or 0.0), one.number


def _summary(name: str, found: Findings, trials: pd.DataFrame) -> str:
    """Return how an arm was searched, and what that took."""
    spec = found.arm.spec
    sampler = {"tpe": f"TPE after {spec.startup} random ones", "random": "random", "grid": "a grid"}[
        spec.sampler
    ]
    hours = trials["seconds"].astype(float).sum() / 3600
    return (
        f"{name}: {found.summary()}, {sampler}, in batches of {spec.batch}, "
        f"{count(len(spec.seeds), 'seed')} each; {number(hours)} device-hours in complete trials."
    )


def tuned_table(searches: Sequence[Findings], data: ReportData, history: pd.DataFrame) -> Table:
    """Return the declared parameters of each arm and its best suggestions, with their scores on fresh seeds."""
    keys, shown = _keys(searches), searched_names(searches, data.names)
    rows = [row for found in searches for row in _tuned_rows(found, keys, data, history)]
    lines = [
        (Cell(shown[row["arm"]]), Cell(data.names.value(SETTING, row["setting"])), *(_value_cell(row[key]) for key in keys),
         Cell(_percent(row["searched"]), value=row["searched"]), Cell(_percent(row["validation"]), value=row["validation"]),
         Cell(_interval(row), value=row["test"], trials=row["trials"]), Cell(f"{row['seeds']} of {row['planned']}"))
        for row in rows
    ]  # fmt: skip
    lacks_interval = any(row["seeds"] and row["low"] != row["low"] for row in rows)
    return Table(
        name="tuned",
        title="Tuned parameters",
        caption="The best suggestions of each arm, and its parameters as the study declares them, trained anew with "
        f"{_listed(searches[0].arm.spec.confirm.seeds)}, which no suggestion was chosen by. Dice of the student in %: on validation cases, mean over the seeds "
        "of the search and over the fresh ones; on test cases, mean over fresh seeds with its 95 % interval for new seeds "
        f"and cases, convention {', '.join(data.conventions) or 'none yet'}. Settings of equal rank are compared below.",
        columns=(Column("Arm"), Column("Setting"), *(Column(data.names.factor(key), "number") for key in keys),
                 Column("Search seeds", "number", "Validation Dice (%)"), Column("Fresh seeds", "number", "Validation Dice (%)"),
                 Column("Test Dice\u00a0(%)", "number"), Column("Seeds", "number")),
        rows=tuple(lines),
        breaks=breaks_between([row["arm"] for row in rows]),
        footnotes=(f"An interval needs {LEAST_SEEDS} seeds and {LEAST_CASES_RETRAINING} test cases.",) if lacks_interval else (),
        data=pd.DataFrame(rows).drop(columns="trials", errors="ignore"),
    )  # fmt: skip


def _tuned_rows(
    found: Findings, keys: Sequence[str], data: ReportData, history: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return a row for the declared setting and one for each confirmed suggestion."""
    rows = []
    chosen = [(DEFAULT, None), *((f"best {place}", one) for place, one in enumerate(found.best(), 1))]
    for setting, one in chosen if found.is_over else chosen[:1]:
        trials = found.arm.confirming(setting, one.values if one else {})
        if isinstance(trials, str):
            continue
        ids = [cell.spec.id for cell in trials.cells]
        values = {key: one.values.get(key) if one else setting_of(trials.cells[0].spec, key) for key in keys}
        own = {dimension.key for dimension in found.arm.dimensions}
        rows.append({
            "arm": found.arm.name, "setting": setting, "number": one.number if one else None,
            **{key: value if key in own else None for key, value in values.items()},
            "searched": one.objective if one else None, "validation": _fresh_validation(ids, data, history),
            **_scores(ids, data), "planned": len(ids),
        })  # fmt: skip
    return rows


def _fresh_validation(ids: Sequence[str], data: ReportData, history: pd.DataFrame) -> float | None:
    """Return the mean validation Dice of complete trials at their selected steps."""
    done = data.complete[data.complete["id"].isin(ids)]
    means = history[(history["kind"] == "dice") & (history["name"] == MEAN)]
    at = means.astype({"id": object}).merge(done[["id", "selected_step"]], on="id")
    at = at[at["step"] == at["selected_step"]]
    return float(at["value"].mean()) if len(at) else None


def _scores(ids: Sequence[str], data: ReportData) -> dict[str, Any]:
    """Return mean test Dice of trials, its interval, and how many there are."""
    scores = data.scores
    chosen = (scores["metric"] == "dice") & (scores["role"] == STUDENT) & (scores["region"] == MEAN)
    own = scores[chosen & scores["id"].isin(ids)]
    nothing = float("nan")
    if not len(own):
        return {"test": None, "low": nothing, "high": nothing, "seeds": 0, "trials": ()}
    arm = data.arm_of(own.iloc[0])
    low, high = mean_intervals(data, "dice").get((arm, STUDENT, MEAN), (nothing, nothing))
    mean = estimates.arm_means(own, list(data.keys))["mean"].iloc[0]
    return {"test": float(mean), "low": low, "high": high, "seeds": len(own), "trials": tuple(own["id"])}


def _interval(row: dict[str, Any]) -> str:
    if row["test"] is None:
        return UNSET
    return mean_with_interval(100 * row["test"], 100 * row["low"], 100 * row["high"], DECIMALS)


def _value_cell(value: Any) -> Cell:
    """Return a searched value with all of its digits, so that it can be typed again."""
    if value is None:
        return Cell(UNSET)
    text = repr(value) if isinstance(value, float) else value_text(value)
    return Cell(text, value=float(value) if isinstance(value, int | float) else None)


def _percent(value: float | None) -> str:
    return number(None if value is None else 100 * value, DECIMALS)


def _listed(seeds: Sequence[int]) -> str:
    """Return ``seed 10`` or ``seeds 10, 11``."""
    return f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"
