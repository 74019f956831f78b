"""The tolerances of normalised surface Dice that a study declares by region: which of them a trial has, and whether all fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import registry
from harness.data.datasets.contract import Dataset
from harness.errors import UserError, did_you_mean
from harness.study.cells import Cell
from harness.study.file import REGION_NSD, ReportSpec

KEY = "tolerances"


def tolerances_of(
    dataset: type[Dataset], declared: Mapping[str, float], where: str
) -> dict[str, float] | None:
    """Return the tolerances in mm that a trial has, of every region; None where its study declares none of its dataset's regions.

    What the study leaves out is as the dataset declares it. A folder tells its regions only where it lies, and a trial's id
    must not depend on that: there all that the study declares belongs to the trial, and is checked before it trains.

    Args:
        dataset: the class.
        declared: by the study, region -> mm.
        where: the file of the study.

    Raises:
        UserError: some regions have a tolerance, and others none.
    """
    if not declared:
        return None
    if dataset.folder_layout is not None:
        return dict(declared)
    described = dataset()
    if not declared.keys() & described.scored_regions().keys():
        return None
    return described.by_region({**dataset.tolerances, **declared}, f"{where}: {KEY}")


def check_tolerances(
    where: str, declared: Mapping[str, float], cells: Sequence[Cell], report: ReportSpec, root: Path | None
) -> None:
    """Refuse tolerances of regions that no dataset of a study has, and a report of scores that its trials do not have.

    Args:
        where: the file of the study.
        declared: by it, region -> mm.
        cells: of the study.
        report: what it shows.
        root: data root; regions of a folder that is not there are not checked.

    Raises:
        UserError: there is one.
    """
    classes = {cell.spec.dataset.name: registry.load("dataset", cell.spec.dataset.name) for cell in cells}
    known = [_regions(one, root) for one in classes.values()] if declared else []
    if all(one is not None for one in known):
        regions = list(dict.fromkeys(region for one in known for region in one or ()))
        for region in declared:
            if regions and region not in regions:
                raise UserError(
                    f"{where}: {KEY}", f"unknown region {region!r}", f"one of {', '.join(regions)}", did_you_mean(region, regions)
                )  # fmt: skip
    if REGION_NSD in (*report.metrics, *(metric for table in report.tables for metric in table.metrics)):
        for cell in cells:
            if not (cell.spec.tolerances or classes[cell.spec.dataset.name].tolerances):
                raise UserError(
                    f"{where}: report", f"{REGION_NSD}, and no tolerances for {cell.spec.dataset.name}",
                    "a tolerance in mm for each of its regions",
                    f"Add for example '{KEY}: {{REGION: 2.0}}' at the top of the file, or take nsd@1.",
                )  # fmt: skip


def _regions(dataset: type[Dataset], root: Path | None) -> list[str] | None:
    """Return the scored regions of a dataset; None of a folder that is not there."""
    found = dataset()
    try:
        found.learn_labels(root)
    except UserError:
        return None
    return [*found.scored_regions()]
