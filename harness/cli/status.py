"""``medctx status``: how far a study is, and what to do about trials that stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import DEFAULT_RESULTS, AsJson, Data, Overrides, Results, StudyName, results_line
from harness.commands.status import TrialStatus
from harness.commands.status import status as find_status
from harness.console import console
from harness.records.claims import SILENT
from harness.study.expand import load_study
from harness.study.study import Study

out = console()
_LONG = 60.0  # seconds without a sign of life that are worth a word


def status(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    overrides: Overrides = None,
    as_json: AsJson = False,
    data: Data = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Write the report again whenever a trial ends, until all have ended."),
    ] = False,
) -> None:
    """Print how many trials are complete, running, failed and pending, and why trials failed or stopped."""
    if watch:
        _watch(load_study(study, overrides or [], data), results, data)
        return
    found = find_status(load_study(study, overrides or []), results=results)
    if as_json:
        print(json.dumps(found.counts))
        return
    out.print(results_line(results), markup=False, soft_wrap=True)
    out.print(", ".join(f"{count} {name}" for name, count in found.counts.items()))
    lines = [*filter(None, [found.standing.published_note()])]
    lines += [line for trial in found.trials for line in _lines(trial)]
    for line in (*lines, *found.search_lines(), *found.skip_lines()):
        out.print(line, markup=False)
    if found.repeated:
        from harness.cli.plan import print_powers
        from harness.commands.power import power_so_far

        print_powers(power_so_far(found.standing.known.study, results))
    if any(trial.state == "damaged" for trial in found.trials):
        raise typer.Exit(1)


def _watch(study: Study, results: Path, data: Path | None) -> None:
    from harness.commands.watch import watch as watch_study

    with suppress(KeyboardInterrupt):
        watch_study(study, results=results, data=data, say=lambda line: out.print(line, markup=False))


def _lines(trial: TrialStatus) -> Iterator[str]:
    """Yield what is known of a trial: class of fault, node, attempt, last lines of its log, advice."""
    place = [f"on {trial.host}"] if trial.host else []
    parts = [trial.cause, *place, f"attempt {trial.attempt}" if trial.attempt else ""]
    told = ", ".join(part for part in parts if part)
    yield f"{trial.state}: {trial.cell.spec.id}  {trial.cell.label()}  ({told})"
    if trial.cause:
        yield f"    {trial.message}"
    if trial.silent > _LONG:
        yield f"    no sign of life for {trial.silent:.0f} s; taken over after {SILENT:.0f} s, at once where it is seen to have died"
    for note in trial.notes:
        yield f"    | {note}"
    for line in trial.traceback:
        yield f"    | {line}"
    for entry in trial.history:
        texts = (
            f"{key} {_short(value)}" for key, value in entry.items() if key not in ("step", "learning_rate")
        )
        yield f"    | step {entry['step']}: {', '.join(texts)}"
    if trial.cause:
        yield f"    → {trial.action}"


def _short(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_short(part)}" for key, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
