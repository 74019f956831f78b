"""What ``medctx ensemble`` does: the mean of trained networks, scored beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.commands.arguments import Folder, Say, StudyLike, silent, study_of
from harness.commands.report import known_with_published, write_known
from harness.data.caches import data_folder
from harness.records.store import Store
from harness.reporting.write import Report


@dataclass(frozen=True)
class EnsembleResults:
    """What became of a study's ensembles, and its report.

    Attributes:
        made: names of those that were predicted now.
        kept: names of those that an earlier call has made of the same members.
        problems: why one was not made, by its name.
        report: of the study, with a table of all ensembles.
    """

    made: tuple[str, ...]
    kept: tuple[str, ...]
    problems: dict[str, str]
    report: Report


def ensemble(
    study: StudyLike,
    *,
    over: str = "seed",
    results: Folder = "results",
    data: Folder | None = None,
    role: str = "student",
    device: str | None = None,
    workers: int | None = None,
    say: Say = silent,
) -> EnsembleResults:
    """Average the networks of trials that differ in the seed or fold alone, score that as a trial is, and write the report.

    Args:
        study: a study, its name, or the path of its file.
        over: ``seed`` or ``fold``; all members have to test the same cases.
        results: folder of records.
        data: folder of the datasets; by default ``MEDCTX_DATA``.
        role: ``student`` or ``teacher``.
        device: such as ``cpu`` or ``cuda:1``; by default a GPU, where there is one.
        workers: processes; by default one for each core, on a GPU one.
        say: told what became of each ensemble.

    Raises:
        UserError: no ensemble can be made: members are missing, have no weights, or test different cases.
    """
    from harness.evaluation.workers import usable_cores
    from harness.inference.ensembles import make_ensembles
    from harness.inference.trained import chosen_device

    store = Store(Path(results))
    known = known_with_published(study_of(study, data), store, say)
    chosen = chosen_device(device)
    number = workers or (usable_cores() if chosen.type == "cpu" else 1)
    found = make_ensembles(
        known.study, over, role, store.results, data_folder(data), str(chosen), number, say
    )
    problems = {name: str(error) for name, error in found.problems.items()}
    report = write_known(known, store, data, say=say)
    return EnsembleResults(tuple(found.made), tuple(found.kept), problems, report)
