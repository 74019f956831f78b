"""``medctx evaluate``: score a folder of predictions, also another tool's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from harness.commands.evaluate import evaluate as score
from harness.console import console
from harness.errors import UserError
from harness.evaluation.conventions import (
    RECORDED_METRICS,
    Convention,
    Regions,
    convention_named,
    metric_named,
)

if TYPE_CHECKING:
    from harness.evaluation.folder_scoring import Evaluation

out = console()
_FILES = "A file for each case: NIfTI, or with SimpleITK also .mha, .mhd and .nrrd."
Pattern = Annotated[
    str,
    typer.Option(metavar="PATTERN", help="File name without suffix, e.g. '{case}.student' or '{case}_gt'."),
]
Ignored = Annotated[
    str | None,
    typer.Option(metavar="LABEL", help="Leave out voxels with this label in the reference, e.g. 255."),
]
Tolerances = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=MM,…",
        help="Score normalised surface Dice at a tolerance of each region too (nsd@region), e.g. liver=2,spleen=1.5.",
    ),
]
Allowed = Annotated[
    bool,
    typer.Option(
        "--allow-missing-labels",
        help="Score even if a region is in no file, or a label of the files is in no region.",
    ),
]


def evaluate(
    predictions: Annotated[Path, typer.Option(metavar="DIR", help=_FILES)],
    references: Annotated[Path, typer.Option(metavar="DIR", help="Files of the same cases.")],
    output: Annotated[Path, typer.Option(metavar="FILE.csv", help="One row per case, region and metric.")],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="N=NAME,…",
            help="Names of labels, e.g. 1=liver,2=spleen; without a name, the number stands.",
        ),
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option(metavar="NAME=N+N,…", help="Score only these groups of labels, e.g. TC=2+3,WT=1+2+3."),
    ] = None,
    metrics: Annotated[
        str, typer.Option(metavar="NAME,…", help="Also: sensitivity, precision, volume, reference_volume.")
    ] = ",".join(RECORDED_METRICS),
    convention: Annotated[
        str,
        typer.Option(metavar="NAME", help="Unit and rules for empty masks; see 'medctx list conventions'."),
    ] = "harness",
    prediction_names: Pattern = "{case}",
    reference_names: Pattern = "{case}",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one for each core.")] = None,
    tolerances: Tolerances = None,
    verify: Annotated[
        int, typer.Option(min=0, metavar="N", help="Score N cases, drawn at random, with medpy too.")
    ] = 0,
    ignore: Ignored = None,
    allow_missing_labels: Allowed = False,
) -> None:
    """Score predictions against references, paired by case id. Exit status 1 if a case was not scored."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task("reading and scoring", total=None)
        found = score(
            predictions,
            references,
            output=output,
            labels=_labels(labels),
            regions=_regions(regions),
            metrics=metrics.split(","),
            convention=convention,
            tolerances=_tolerances(tolerances),
            prediction_names=prediction_names,
            reference_names=reference_names,
            workers=workers,
            verify=verify,
            ignore=_label(ignore, "--ignore") if ignore is not None else None,
            allow_missing_labels=allow_missing_labels,
            on_progress=lambda done, planned: progress.update(task, completed=done, total=planned),
        )
    _print_summary(found.rows, convention_named(convention, "--convention"), len(found.cases))
    _print_left_out(found, ignore)
    if verify:
        _print_verification(found)
    if found.problems or (verify and not found.agrees):
        raise typer.Exit(1)


def _print_left_out(found: Evaluation, ignore: str | None) -> None:
    if found.missing:
        out.print(f"allowed: {found.missing}", markup=False)
    if ignore is not None:
        out.print(f"ignored: label {ignore}, in {found.with_ignored} references", markup=False)
    for problem in found.problems:
        out.print(f"not scored: {problem.case}: {problem.message}", markup=False)


def _print_verification(found: Evaluation) -> None:
    for problem in found.unverified:
        out.print(f"not verified: {problem.case}: {problem.message}", markup=False)
    difference = found.largest_difference
    told = "nothing to compare" if difference is None else f"largest difference to medpy {difference:.1e}"
    out.print(f"verified {found.verified} cases: {told}", markup=False)


def _labels(text: str | None) -> dict[int, str]:
    """Read ``1=anterior,2=posterior``."""
    names = {}
    for value, name in _assignments(text, "--labels", "1=anterior,2=posterior"):
        names[_label(value, "--labels")] = name
    if len(set(names.values())) != len(names):
        raise UserError("--labels", repr(text), "different names", "Group labels with --regions NAME=N+N.")
    return names


def _regions(text: str | None) -> Regions | None:
    """Read ``TC=2+3,WT=1+2+3``."""
    groups = {}
    for name, values in _assignments(text, "--regions", "TC=2+3,WT=1+2+3"):
        groups[name] = tuple(_label(value, "--regions") for value in values.split("+"))
    return groups or None


def _tolerances(text: str | None) -> dict[str, float]:
    """Read ``liver=2,spleen=1.5``."""
    example, found = "liver=2,spleen=1.5", {}
    for name, value in _assignments(text, "--tolerances", example):
        try:
            found[name] = float(value)
        except ValueError:
            raise UserError(
                "--tolerances", repr(f"{name}={value}"), f"a number, as in {example}", "Correct the option."
            ) from None
    return found


def _assignments(text: str | None, option: str, example: str) -> list[tuple[str, str]]:
    parts = [part.partition("=") for part in text.split(",")] if text else []
    pairs = [(left.strip(), right.strip()) for left, _, right in parts]
    if not all(left and right for left, right in pairs) or len(dict(pairs)) != len(pairs):
        raise UserError(option, repr(text), f"each one once, as in {example}", "Correct the option.")
    return pairs


def _label(text: str, option: str) -> int:
    if not text.strip().isdecimal():
        raise UserError(option, repr(text), "a label from 1 to 255", "Correct the option.")
    return int(text)


def _print_summary(rows: list[dict[str, Any]], convention: Convention, cases: int) -> None:
    """Print mean and spread of each metric by region, with n and misses."""
    from harness.evaluation.summary import summarise

    if not rows:
        return
    summaries = summarise(rows, convention)
    metrics = list(dict.fromkeys(summary.metric for summary in summaries))
    table = Table(box=None, pad_edge=False, title_justify="left", title=f"{cases} cases, {convention.label}")
    table.add_column("region")
    for metric in metrics:
        unit = next(summary.unit for summary in summaries if summary.metric == metric)
        table.add_column(metric_named(metric).label + (f" ({unit})" if unit else ""), justify="right")
    for heading in ("n", "misses", "in neither"):
        table.add_column(heading, justify="right")
    for region in dict.fromkeys(summary.region for summary in summaries):
        own = [summary for summary in summaries if summary.region == region]
        first = own[0]
        cells = [
            _mean_sd(summary.mean, summary.sd) + (f" (n={summary.n})" if summary.n != first.n else "")
            for summary in own
        ]
        table.add_row(region, *cells, str(first.n), str(first.misses), str(first.absent))
    out.print(table)
    out.print(
        "mean ± sd over cases; in the last line "
        + (
            "over regions"
            if convention.aggregation == "region_first"
            else "over cases, each the mean of its regions"
        )
        + ". miss: one of the two masks is empty.",
        markup=False,
    )


def _mean_sd(mean: float, sd: float) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:.3f}" if math.isnan(sd) else f"{mean:.3f} ± {sd:.3f}"
