"""Ensembles: the mean probabilities of trained networks that differ in the seed or the fold alone, scored as a trial is.

Nothing is trained. All members have to be complete, so that their selection is frozen, and to have tested the same cases:
then none has trained on a case that is predicted here, or was selected by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from harness import registry
from harness.data.datasets.contract import Case
from harness.data.trial_data import TrialData, load_trial_data
from harness.errors import UserError
from harness.evaluation.metrics import score_case, without_ignored
from harness.files.locks import SharedLock
from harness.inference.averaging import predict_case
from harness.inference.members import checked_members
from harness.inference.trained import Trained, changed_since, chosen_device, load_networks
from harness.records.ensembles import (
    ensemble_id,
    has_changed,
    member_of,
    members_text,
    read_ensembles,
    read_members,
    write_ensembles,
)
from harness.records.schema import TrialRecord
from harness.records.store import Store
from harness.spec import canonical_json
from harness.study.cells import Cell
from harness.study.members import OVER, groups_of_members, words_of_group
from harness.study.study import Study
from harness.trial.environment import environment_of

_SAVE_EVERY = 30.0  # seconds; the most that a killed run has to do again, beside a case that takes longer
_Rows = list[dict[str, Any]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Ensembles:
    """What became of the ensembles that were asked for, by their names for people.

    Attributes:
        made: predicted now, or the rest of an earlier call's.
        kept: as an earlier call has made them of the same members.
        problems: why an ensemble was not made.
    """

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    problems: dict[str, UserError] = field(default_factory=dict)


@dataclass(frozen=True)
class _Asked:
    """What is asked for: of all ensembles the same."""

    over: str
    role: str
    results: Path
    data_root: Path | None
    device: str


@dataclass(frozen=True)
class _Job:
    """One case that some trials' networks are to predict."""

    asked: _Asked
    ids: tuple[str, ...]
    metrics: tuple[str, ...]
    case: str


@dataclass(frozen=True)
class _Planned:
    """An ensemble whose members are all there: what its rows have in common, those that there are, and what is to do."""

    name: str
    common: Mapping[str, str]
    rows: _Rows
    jobs: Sequence[_Job]


def make_ensembles(
    study: Study,
    over: str,
    role: str,
    results: Path,
    data_root: Path | None,
    device: str | None = None,
    workers: int = 1,
    say: Say = lambda sentence: None,
) -> Ensembles:
    """Predict and score the test cases by every ensemble of a study, and keep the scores for its report.

    ``<results>/<study>/ensembles.parquet`` has the rows. What an earlier call has made of the same members is kept, case by
    case, and so are ensembles that are not asked for here.

    Args:
        study: with what its searches have found.
        over: ``seed`` or ``fold``: in what the members of an ensemble differ.
        role: ``student`` or ``teacher``.
        results: folder of records.
        data_root: folder of the datasets.
        device: such as ``cpu`` or ``cuda:1``; by default a GPU, where there is one.
        workers: processes, each with an ensemble's networks in memory.
        say: told what became of each ensemble.

    Raises:
        UserError: ``over`` or the device is unknown, or no ensemble at all can be made.
    """
    if over not in OVER:
        raise UserError("--over", repr(over), " or ".join(OVER), "Correct it.")
    asked = _Asked(over, role, results.resolve(), data_root, str(chosen_device(device)))
    folder, done = results / study.name, Ensembles()
    folder.mkdir(parents=True, exist_ok=True)
    with SharedLock(folder / ".lock-ensembles"):
        earlier, planned = _earlier_rows(folder), list[_Planned]()
        for cells in groups_of_members(study, over):
            name = words_of_group(study, over, cells)
            try:
                planned.append(_plan(name, cells, asked, earlier, say))
            except UserError as refused:
                done.problems[name] = refused
        if not planned:
            raise next(iter(done.problems.values()))
        for name, error in done.problems.items():
            say(f"not made: {name}: {error}")
        _make(planned, earlier, folder, workers, done, say)
    return done


def _earlier_rows(folder: Path) -> dict[str, _Rows]:
    """Return the rows of each ensemble that there are, by its id."""
    frame, found = read_ensembles(folder), dict[str, _Rows]()
    for row in [] if frame is None else frame.to_dict("records"):
        found.setdefault(row["id"], []).append({str(key): value for key, value in row.items()})
    return found


