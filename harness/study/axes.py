"""Which factors tell the rows of a report apart, and whether what a study declares of its report can be shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

from harness.errors import UserError, did_you_mean
from harness.records.schema import safe_name
from harness.study.file import ReportSpec, TableSpec

SCORED = ("metric", "region", "role")
MEAN_REGION = "mean"  # stands for all regions of a dataset
OWN_TABLES = ("comparisons", "conventions", "cost", "suggestions", "trials", "tuned")
"""Tables that a report has beside those of its metrics."""
_SHARED = ("dataset", "shots", "subset")


def row_keys(report: ReportSpec, varying: Sequence[str]) -> tuple[str, ...]:
    """Return the factors that tell the rows of a table apart.

    All that vary but the seed, those in which rows must agree to be compared first and the method last;
    those that the report names go before.
    """
    found = [key for key in varying if key != "seed"]
    if "method" not in found:
        found.append("method")

    def rank(key: str) -> int:
        if is_shared(key):
            return 0
        return 2 if key == "method" or key.startswith("method.") else 1

    named = [key for key in report.rows if key in found]
    return tuple(named + [key for key in sorted(found, key=rank) if key not in named])


def is_shared(key: str) -> bool:
    """Return whether rows must agree in this factor to be compared."""
    return key in _SHARED or key.startswith("split.")


def check_rows(where: str, report: ReportSpec, factors: Sequence[str]) -> None:
    """Refuse rows that no cell sets.

    Args:
        where: the file of the study.
        report: what the study declares.
        factors: that its cells set.

    Raises:
        UserError: there is such a row.
    """
    for key in report.rows:
        if key not in factors:
            raise UserError(
                f"{where}: report.rows", repr(key), "a factor of the study", did_you_mean(key, factors)
            )


def check_baseline(
    where: str, report: ReportSpec, cells: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> None:
    """Refuse a declared baseline that nothing can be compared with.

    Args:
        where: the file of the study.
        report: what the study declares.
        cells: the factors of all its cells.
        keys: of :func:`row_keys`.

    Raises:
        UserError: it is no arm, or one whose own parameters vary, so that it is not one arm but several.
    """
    if "baseline" not in report.model_fields_set:
        return
    where, name = f"{where}: report.baseline", report.baseline
    arms = [cell for cell in cells if cell["method"] == name]
    if not arms:
        known = {cell["method"] for cell in cells}
        raise UserError(where, repr(name), "a method of the study", did_you_mean(name, known))
    varying = [key for key in keys if key.startswith("method.")]
    if all(any(cell.get(key) is not None for key in varying) for cell in arms):
        raise UserError(
            where, f"{name!r}, which has {', '.join(varying)}", "a method that has not what varies",
            f"Name another; or declare the values of {varying[0]} as arms under 'methods', and name one of them.",
        )  # fmt: skip


def check_tables(where: str, report: ReportSpec, datasets: Collection[str]) -> None:
    """Refuse tables that would be written over each other.

    Args:
        where: the file of the study.
        report: what the study declares.
        datasets: of its cells; the table of a metric has a part for each, where there are several.

    Raises:
        UserError: a metric twice, or a declared table with the name of another.
    """
    for name in report.metrics:
        if report.metrics.count(name) > 1:
            raise UserError(f"{where}: report.metrics", f"{name} twice", "each once", "Leave one out.")
    parts = (f"{name}_{dataset}" for name in report.metrics for dataset in datasets)
    taken = {safe_name(name) for name in chain(OWN_TABLES, report.metrics, parts)}
    for table in report.tables:
        if table.name in taken:
            raise UserError(
                f"{where}: report.tables[{table.name}]", "the name of another table", "a name of its own", "Rename it."
            )  # fmt: skip
        taken.add(table.name)


def check_regions(where: str, report: ReportSpec, known: Sequence[str]) -> None:
    """Refuse regions in declared tables that no dataset of the study has.

    Args:
        where: the file of the study.
        report: what the study declares.
        known: the regions of its datasets.

    Raises:
        UserError: there is such a region.
    """
    allowed = tuple(dict.fromkeys((*known, MEAN_REGION)))
    for table in report.tables:
        for region in table.regions:
            if region not in allowed:
                raise UserError(
                    f"{where}: report.tables[{table.name}].regions", repr(region), f"one of {', '.join(allowed)}",
                    did_you_mean(region, allowed),
                )  # fmt: skip


def check_axes(where: str, spec: TableSpec, keys: Sequence[str], may_vary: Sequence[str] = ()) -> None:
    """Refuse a declared table that cannot show a study.

    Args:
        where: the file of the study.
        spec: the table.
        keys: of :func:`row_keys`.
        may_vary: factors of which it is not known yet, because a search has still to set them.

    Raises:
        UserError: an unknown row or column, one that stands twice, or a varying factor in neither.
    """
    where, named = f"{where}: report.tables[{spec.name}]", (*spec.rows, *spec.columns)
    allowed = tuple(dict.fromkeys((*keys, *may_vary, *SCORED)))
    for key in named:
        if key not in allowed:
            raise UserError(where, repr(key), f"one of {', '.join(allowed)}", did_you_mean(key, allowed))
        if named.count(key) > 1:
            raise UserError(where, f"{key} twice", "each once", "Leave it in rows or in columns.")
    plural = {"metric": spec.metrics, "region": spec.regions, "role": spec.roles}
    left = [key for key in keys if key not in named]
    left += [key for key, values in plural.items() if len(values) > 1 and key not in named]
    if left:
        raise UserError(
            where, f"neither rows nor columns have {', '.join(left)}", "everything that varies", "Add it to one of them."
        )  # fmt: skip
