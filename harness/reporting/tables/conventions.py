"""The table of one study's predictions by several conventions."""

from __future__ import annotations

import pandas as pd

from harness.evaluation.rescoring import variant_descriptions
from harness.reporting.comparisons import baseline_of
from harness.reporting.formats.table import Cell, Column, Table
from harness.reporting.report_data import ReportData
from harness.reporting.statistics.estimates import STUDENT
from harness.reporting.wording import UNSET, heading, metric_of, number, signed, value_text


def convention_table(results: ReportData, rescored: pd.DataFrame) -> Table:
    """Return the student's Dice and HD95, and their gains, by every convention.

    Args:
        results: what the study found.
        rescored: of ``rescore``; trials that it lacks are left out, and counted in the column n.
    """
    rows = rescored[rescored["role"] == STUDENT]
    arms = {id: arm for arm, ids in results.networks.items() for id in ids}
    rows = rows.assign(arm=rows["id"].map(arms))
    rows = rows[rows["arm"].notna()]
    means = rows.groupby(["arm", "variant", "metric"], sort=False)["value"].agg(["mean", "count"])
    misses = rows.groupby(["arm", "variant", "metric"], sort=False)["misses"].sum()
    ids = rows.groupby("arm", sort=False)["id"].agg(lambda column: tuple(dict.fromkeys(column)))
    scored = set(rows["variant"])  # by an earlier version perhaps, which knew fewer
    words = {name: told for name, told in variant_descriptions().items() if name in scored}
    metrics = [metric_of(name) for name in dict.fromkeys(rows["metric"])]
    lines: list[tuple[Cell, ...]] = []
    breaks: list[int] = []
    for arm in (arm for arm in results.arms() if arm in ids.index):
        base = baseline_of(results.keys, arm, results.study.report.baseline)
        breaks.append(len(lines))
        for variant in words:
            key = (arm, variant, metrics[0].name)
            if key not in misses.index:
                continue
            cells = [Cell(value_text(value)) for value in arm] + [Cell(variant)]
            for metric in metrics:
                value = metric.scale * means["mean"].get((arm, variant, metric.name), float("nan"))
                other = metric.scale * means["mean"].get((base, variant, metric.name), float("nan"))
                gain = float("nan") if base == arm else value - other
                cells += [
                    Cell(number(value), value=value, trials=ids[arm]),
                    Cell(signed(gain) if gain == gain else UNSET, value=gain),
                ]
            cells += [Cell(str(misses[key]), value=float(misses[key])), Cell(str(means["count"][key]))]
            lines.append(tuple(cells))
    columns = [*(Column(heading(key)) for key in results.keys), Column("Convention")]
    for metric in metrics:
        unit = "mm or voxels" if metric.unit == "mm" else metric.unit
        columns += [
            Column(f"{metric.label} ({unit})", "number"),
            Column(f"{metric.difference} in {metric.label}", "number"),
        ]
    return Table(
        name="conventions",
        title="One set of predictions by several conventions",
        caption="The student's kept predictions, scored again. Means over test cases, regions and seeds; gains and differences to the "
        f"student of {results.study.report.baseline} by the same convention.",
        columns=(*columns, Column("Misses", "number"), Column("n", "number")),
        rows=tuple(lines),
        breaks=frozenset(breaks[1:]),
        footnotes=tuple(f"{name}: {told}." for name, told in words.items()),
        data=rows.drop(columns="arm"),
    )