def _plan(
    name: str, cells: Sequence[Cell], asked: _Asked, earlier: Mapping[str, _Rows], say: Say
) -> _Planned:
    """Return an ensemble, with the rows of an earlier call that are still true.

    Raises:
        UserError: a member is missing, may not be averaged, or was trained on other data than are here.
    """
    store = Store(asked.results, writable=False)
    records, metrics = checked_members(name, cells, asked.over, asked.role, store)
    ids = tuple(record.id for record in records)
    id = ensemble_id(asked.over, asked.role, ids)
    rows = earlier.get(id, [])
    if rows and has_changed(store, read_members(rows[0]["members"]), weights=True):
        say(f"a member's record has changed since, made again: {name}")
        rows = []
    assert records[0].protocol is not None
    scored = {row["case"] for row in rows}
    jobs = [_Job(asked, ids, metrics, case) for case in records[0].protocol.test_cases if case not in scored]
    members = rows[0]["members"] if rows else members_text([member_of(store, one) for one in ids])
    if jobs:
        _check_data(name, records[0], asked)
        for sentence in (one for record in records for one in changed_since(record)):
            say(sentence)
    environment = environment_of(torch.device(asked.device)).model_dump(exclude={"host"})
    common = {"id": id, "over": asked.over, "members": members, "environment": canonical_json(environment)}
    return _Planned(name, common, list(rows), jobs)


def _check_data(name: str, record: TrialRecord, asked: _Asked) -> None:
    """Preprocess the data where this host has not yet, and refuse others than the members were trained on."""
    data = load_trial_data(record.spec, asked.data_root)
    assert record.protocol is not None
    expected = record.protocol.content_hash
    if (data.content, list(data.split.test)) != (expected, record.protocol.test_cases):
        raise UserError(
            f"ensemble of {name}", f"data with content {data.content}", f"{expected}, that of trial {record.id}",
            "Name the data root of the trials with --data.",
        )  # fmt: skip


def _make(
    planned: Sequence[_Planned],
    earlier: dict[str, _Rows],
    folder: Path,
    workers: int,
    done: Ensembles,
    say: Say,
) -> None:
    """Score what is to do, write it down now and then and at the end, however that comes, and say what became of each."""
    rows = {**earlier, **{one.common["id"]: one.rows for one in planned}}
    jobs, saved = [job for one in planned for job in one.jobs], time.monotonic()
    with _spread(jobs, workers) as scored:
        try:
            for one in planned:
                for _ in one.jobs:
                    found = next(scored)
                    if isinstance(found, UserError):
                        done.problems.setdefault(one.name, found)
                        continue
                    one.rows.extend({**one.common, **row} for row in found)
                    if time.monotonic() - saved > _SAVE_EVERY:
                        write_ensembles(folder, _together(rows))
                        saved = time.monotonic()
                say(_told(one, done))
        finally:
            if jobs and any(rows.values()):
                write_ensembles(folder, _together(rows))


def _told(one: _Planned, done: Ensembles) -> str:
    """Note what became of an ensemble, and return it as a sentence."""
    if one.name in done.problems:
        return f"not made: {one.name}: {done.problems[one.name]}"
    (done.made if one.jobs else done.kept).append(one.name)
    return f"{'made' if one.jobs else 'kept, as the same members have made it'}: {one.name}"


def _together(rows: Mapping[str, _Rows]) -> _Rows:
    return [row for own in rows.values() for row in own]


@contextmanager
def _spread(jobs: Sequence[_Job], workers: int) -> Iterator[Iterator[_Rows | UserError]]:
    """Yield what comes of each job, in their order: in this process, or in several."""
    if workers == 1 or len(jobs) < 2:
        try:
            yield map(_score, jobs)
        finally:
            _loaded.cache_clear()
        return
    folders = registry.plugin_folders()
    pool = ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), registry.look_in, folders)
    with pool:
        try:
            yield pool.map(_score, jobs)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _score(job: _Job) -> _Rows | UserError:
    """Return the rows of a case, as a trial scores its own; an error that the author of the input can correct is returned."""
    try:
        networks, device, data, cases = _loaded(job.asked, job.ids)
        image = data.dataset.image(cases[job.case])
        volume = predict_case(networks, image, device).labels()
        reference = data.test_reference(job.case)
    except UserError as error:
        return error
    dataset = data.dataset
    counted = without_ignored(volume.array, reference.array, dataset.training_ignore())
    scored = score_case(
        *counted, volume.spacing, dataset.training_regions(), job.metrics, tolerances=dataset.tolerances
    )
    return [{"case": job.case, "role": job.asked.role, **row} for row in scored]


@lru_cache(maxsize=1)
def _loaded(
    asked: _Asked, ids: tuple[str, ...]
) -> tuple[Sequence[Trained], torch.device, TrialData, Mapping[str, Case]]:
    """Return an ensemble's networks and their device, the data, and the cases by id; the last ensemble's stay in memory.

    The labels of the test cases may be read: the members' records are complete, so their selection is frozen.
    """
    networks, device = load_networks(ids, asked.results, asked.data_root, asked.role, asked.device)
    data = load_trial_data(networks[0].record.spec, asked.data_root)
    data.freeze()
    return networks, device, data, {case.id: case for case in data.dataset.cases(asked.data_root)}
