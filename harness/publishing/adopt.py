"""Published records become a study's own: what is missing is put into its results folder, each trial whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from harness.publishing.records import (
    BESIDE,
    CASES,
    PUBLISHED,
    RECORDS,
    TRIALS,
    contents_folders,
    published_folders,
    read_cases,
    read_lines,
    unreadable,
)
from harness.records.contents import describe_change, read_contents
from harness.records.damage import write_sums
from harness.records.faults import is_final
from harness.records.schema import CASE_COLUMNS, TrialRecord, append_history, write_cases, write_record
from harness.records.store import Store
from harness.search.findings import JOURNAL
from harness.spec import TrialSpec, digest
from harness.study.cells import Cell
from harness.study.study import Study

_Found = dict[str, tuple[TrialRecord, list[dict[str, Any]]]]  # id -> record and history


def adopt_findings(study: Study, store: Store) -> None:
    """Take over what a published search remembers, and scores by other conventions, where there is nothing of it yet."""
    for name in BESIDE:
        published = store.results / PUBLISHED / study.name / RECORDS / name
        own = store.results / study.name / name
        if published.is_file() and not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            partial = own.with_name(f".{name}.{uuid4().hex}")
            shutil.copyfile(published, partial)
            partial.replace(own)


def journal_folder(study: Study, store: Store) -> Path:
    """Return the folder of what a study's searches remember: its own, or the published one where it has none yet."""
    own, published = store.results / study.name, store.results / PUBLISHED / study.name / RECORDS
    return own if (own / JOURNAL).is_file() or not (published / JOURNAL).is_file() else published


def adopt(cells: Iterable[Cell], store: Store) -> int:
    """Take over what has been published of missing trials, by whichever study; return how many.

    Raises:
        UserError: a published record that cannot be read, is not what its id says, or has no scores.
    """
    return sum(_put(found, records / CASES, store) for records, found in _offered(cells, store))


def published_states(cells: Iterable[Cell], store: Store) -> dict[str, str]:
    """Return the states of the trials that ``adopt`` would take over, by id; nothing is written.

    Raises:
        UserError: a published record that cannot be read, or is not what its id says.
    """
    return {id: record.status for _, found in _offered(cells, store) for id, (record, _) in found.items()}


def made_from_other_data(
    cells: Iterable[Cell], store: Store, contents_here: Callable[[TrialSpec], Mapping[str, str]]
) -> dict[str, str]:
    """Return the missing trials that were published and made from other data than is here, and what differs, in words.

    None of a dataset of which all missing trials are published: nothing is trained then that would stand beside them,
    and its data are not needed to write their report.

    Args:
        cells: the trials of a study.
        store: where they are missing.
        contents_here: returns the hash of each case's files, of the data of a trial as they are here.

    Raises:
        UserError: as ``adopt``, and what ``contents_here`` raises.
    """
    missing = _missing(cells, store)
    found = (one for _, some in _offered(cells, store) for one in some.items())
    offered = {id: record for id, (record, _) in found if is_final(record)}  # others may be trained again
    trained = {spec.dataset: spec for id, spec in missing.items() if id not in offered}
    published = {record.spec.dataset for record in offered.values()}
    here = {dataset: contents_here(spec) for dataset, spec in trained.items() if dataset in published}
    folders = contents_folders(store.results)
    return {
        id: describe_change(read_contents(folders, record.protocol.content_hash), here[record.spec.dataset])
        for id, record in offered.items()
        if record.protocol and record.spec.dataset in here
        and record.protocol.content_hash != digest(here[record.spec.dataset])
    }  # fmt: skip


def _offered(cells: Iterable[Cell], store: Store) -> Iterator[tuple[Path, _Found]]:
    """Yield the folders of published records that missing trials can be taken from, each trial once.

    What a search stopped early comes last: another study may have it whole.
    """
    wanted, stopped = {*_missing(cells, store)}, list[tuple[Path, _Found]]()
    for records in published_folders(store.results):
        if not wanted:
            return
        found = {
            record.id: (record, history)
            for _, record, history in read_lines(records / TRIALS)
            if record.id in wanted
        }
        ended = {id: one for id, one in found.items() if is_final(one[0])}
        if ended:
            yield records, ended
            wanted -= ended.keys()
        stopped.append((records, {id: one for id, one in found.items() if one[0].status == "pruned"}))
    for records, found in stopped:
        if left := {id: one for id, one in found.items() if id in wanted}:
            yield records, left
            wanted -= left.keys()


def _missing(cells: Iterable[Cell], store: Store) -> dict[str, TrialSpec]:
    """Return the trials that the store lacks and that could be published, by id."""
    specs = (cell.spec for cell in cells if cell.spec.kind == "train")
    return {spec.id: spec for spec in specs if store.record(spec.id) is None}


def _put(found: _Found, cases: Path, store: Store) -> int:
    """Write records into the store, each whole or not at all, and return how many were not there yet."""
    by_id = read_cases(cases, found)
    put = 0
    for id, (record, history) in found.items():
        if record.status == "complete" and record.spec.tested and id not in by_id:
            raise unreadable(cases, f"no scores of the complete trial {id}")
        partial = store.trials / f".{id}.{uuid4().hex}"
        partial.mkdir(parents=True)
        if id in by_id:
            write_cases(partial, by_id[id][list(CASE_COLUMNS)].astype(object).to_dict("records"))
        append_history(partial, history)
        write_record(partial, record)
        write_sums(partial)
        try:
            partial.rename(store.trials / id)
            put += 1
        except OSError:  # another run was faster
            shutil.rmtree(partial)
    return put
