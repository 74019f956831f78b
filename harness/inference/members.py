"""Whether trials may be averaged on their test cases: all there, and none has seen a case that the ensemble predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow.parquet as pq

from harness.errors import UserError
from harness.records.schema import Protocol, TrialRecord
from harness.records.store import Store
from harness.study.cells import Cell
from harness.study.members import OVER


def checked_members(
    name: str, cells: Sequence[Cell], over: str, role: str, store: Store
) -> tuple[list[TrialRecord], tuple[str, ...]]:
    """Return the records of an ensemble's members, and the metrics that they were scored by.

    Args:
        name: of the ensemble, for people.
        cells: trials that differ in ``over`` alone.
        over: ``seed`` or ``fold``.
        role: ``student`` or ``teacher``.
        store: the records.

    Raises:
        UserError: there are fewer than two trials, one is not complete or has no such role, or one has trained on, or was
            selected by, a case that another has tested.
    """
    where = f"ensemble over {over}s of {name}"
    if len(cells) < 2:
        raise UserError(
            where,
            f"one {over}",
            f"several {over}s",
            f"Give the study more {over}s, or choose another --over.",
        )
    found = {cell.spec.id: store.record(cell.spec.id) for cell in cells}
    missing = [_what_is_missing(cell, over, store) for cell in cells if not _is_complete(found[cell.spec.id])]
    if missing:
        raise UserError(
            where, f"{len(missing)} of {len(cells)} members not complete: {'; '.join(missing)}", "all of them",
            "Give 'medctx run' for the study: it trains what is missing, and what is damaged again.",
        )  # fmt: skip
    records = [record for record in found.values() if record is not None]
    _check_cases(where, records, over)
    return records, _metrics(where, records[0], role, store)


def _is_complete(record: TrialRecord | None) -> bool:
    return record is not None and record.status == "complete" and record.protocol is not None


def _what_is_missing(cell: Cell, over: str, store: Store) -> str:
    """Return a member that is not complete, by what tells it apart, and its state."""
    state = store.damage(cell.spec.id) or store.status(cell.spec.id)
    state = "of another version of the tool" if state == "complete" else state  # which this one cannot read
    return f"{over} {cell.factors[OVER[over]]}, trial {cell.spec.id} ({state})"


def _check_cases(where: str, records: Sequence[TrialRecord], over: str) -> None:
    """Raise UserError where a member has seen a case that the ensemble would predict."""
    for record in records:
        if record.spec.recipe.selection == "test_oracle":
            raise UserError(
                where, f"trial {record.id}, whose checkpoint was selected on the test cases",
                "members that no test case has selected", "Choose trials with another recipe.selection.",
            )  # fmt: skip
    protocols = [*_protocols(records)]
    tested = [set(protocol.test_cases) for protocol in protocols]
    if any(cases != tested[0] for cases in tested):
        common = len(set.intersection(*tested))
        raise UserError(
            where, f"members that test different cases ({common} tested by all): each has trained on, or was selected by, cases "
            "that another tests", "members that test the same cases",
            "Average over seeds" + (", or use folds beside a fixed test part (docs/data.md)." if over == "fold" else "."),
        )  # fmt: skip
    for record, protocol in zip(records, protocols, strict=True):
        seen = tested[0] & {*protocol.training_cases, *protocol.validation_cases}
        if seen:
            raise UserError(
                where, f"trial {record.id}, which has seen the test case {min(seen)}", "members that have seen none",
                "Correct the split, and train anew.",
            )  # fmt: skip
        if protocol.content_hash != protocols[0].content_hash:
            raise UserError(
                where, f"trial {record.id} of data with content {protocol.content_hash}",
                f"{protocols[0].content_hash}, that of trial {records[0].id}", "Train the study on one set of data.",
            )  # fmt: skip


def _protocols(records: Sequence[TrialRecord]) -> Iterator[Protocol]:
    for record in records:
        assert record.protocol is not None
        yield record.protocol


def _metrics(where: str, record: TrialRecord, role: str, store: Store) -> tuple[str, ...]:
    """Return the metrics by which a role of a trial was scored.

    Raises:
        UserError: the trial has no such role.
    """
    rows = pq.read_table(store.trials / record.id / "cases.parquet", columns=["role", "metric"]).to_pylist()
    roles = list(dict.fromkeys(row["role"] for row in rows))
    if role not in roles:
        raise UserError(
            where, f"no {role}: method {record.spec.method.name} has {', '.join(roles)}", "networks of that role",
            f"Give --role {roles[0]}.",
        )  # fmt: skip
    return tuple(dict.fromkeys(row["metric"] for row in rows if row["role"] == role))
