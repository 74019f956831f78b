"""The table of contrasts: each with its interval, its verdict, and the smallest difference that its design detects."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.reporting.contrasts import studies_with_contrasts
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
    names = list(dict.fromkeys(contrasts["study"]))
    order = sorted(
        range(len(contrasts)),
        key=lambda row: (names.index(contrasts["study"].iloc[row]), not contrasts["primary"].iloc[row]),
    )
    shown = contrasts.iloc[order]
    rows, grouped = row_dicts(shown), has_grouped_cases(contrasts.dropna(subset=["patients"]))
    several = bool(contrasts["dataset"].notna().any())
    refused = bool((contrasts["reason"].fillna("") != "").any())
    studies = len(names) > 1
    seldom = {"study": studies, "same_seeds": bool(contrasts["same_seeds"].notna().any())}
    header = [
        *[Column("Study")] * studies,
        *(Column(text) for text in ("Contrast", "Of", "Against", "Where", "Mean over")),
    ]
    header += [*[Column("Dataset")] * several, Column("Family"), Column("Metric", splits=True)]
    header += [
        Column("Difference", "number"),
        Column("95 % interval", "number"),
        Column("p", "number", minor=True),
    ]
    header += [
        Column("p, Holm", "number"),
        Column("Verdict"),
        Column("Detectable", "number"),
        Column("Seeds", "number"),
    ]
    header += [*[Column("Patients", "number")] * grouped, Column("Cases", "number", minor=True)]
    header += [Column("No test because", "prose")] * refused
    return Table(
        name="contrasts",
        title="Contrasts",
        caption="What the study asks of its arms: weighted sums of their mean scores. All values that are averaged over weigh the same.",
        columns=tuple(header),
        rows=tuple(
            (*[Cell(row["study"])] * studies, *_cells(data, row, grouped, several, refused)) for row in rows
        ),
        breaks=breaks_between([(row["study"], row["primary"]) for row in rows]),
        footnotes=_notes(data, contrasts),
        data=contrasts.drop(columns=[name for name, there in seldom.items() if not there]),
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
    if (contrasts["same_seeds"] == False).any():  # noqa: E712
        notes.append(
            "Datasets that share fewer than three seeds each have their own: their variances add up, and the seeds of all are as many as those "
            "of the dataset with fewest."
        )
    notes += [_datasets_note(row) for row in row_dicts(contrasts[contrasts["random_datasets"].notna()])]
    return (*notes, *data.fold_notes)


def _datasets_note(row: dict[str, Any]) -> str:
    """Return whether the datasets of a contrast are drawn anew too, and how much they disagree."""
    where = ", ".join(
        text for text in (row["study"], row["contrast"], row["place"], metric_of(row["metric"]).label) if text
    )
    if row["random_datasets"]:
        how = "datasets are random, so that it is one of other datasets too: the t test of the datasets' differences, which weigh the same"
    elif row["q"] == row["q"]:
        how = f"these datasets are fixed: fewer than {LEAST_DATASETS} do not tell of others"
    else:
        how = "these datasets are fixed: it says nothing of others"
    if row["q"] != row["q"]:
        return f"{where}: {how}."
    return f"{where}: {how}. Heterogeneity: Q {row['q']:.2f}, p {p_text(row['p_q'])}, I² {100 * row['i_squared']:.0f} %."


def _family_notes(data: ReportData, contrasts: pd.DataFrame) -> list[str]:
    """Return what is primary in each study, and how many tests each family has."""
    studies = studies_with_contrasts(data)
    notes = [_families_of(one, contrasts, one.study.name if len(studies) > 1 else "") for one in studies]
    if len(studies) > 1:
        notes.append(["Each study's contrasts are of its own trials, and are corrected among themselves."])
    return [note for own in notes for note in own]


def _families_of(data: ReportData, contrasts: pd.DataFrame, study: str) -> list[str]:
    declared = any(spec.primary for spec in data.study.report.contrasts)
    how = (
        "declared by the study"
        if declared
        else "none is declared, so each network's contrast of each method with the baseline is"
    )
    notes = []
    for primary, rows in contrasts[contrasts["study"] == study].groupby("primary", sort=False):
        size = int(rows["family_retraining"].max())
        if not size:
            continue
        name = f"Primary ({how})" if primary else "Exploratory"
        again = "" if primary else "; they are no confirmation of what they suggest"
        of = f"{study}: " if study else ""
        notes.append(f"{of}{name}: corrected over {count(size, 'contrast')} of each metric{again}.")
    return sorted(notes, reverse=True)
