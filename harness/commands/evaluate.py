"""What ``medctx evaluate`` does: score a folder of predictions, whoever made them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.arguments import Folder
from harness.errors import UserError
from harness.evaluation.conventions import (
    RECORDED_METRICS,
    REGION_NSD,
    Convention,
    convention_named,
    metric_named,
)
from harness.evaluation.workers import usable_cores
from harness.files.whole import write_text

if TYPE_CHECKING:
    from harness.evaluation.folder_scoring import Evaluation

COLUMNS = ("case", "region", "metric", "value", "unit", "empty")


def evaluate(
    predictions: Folder,
    references: Folder,
    *,
    output: Folder | None = None,
    labels: Mapping[int, str] | None = None,
    regions: Mapping[str, tuple[int, ...]] | None = None,
    metrics: Sequence[str] = RECORDED_METRICS,
    convention: str = "harness",
    tolerances: Mapping[str, float] | None = None,
    prediction_names: str = "{case}",
    reference_names: str = "{case}",
    workers: int | None = None,
    verify: int = 0,
    ignore: int | None = None,
    allow_missing_labels: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, planned: None,
) -> Evaluation:
    """Score predictions against references, files that are paired by case id.

    Args:
        predictions, references: folders of a file for each case: NIfTI, or ``.mha``, ``.mhd`` and ``.nrrd`` with SimpleITK.
        output: a ``.csv`` file for one row per case, region and metric; beside it, as ``.json``, how they were made.
        labels, regions: label -> name, where others go by their number; or name -> labels, to score these groups alone.
        metrics: names; also ``sensitivity``, ``precision``, ``volume``, ``reference_volume``.
        convention: unit and rules for empty masks, of ``medctx list conventions``.
        tolerances: region -> tolerance of normalised surface Dice, in the convention's unit, for ``nsd@region``.
        prediction_names, reference_names: file name without suffix, with ``{case}`` where the id stands.
        workers: processes; by default one for each core.
        verify: cases, drawn at random, that medpy scores too.
        ignore: label of the voxels of references that count nowhere; it is no region.
        allow_missing_labels: whether files may have labels that are in no region, and regions be in no file.
        on_progress: told how many files were worked on, of how many.

    Raises:
        UserError: an unknown name, folders without a common case, other labels than the regions', or no such output.
    """
    chosen = convention_named(convention, "--convention")
    names = _metrics(metrics, tolerances or {})
    _check_options(names, labels or {}, regions or {}, ignore)
    target = _csv_file(output)
    from harness.evaluation.folder_scoring import evaluate_pairs
    from harness.evaluation.pairing import pair_files

    found = evaluate_pairs(
        pair_files(Path(predictions), Path(references), prediction_names, reference_names),
        names=labels,
        regions=regions,
        metrics=names,
        convention=chosen,
        tolerances=tolerances or {},
        workers=workers or usable_cores(),
        verify=verify,
        ignore=ignore,
        allow_missing_labels=allow_missing_labels,
        on_progress=on_progress,
    )
    if target:
        _write(target, found, names, chosen, ignore, tolerances or {})
    return found


def _csv_file(output: Folder | None) -> Path | None:
    target = Path(output) if output is not None else None
    if target and (target.suffix != ".csv" or not target.parent.is_dir()):
        raise UserError("--output", str(target), "a .csv file in a folder that exists", "Name another file.")
    return target


def _check_options(
    metrics: Sequence[str],
    labels: Mapping[int, str],
    regions: Mapping[str, tuple[int, ...]],
    ignore: int | None,
) -> None:
    """Refuse options that contradict each other, and to ignore what is to be scored."""
    if len(set(metrics)) != len(metrics):
        raise UserError(
            "--metrics", repr(",".join(metrics)), "each one once", "Remove what stands there twice."
        )
    if labels and regions:
        raise UserError("--labels", "--regions too", "one of them", "Name the regions with --regions alone.")
    if ignore is not None and not 1 <= ignore <= 255:
        raise UserError("--ignore", str(ignore), "a label from 1 to 255", "Correct the option.")
    option = "--regions" if regions else "--labels"
    scored = {*labels, *(value for own in regions.values() for value in own)}
    for value in scored:
        if not 1 <= value <= 255:
            raise UserError(option, repr(value), "a label from 1 to 255", "Leave out the background.")
    if ignore in scored:
        raise UserError(
            "--ignore", f"{ignore}, which {option} has too", "a label that is not scored", "Remove one."
        )


def _metrics(metrics: Sequence[str], tolerances: Mapping[str, float]) -> list[str]:
    """Return what is scored; refuse a tolerance that is none, and to score by region without any."""
    names = [metric_named(name, "--metrics").name for name in metrics]
    for region, value in tolerances.items():
        if not (math.isfinite(value) and value > 0):
            raise UserError("--tolerances", f"{region}={value:g}", "a length above 0", "Correct the option.")
    if REGION_NSD in names and not tolerances:
        raise UserError(
            "--metrics", f"{REGION_NSD}, without --tolerances", "a tolerance for each region",
            "Add for example --tolerances liver=2,spleen=1.5.",
        )  # fmt: skip
    return [*names, *([REGION_NSD] if tolerances and REGION_NSD not in names else [])]


def _write(
    output: Path,
    found: Evaluation,
    metrics: Sequence[str],
    convention: Convention,
    ignore: int | None,
    tolerances: Mapping[str, float],
) -> None:
    """Write the rows, and beside them by which convention they were made."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in found.rows:
        writer.writerow(row | {"value": "" if math.isnan(row["value"]) else repr(row["value"])})
    write_text(output, text.getvalue())
    packages = ("medcontext-harness", "numpy", "scipy", "nibabel")
    note = {
        "convention": convention.name,
        "remark": convention.remark,
        "metrics": list(metrics),
        "regions": found.regions,
        "tolerances": dict(tolerances),
        "ignored_label": ignore,
        "labels_in_no_region": list(found.missing.labels),
        "regions_in_no_file": list(found.missing.regions),
        "cases": len(found.cases),
        "not_scored": {problem.case: problem.message for problem in found.problems},
        "versions": {name: metadata.version(name) for name in packages},
    }
    write_text(output.with_suffix(".json"), json.dumps(note, indent=1))
