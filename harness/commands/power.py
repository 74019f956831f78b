"""What ``medctx plan --power`` does: which differences a study can find, and what a wanted one takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.commands.arguments import Folder, Say, StudyLike, silent, study_of
from harness.commands.split_sizes import split_sizes
from harness.data.caches import data_folder
from harness.progress.adoption import adopt_published
from harness.records.store import Store
from harness.reporting.frames import case_frame, trial_frame
from harness.reporting.planned_power import PlannedPower, planned_powers
from harness.reporting.report_data import ReportData, build_report_data
from harness.study.study import Study


def power(
    study: StudyLike,
    *,
    results: Folder = "results",
    data: Folder | None = None,
    source: StudyLike | None = None,
    wanted: Mapping[str, float] | None = None,
    say: Say = silent,
) -> list[PlannedPower]:
    """Return which difference each primary contrast of a study detects, and the seeds and patients that a wanted one takes.

    Args:
        study: a study, its name, or the path of its file.
        results: folder of records.
        data: folder of the datasets, to count test patients; by default ``MEDCTX_DATA``.
        source: the study whose complete trials, own or published, tell the variances; by default this one.
        wanted: differences by metric, in points or mm; by default the study's margins.
        say: told what was taken over from published records.

    Raises:
        UserError: a study is wrong, or a record cannot be read.
    """
    declared = study_of(study, data)
    store = Store(Path(results))
    other = declared if source is None else study_of(source, data)
    adoption = adopt_published(other, store)
    for line in adoption.lines(store):
        say(line)
    known = report_data(adoption.known.study, store.results)
    own = known if source is None else report_data(declared, store.results)
    return planned_powers(own, known, _patients(declared, data), wanted)


def power_so_far(study: Study, results: Path) -> list[PlannedPower]:
    """Return the same from the trials that are complete in a results folder; nothing is written."""
    data = report_data(study, results)
    return planned_powers(data, data)


def report_data(study: Study, results: Path) -> ReportData:
    """Return the data of a report from what is on disk."""
    trials = trial_frame(study, results)
    return build_report_data(study, trials, case_frame(trials, results))


def _patients(study: Study, data: Folder | None) -> int | None:
    """Return how many patients are tested; None where that is not known, or there are several splits."""
    sizes = split_sizes([cell.spec.dataset for cell in study.cells], data_folder(data))
    if len(sizes) != 1 or sizes[0].counts is None:
        return None
    return sizes[0].counts.tested_patients
