"""Whether what a study declares of its report can be shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from harness import registry
from harness.errors import UserError, did_you_mean
from harness.records.schema import safe_name
from harness.study.axes import MEAN_REGION, OWN_TABLES, SCORED, row_keys
from harness.study.contrast_checks import check_contrasts
from harness.study.file import Labels, TableSpec
from harness.study.names import ARMS, value_text
from harness.study.study import Study


def check_report(where: str, study: Study) -> None:
    """Refuse a report that cannot be made, or that would show nothing.

    Raises:
        UserError: rows that no cell sets, tables that would be written over each other or cannot show the study, regions
            that no dataset has, a baseline that nothing can be compared with, or contrasts of what it does not have; ``where``
            is the file.
    """
    report, datasets = study.report, {cell.spec.dataset.name for cell in study.cells}
    for key in report.rows:
        if key not in study.factors:
            remedy = did_you_mean(key, study.factors)
            raise UserError(f"{where}: report.rows", repr(key), "a factor of the study", remedy)
    _check_names(where, study, datasets)
    check_contrasts(where, study)
    if not study.cells:
        return
    keys = row_keys(report, study.varying())
    _check_baseline(f"{where}: report.baseline", study, keys)
    classes = [registry.load("dataset", name) for name in datasets]
    folders = any(
        one.folder_layout is not None for one in classes
    )  # which say themselves what regions they have
    regions = [] if folders else [region for one in classes for region in one().scored_regions()]
    _check_labels(f"{where}: labels", study, regions, may_come=folders)
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


def _check_labels(where: str, study: Study, regions: Sequence[str], may_come: bool) -> None:
    """Refuse a label of what the study does not have, and one name for two things.

    Args:
        where: the key.
        study: as declared.
        regions: of its datasets; ``may_come``: there are others, which their files tell.
    """
    labels, names, cells = study.labels, study.names, [cell.factors for cell in study.cells]
    if labels == Labels():
        return
    known = {key: dict.fromkeys(value_text(cell.get(key)) for cell in cells) for key in study.factors}
    arms = [name for kind in ARMS for name in known[kind]]
    valued = [key for key in study.factors if key not in ("shots", "subset", "seed")]
    _check_known(f"{where}.arms", labels.arms, arms, "a method, architecture or dataset of the study")
    _check_known(f"{where}.factors", labels.factors, study.factors, "a factor of the study")
    _check_known(f"{where}.values", labels.values, valued, "a factor of the study whose values can be named")
    for key, named in labels.values.items():
        _check_known(
            f"{where}.values.{key}", map(value_text, named), known[key], f"a value of {key} in the study"
        )
    if not may_come:
        _check_known(f"{where}.regions", labels.regions, regions, "a region of the study's datasets")
    _check_distinct(f"{where}.factors", {key: names.factor(key) for key in study.factors})
    _check_distinct(f"{where}.regions", {name: names.region(name) for name in {*regions, *labels.regions}})
    for key in valued:
        _check_distinct(f"{where}.values.{key}", {text: names.value(key, text) for text in known[key]})


def _check_known(where: str, named: Iterable[str], known: Collection[str], expected: str) -> None:
    for name in named:
        if name not in known:
            raise UserError(f"{where}.{name}", f"unknown name {name!r}", expected, did_you_mean(name, known))


def _check_distinct(where: str, names: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for key, name in names.items():
        if (other := first.setdefault(name, key)) != key:
            raise UserError(
                where, f"{name!r} for {other} and for {key}", "a name for each", "Change one of them."
            )


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
