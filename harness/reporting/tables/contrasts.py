"""The table of contrasts: each with its interval, its verdict, and the smallest difference that its design detects."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.reporting.formats.table import Cell, Column, Table, breaks_between
from harness.reporting.frames import row_dicts
from harness.reporting.report_data import ReportData
from harness.reporting.statistics.datasets import LEAST_DATASETS
from harness.reporting.tables.comparisons import (
    detectable_cell,
    has_grouped_cases,
    interval_cell,
    margin_note,
    pairing_notes,
    verdict_cell,
)
from harness.reporting.wording import UNSET, count, metric_of, p_text, signed

PRIMARY, EXPLORATORY = "primary", "exploratory"


def contrast_table(data: ReportData, contrasts: pd.DataFrame) -> Table:
    """Return the contrasts of a study, the primary ones first.

    Args:
        data: of the report.
        contrasts: of ``contrast_frame``.
    """
    shown = contrasts.sort_values("primary", ascending=False, kind="stable")
    rows, grouped = row_dicts(shown), has_grouped_cases(contrasts.dropna(subset=["patients"]))
    several = bool(contrasts["dataset"].notna().any())
    refused = bool((contrasts["reason"].fillna("") != "").any())
    header = [Column(text) for text in ("Contrast", "Of", "Against", "Where", "Mean over")]
    header += [*[Column("Dataset")] * several, Column("Family"), Column("Metric")]
    header += [Column(text, "number") for text in ("Difference", "95 % interval", "p", "p, Holm")]
    header += [Column("Verdict"), Column("Detectable", "number"), Column("Seeds", "number")]
    header += [*[Column("Patients", "number")] * grouped, Column("Cases", "number")]
    header += [Column("No test because", "prose")] * refused
    return Table(
        name="contrasts",
        title="Contrasts",
        caption="What the study asks of its arms: weighted sums of their mean scores. All values that are averaged over weigh the same.",
        columns=tuple(header),
        rows=tuple(_cells(data, row, grouped, several, refused) for row in rows),
        breaks=breaks_between([row["primary"] for row in rows]),
        footnotes=_notes(data, contrasts),
        data=contrasts,
    )


def _cells(
    data: ReportData, row: dict[str, Any], grouped: bool, several: bool, refused: bool
) -> tuple[Cell, ...]:
    metric = metric_of(row["metric"])
    difference, known = row["difference"] * metric.scale, row["seeds"] == row["seeds"]
    seeds = f"{int(row['seeds'])}" if known else UNSET
    if known and not row["paired"]:
        seeds += f" vs {int(row['seeds_to'])}"
    dataset = row["dataset"] if isinstance(row["dataset"], str) else ""
    return (
        *(Cell(row[name] or UNSET) for name in ("contrast", "of", "to", "place", "pooled")),
        *[Cell(data.names.value("dataset", dataset) if dataset else "all")] * several,
        Cell(PRIMARY if row["primary"] else EXPLORATORY),
        Cell(f"{metric.label} ({metric.unit})"),
        Cell(signed(difference), tone=verdict_cell(row).tone, value=difference),
        interval_cell(row, "retraining"),
        *(Cell(p_text(row[name]), value=row[name]) for name in ("p_retraining", "holm_retraining")),
        verdict_cell(row),
        detectable_cell(row),
        Cell(seeds, value=row["seeds"]),
        *[Cell(str(int(row["patients"])) if known else UNSET, value=row["patients"])] * grouped,
        Cell(str(int(row["cases"])) if known else UNSET, value=row["cases"]),
        *[Cell(row["reason"] if isinstance(row["reason"], str) else "")] * refused,
    )


def _notes(data: ReportData, contrasts: pd.DataFrame) -> tuple[str, ...]:
    notes = [margin_note(contrasts), *_family_notes(data, contrasts)]
    if (contrasts["kind"] == "slope").any():
        notes.append(
            "A slope has no margin: it is a gain where scores get better as the factor rises, a loss where they get worse."
        )
    notes += pairing_notes(contrasts)
    for row in row_dicts(contrasts[contrasts["q"].notna()]):
        where = ", ".join(
            text for text in (row["contrast"], row["place"], metric_of(row["metric"]).label) if text
        )
        how = (
            "datasets are random, so that it is one of other datasets too (Paule and Mandel's variance, Hartung and Knapp's interval)"
            if row["random_datasets"] is True
            else f"these datasets are fixed: fewer than {LEAST_DATASETS} do not tell of others"
        )
        notes.append(
            f"{where}: {how}. Heterogeneity: Q {row['q']:.2f}, p {p_text(row['p_q'])}, I² {100 * row['i_squared']:.0f} %."
        )
    return (*notes, *data.fold_notes)


def _family_notes(data: ReportData, contrasts: pd.DataFrame) -> list[str]:
    """Return what is primary, and how many tests each family has."""
    declared = any(spec.primary for spec in data.study.report.contrasts)
    how = (
        "declared by the study"
        if declared
        else "none is declared, so each network's contrast of each method with the baseline is"
    )
    notes = []
    for primary, rows in contrasts.groupby("primary", sort=False):
        size = int(rows["family_retraining"].max())
        if not size:
            continue
        name = f"Primary ({how})" if primary else "Exploratory"
        again = "" if primary else "; they are no confirmation of what they suggest"
        notes.append(f"{name}: corrected over {count(size, 'contrast')} of each metric{again}.")
    return sorted(notes, reverse=True)
