"""What ``medctx report`` does: tables, figures and page of studies from their records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from harness.commands.arguments import Folder, Say, StudyLike, silent, study_of
from harness.data.caches import data_folder
from harness.errors import UserError
from harness.progress.adoption import adopt_published
from harness.progress.known import KnownStudy
from harness.records.store import Store
from harness.reporting.figures.planned import Style
from harness.reporting.write import Report, Running, not_watched, write_report
from harness.study.combine import combine
from harness.study.study import Study


def report(
    study: StudyLike | Sequence[StudyLike],
    *,
    results: Folder = "results",
    data: Folder | None = None,
    output: Folder | None = None,
    references: Sequence[str] = (),
    style: Style = "page",
    say: Say = silent,
) -> Report:
    """Write the tables, figures and page of one or more studies from their records, own or published.

    Args:
        study: a study, its name, or the path of its file; or several.
        results: folder of records.
        data: folder of the datasets, for images of which there is no copy yet; by default ``MEDCTX_DATA``.
        output: where to write; by default ``<results>/<study>``. Needed for several studies.
        references: published numbers to set beside the study's own, by name or path.
        style: what the figures fit: a ``column`` of a paper with two, or the width of its ``page``.
        say: told what was taken over from published records, and which tables were refused.

    Raises:
        UserError: a study or reference is wrong, or the output cannot be written.
    """
    studies = [study_of(one, data) for one in ([study] if isinstance(study, StudyLike) else study)]
    if len(studies) > 1 and output is None:
        raise UserError(
            f"medctx report {' '.join(one.name for one in studies)}", "no --output",
            "a folder for the report of several studies", "Add for example --output results/combined.",
        )  # fmt: skip
    names = [one.name for one in studies]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"medctx report {' '.join(names)}", f"two studies called {name}", "a name for each: the report tells them apart by it",
                "Name it once, or rename one of the files.",
            )  # fmt: skip
    folder = _made(Path(output)) if output is not None else None
    store = Store(Path(results))
    known = [known_with_published(one, store, say) for one in studies]
    shown = known[0]
    if folder is not None and len(studies) > 1:
        shown = KnownStudy(combine([one.study for one in known], folder.name))
    return write_known(shown, store, data, folder, references, say, style=style)


def known_with_published(study: Study, store: Store, say: Say) -> KnownStudy:
    """Return what is known of a study, after its trials were taken from published records."""
    adoption = adopt_published(study, store)
    for line in adoption.lines(store):
        say(line)
    return adoption.known


def write_known(
    known: KnownStudy,
    store: Store,
    data: Folder | None = None,
    output: Path | None = None,
    references: Sequence[str] = (),
    say: Say = silent,
    running: Running = not_watched,
    style: Style = "page",
    counted: Collection[str] | None = None,
) -> Report:
    """Write the report of a study as far as it is known; ``running`` and ``counted`` as in :func:`write_report`."""
    searches = list(known.findings)
    if searches:
        from harness.search.optuna_journal import with_importances

        searches = [with_importances(found) for found in searches]
    written = write_report(
        known.study, store.results, data_folder(data), output, references, searches, running, style, counted
    )
    for name, reason in written.refused.items():
        say(f"refused: table {name}: {reason}")
    for id in written.damaged:
        say(
            f"damaged: {id}: {store.damage(id)}; 'medctx run {known.study.name}' keeps it aside and runs it again"
        )
    for id in written.without_curves:
        say(
            f"damaged: {id}: history.jsonl is not as it was written: its curves are left out; its scores are whole"
        )
    if not any(store.status(cell.spec.id) == "complete" for cell in known.study.cells):
        say(f"nothing to show yet: no trial of {known.study.name} is complete in {store.results}")
    return written


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--output {folder}", f"what cannot be made a folder ({error.strerror})", "a folder, there or new",
            "Name another.",
        ) from error  # fmt: skip
    return folder
