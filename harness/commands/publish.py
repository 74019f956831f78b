"""What ``medctx publish`` does: a study's records, tables and figures, small enough for git."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.commands.arguments import Folder, Say, StudyLike, silent, study_of
from harness.commands.report import known_with_published, write_known
from harness.publishing.publish import publish as publish_study
from harness.records.store import Store
from harness.reporting.write import Report


@dataclass(frozen=True)
class Published:
    """The folder that was published, and the report that it was made with."""

    folder: Path
    report: Report


def publish(
    study: StudyLike, *, results: Folder = "results", data: Folder | None = None, say: Say = silent
) -> Published:
    """Write a study's report, and keep its records, tables and figures below ``<results>/published``.

    Args:
        study: a study, its name, or the path of its file.
        results: folder of records.
        data: folder of the datasets, for images of which there is no copy yet; by default ``MEDCTX_DATA``.
        say: told what was taken over from published records, and which tables were refused.

    Raises:
        UserError: no trial is complete, or what was published before cannot be read.
    """
    declared, store = study_of(study, data), Store(Path(results))
    known = known_with_published(declared, store, say)
    # trials may end meanwhile: tables and records have the same ones
    ids = [cell.spec.id for cell in known.cells]
    counted = {id for id in ids if store.status(id) not in ("running", "pending")}
    written = write_known(known, store, data, say=say, counted=counted)
    folder = publish_study(declared, known.cells, store, written.answer, written.captions, counted)
    return Published(folder, written)
