"""Whether what a study declares of its report can be shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain

from harness import registry
from harness.errors import UserError, did_you_mean
from harness.records.schema import safe_name
from harness.study.axes import MEAN_REGION, OWN_TABLES, SCORED, row_keys
from harness.study.file import TableSpec
from harness.study.study import Study


def check_report(where: str, study: Study) -> None:
    """Refuse a report that cannot be made, or that would show nothing.

    Raises:
        UserError: rows that no cell sets, tables that would be written over each other or cannot show the study, regions
            that no dataset has, or a baseline that nothing can be compared with; ``where`` is the file.
    """
    report, datasets = study.report, {cell.spec.dataset.name for cell in study.cells}
    for key in report.rows:
        if key not in study.factors:
            remedy = did_you_mean(key, study.factors)
            raise UserError(f"{where}: report.rows", repr(key), "a factor of the study", remedy)
    _check_names(where, study, datasets)
    if not study.cells:
        return
    keys = row_keys(report, study.varying())
    _check_baseline(f"{where}: report.baseline", study, keys)
    classes = [registry.load("dataset", name) for name in datasets]
    folders = any(
        one.folder_layout is not None for one in classes
    )  # which say themselves what regions they have
    regions = [] if folders else [region for one in classes for region in one().scored_regions()]
    for table in report.tables:
        for region in () if folders else table.regions:
            if region not in (known := list(dict.fromkeys([*regions, MEAN_REGION]))):
                raise UserError(
                    f"{where}: report.tables[{table.name}].regions", repr(region), f"one of {', '.join(known)}",
                    did_you_mean(region, known),
                )  # fmt: skip
        check_axes(where, table, keys, study.factors if study.search else ())


def _check_names(where: str, study: Study, datasets: Iterable[str]) -> None:
    """Refuse tables that would be written over each other; that of a metric has a part for each of several datasets."""
    metrics = study.report.metrics
    for name in metrics:
        if metrics.count(name) > 1:
            raise UserError(f"{where}: report.metrics", f"{name} twice", "each once", "Leave one out.")
    parts = (f"{name}_{dataset}" for name in metrics for dataset in datasets)
    taken = {safe_name(name) for name in chain(OWN_TABLES, metrics, parts)}
    for table in study.report.tables:
        if table.name in taken:
            raise UserError(
                f"{where}: report.tables[{table.name}]", "the name of another table", "a name of its own", "Rename it."
            )  # fmt: skip
        taken.add(table.name)


def _check_baseline(where: str, study: Study, keys: Sequence[str]) -> None:
    """Refuse a declared baseline that is no arm, or several: one whose own parameters vary."""
    name = study.report.baseline
    if "baseline" not in study.report.model_fields_set:
        return
    cells = [cell.factors for cell in study.cells]
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


def check_axes(where: str, table: TableSpec, keys: Sequence[str], may_vary: Collection[str] = ()) -> None:
    """Refuse a table with an unknown row or column, one that stands twice, or a varying factor in neither.

    Args:
        where: the file of the study.
        table: as declared.
        keys: of :func:`row_keys`.
        may_vary: factors of which it is not known yet, because a search has still to set them.

    Raises:
        UserError: there is one.
    """
    where = f"{where}: report.tables[{table.name}]"
    named = (*table.rows, *table.columns)
    allowed = tuple(dict.fromkeys((*keys, *may_vary, *SCORED)))
    for key in named:
        if key not in allowed:
            raise UserError(where, repr(key), f"one of {', '.join(allowed)}", did_you_mean(key, allowed))
        if named.count(key) > 1:
            raise UserError(where, f"{key} twice", "each once", "Leave it in rows or in columns.")
    plural = {"metric": table.metrics, "region": table.regions, "role": table.roles}
    left = [key for key in keys if key not in named]
    left += [key for key, values in plural.items() if len(values) > 1 and key not in named]
    if left:
        raise UserError(
            where, f"neither rows nor columns have {', '.join(left)}", "everything that varies", "Add it to one of them."
        )  # fmt: skip
