"""What ``medctx status --watch`` does: the report again as trials end, and on its page what is running."""

from __future__ import annotations

import time
from pathlib import Path

from harness.commands.arguments import Folder, Say, StudyLike, silent, study_of
from harness.commands.report import write_known
from harness.commands.status import Status, TrialStatus, status
from harness.progress.known import known_study
from harness.records.store import Store
from harness.reporting.write import Report
from harness.study.study import Study

_TICK = 2.0  # seconds between looks at the records


def watch(
    study: StudyLike, *, results: Folder = "results", data: Folder | None = None, say: Say = silent
) -> Report:
    """Write a study's report, and again whenever a trial has begun or ended, until none is left to run.

    Args:
        study: a study, its name, or the path of its file.
        results: folder of records, which another process fills.
        data: folder of the datasets, for images of which there is no copy yet; by default ``MEDCTX_DATA``.
        say: told the counts of trials each time.

    Raises:
        UserError: the study is wrong, or the report cannot be written.
    """
    declared, store = study_of(study, data), Store(Path(results))
    seen: object = None
    while True:
        found = status(declared, results=results)
        if (now := dict(found.standing.states)) != seen:
            written = write_known(
                known_study(declared, store), store, data, running=lambda: running_now(declared, results)
            )
            if seen is None:
                say(f"report: {written.page}, written again as trials end")
            say(", ".join(f"{number} {name}" for name, number in found.counts.items()))
            seen = now
        if _is_over(found):
            return written
        time.sleep(_TICK)


def running_now(study: Study, results: Folder) -> list[str] | None:
    """Return a line for each trial that runs; None where nothing is left to run."""
    found = status(study, results=results)
    return None if _is_over(found) else [_line(trial) for trial in found.trials if trial.state == "running"]


def _is_over(found: Status) -> bool:
    return not found.counts["running"] and not found.counts["pending"]


def _line(trial: TrialStatus) -> str:
    step = trial.history[-1]["step"] if trial.history else 0
    scores = [entry["mean"] for entry in trial.history if "mean" in entry]
    dice = f", validation Dice {scores[-1]:.3f}" if scores else ""
    return f"{trial.cell.label()}: step {step} of {trial.cell.spec.recipe.steps}{dice}"
