"""``medctx plan``: the trials of a study, and what they will take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from harness.cli.listing import table_of
from harness.cli.options import DEFAULT_RESULTS, AsJson, Data, Overrides, Results, StudyName, results_line
from harness.commands.arguments import Say, silent
from harness.commands.plan import Plan
from harness.commands.plan import plan as make_plan
from harness.console import console, counted
from harness.errors import UserError
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.study.expand import load_study
from harness.study.study import Study
from harness.sweep.forecast import Forecast

if TYPE_CHECKING:
    from harness.reporting.planned_power import PlannedPower

out = console()
_UNSET = "–"  # a factor that a trial does not have


def plan(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Measure time and memory of each kind of trial here, and set its share of a GPU."
        ),
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Trials at a time, for the forecast.")] = None,
    power: Annotated[
        bool,
        typer.Option(
            "--power",
            help="Print which differences the study can detect, from the variances of its complete trials.",
        ),
    ] = False,
    power_from: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY",
            help="The same, from the variances of another study, your own or a published one.",
        ),
    ] = None,
    difference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=NUMBER",
            help="The difference to detect, in points or mm; default: the margin.",
        ),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Print the trials of a study, what is skipped and why, and what it will take."""
    loaded = load_study(study, overrides or [], data)
    if probe:
        Store(results)  # refuses a folder that cannot be written before anything is printed
    found = make_plan(loaded, results=results, data=data)
    asked = power or power_from is not None
    if as_json:
        powers = _powers(loaded, results, data, power_from, difference, silent) if asked else None
        print(json.dumps(_as_json(found, powers), indent=1))
        return
    _print_trials(found)
    out.print(results_line(results), markup=False, soft_wrap=True)
    if probe:
        _probe(loaded, results, data)
    _print_forecast(found.forecast(workers))
    if asked:
        print_powers(_powers(loaded, results, data, power_from, difference, out.print))


def _probe(study: Study, results: Path, data: Path | None) -> None:
    with out.status("probing") as shown:

        def tell(spec: TrialSpec) -> None:
            shown.update(f"probing {spec.method.name} on {spec.architecture.name}")

        make_plan(study, results=results, data=data, probe=True, on_probe=tell)


def _print_forecast(forecast: Forecast) -> None:
    if rows := forecast.rows():
        keys = list(dict.fromkeys(key for one in rows for key in one))
        table = Table(*keys, box=None, pad_edge=False)
        for one in rows:
            table.add_row(*(one.get(key, _UNSET) for key in keys))
        out.print(table)
    for line in (*filter(None, [forecast.published_note]), *forecast.lines()):
        out.print(line, markup=False)


def _as_json(found: Plan, powers: Sequence[PlannedPower] | None) -> dict[str, Any]:
    """Return a plan as plain data, with powers where they were asked for."""
    told: dict[str, Any] = {"study": found.study.name, "trials": found.trials, "skipped": found.skipped}
    told |= {"weights": [*found.study.weights_lines]} if found.study.weights else {}
    told["splits"] = [split.as_json() for split in found.splits]
    told |= {} if powers is None else {"power": [one.as_json() for one in powers]}
    return told | ({"search": found.searches} if found.searches else {})


def _powers(
    study: Study,
    results: Path,
    data: Path | None,
    source: str | None,
    differences: Sequence[str] | None,
    say: Say,
) -> list[PlannedPower]:
    from harness.commands.power import power

    wanted = {}
    for given in differences or ():
        metric, _, number = given.partition("=")
        if metric not in study.report.metrics or not is_positive(number):
            metrics = ", ".join(study.report.metrics)
            raise UserError(
                f"--difference {given}", repr(given), f"METRIC=NUMBER, above 0, of {metrics}", "Write for example dice=1."
            )  # fmt: skip
        wanted[metric] = float(number)
    other = None if source is None else load_study(source, [], data)
    return power(study, results=results, data=data, source=other, wanted=wanted, say=say)


def is_positive(text: str) -> bool:
    """Return whether a text is a finite number above 0."""
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def print_powers(powers: Sequence[PlannedPower]) -> None:
    """Print what is known of powers as a table, and what has to be said of it."""
    from harness.reporting.planned_power import power_notes, power_rows

    if rows := power_rows(powers):
        table = table_of(rows[0])
        for row in rows:
            table.add_row(*row.values())
        out.print(table)
    for line in power_notes(powers):
        out.print(line, markup=False)


def _print_trials(found: Plan) -> None:
    out.print(found.study.question)
    hidden = {"subset"} if found.study.nodes else {"kind", "subset"}
    if all(entry["arm"] == entry["method"] for entry in found.trials):
        hidden.add("arm")
    keys = [key for key in dict.fromkeys(key for entry in found.trials for key in entry) if key not in hidden]
    table = table_of(keys)
    for entry in found.trials:
        table.add_row(*(_UNSET if entry.get(key) is None else str(entry[key]) for key in keys))
    out.print(table)
    out.print(counted(len(found.trials), "trial"))
    split_lines = (line for split in found.splits for line in split.lines())
    for line in (
        *split_lines,
        *found.study.weights_lines,
        *map(_search_line, found.searches),
        *found.skip_lines(),
    ):
        out.print(line, markup=False)


def _search_line(search: dict[str, Any]) -> str:
    parameters = "; ".join(f"{key} {values}" for key, values in search["parameters"].items())
    return (
        f"to come: {search['trials']} trials of {search['suggestions']} suggestions for {search['arm']} "
        f"({parameters}), then {search['confirming']} that confirm the best"
    )
