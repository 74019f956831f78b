"""The table of one study's predictions by several conventions."""

from __future__ import annotations

import math
from itertools import product

import pandas as pd

from harness.evaluation.rescoring import variant_descriptions
from harness.reporting.formats.table import Cell, Column, Table, breaks_between, factor_cells, factor_columns
from harness.reporting.report_data import ReportData
from harness.reporting.statistics.estimates import STUDENT
from harness.reporting.wording import metric_of, number, signed


def convention_table(data: ReportData, rescored: pd.DataFrame) -> Table:
    """Return the student's Dice and HD95, and their gains, by every convention.

    Args:
        data: of the report.
        rescored: of ``rescore``; trials that it lacks are left out, and counted in the column n.
    """
    rows = rescored[rescored["role"] == STUDENT]
    arms = {id: arm for arm in data.ids_by_arm for id in data.trials_of(arm)}
    rows = rows.assign(arm=rows["id"].map(arms))
    rows = rows[rows["arm"].notna()]
    by = rows.groupby(["arm", "variant", "metric"], sort=False)
    means, counts, misses = by["value"].mean(), by["value"].count(), by["misses"].sum()
    seeds = dict(zip(data.complete["id"], data.complete["seed"], strict=True))
    by_seed = {key: own.groupby(own["id"].map(seeds))["value"].mean() for key, own in by}
    nothing, some_seeds = pd.Series(dtype=float), False
    ids = rows.groupby("arm", sort=False)["id"].agg(lambda column: tuple(dict.fromkeys(column)))
    scored = set(rows["variant"])  # by an earlier version perhaps, which knew fewer
    words = {name: told for name, told in variant_descriptions().items() if name in scored}
    metrics = [metric_of(name) for name in dict.fromkeys(rows["metric"])]
    lines, arms_of_lines = [], []
    for arm, variant in product((arm for arm in data.planned_arms if arm in ids.index), words):
        key, base = (arm, variant, metrics[0].name), data.baseline_arm(arm)
        if key not in misses.index:
            continue
        cells = [*factor_cells(data.names, data.named(arm)), Cell(variant)]
        for metric in metrics:
            value = metric.scale * means.get((arm, variant, metric.name), math.nan)
            own, other = (by_seed.get((one, variant, metric.name), nothing) for one in (arm, base))
            gain = math.nan if base == arm else metric.scale * float((own - other).mean())
            some_seeds |= gain == gain and not own.index.equals(other.index)
            cells.append(Cell(number(value), value=value, trials=ids[arm]))
            cells.append(Cell(signed(gain), value=gain))
        lines.append((*cells, Cell(str(misses[key]), value=float(misses[key])), Cell(str(counts[key]))))
        arms_of_lines.append(arm)
    columns = [*factor_columns(data.names, data.keys), Column("Convention")]
    for metric in metrics:
        unit = "mm or voxels" if metric.unit == "mm" else metric.unit
        columns.append(Column(f"{metric.label} ({unit})", "number"))
        columns.append(Column(f"{metric.difference} in {metric.label}", "number"))
    return Table(
        name="conventions",
        title="One set of predictions by several conventions",
        caption="The student's kept predictions, scored again. Means over test cases, regions and seeds; gains and differences to the "
        f"student of {data.baseline_name} by the same convention.",
        columns=(*columns, Column("Misses", "number"), Column("n", "number")),
        rows=tuple(lines),
        breaks=breaks_between(arms_of_lines),
        footnotes=(
            *(f"{name}: {told}." for name, told in words.items()),
            *["Gains and differences are of the seeds that both arms have."] * some_seeds,
        ),
        data=rows.drop(columns="arm"),
    )
