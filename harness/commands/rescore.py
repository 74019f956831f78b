"""What ``medctx rescore`` does: kept predictions scored by other conventions."""

from __future__ import annotations

from pathlib import Path

from harness.commands.arguments import Folder, Say, StudyLike, silent, study_of
from harness.commands.report import known_with_published, write_known
from harness.data.caches import data_folder
from harness.evaluation.workers import usable_cores
from harness.records.store import Store
from harness.reporting.write import Report


def rescore(
    study: StudyLike,
    *,
    results: Folder = "results",
    data: Folder | None = None,
    workers: int | None = None,
    say: Say = silent,
) -> Report:
    """Score a study's kept predictions by several conventions, and write its report with a table of them.

    Args:
        study: a study, its name, or the path of its file.
        results: folder of records.
        data: folder of the datasets, for the references; by default ``MEDCTX_DATA``.
        workers: processes; by default one for each core.
        say: told what was taken over from published records, and which tables were refused.

    Raises:
        UserError: no prediction was kept, or a file is missing or no longer what was scored.
    """
    from harness.evaluation.rescoring import rescore as score

    store = Store(Path(results))
    known = known_with_published(study_of(study, data), store, say)
    score(known.study, store.results, data_folder(data), workers or usable_cores())
    return write_known(known, store, data, say=say)
