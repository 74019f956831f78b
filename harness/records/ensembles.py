"""The scores of ensembles, and what they were made from: the documented file, and the only code that writes or reads it.

``<results>/<study>/ensembles.parquet`` has one row per ensemble, case, region and metric, columns :data:`COLUMNS`:

- ``id``: hash of ``over``, the role and the members' ids;
- ``over``: ``seed`` or ``fold``, in which the members differ;
- ``members``: JSON, for each its trial's ``id``, ``weights`` (SHA-256 of its ``checkpoint.pt``) and ``scores`` (hash of what
  its record says of the test cases);
- ``environment``: JSON, versions, commit and device that the ensemble was predicted with;
- the columns of a trial's ``cases.parquet``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.files.whole import whole
from harness.records.schema import CASE_COLUMNS
from harness.records.store import CHECKPOINT, Store
from harness.spec import Frozen, canonical_json, digest

if TYPE_CHECKING:
    import pandas as pd

ENSEMBLES = "ensembles.parquet"
"""File of a study with the scores of its ensembles."""
COLUMNS = ("id", "over", "members", "environment", *CASE_COLUMNS)


class Member(Frozen):
    """One network of an ensemble: its trial, and what its weights and its trial's scores were."""

    id: str
    weights: str
    scores: str


def ensemble_id(over: str, role: str, members: Sequence[str]) -> str:
    """Return the id of the ensemble of some trials' networks, in any order."""
    return digest([over, role, sorted(members)])


def members_text(members: Sequence[Member]) -> str:
    """Return what stands in the column ``members``."""
    return canonical_json([one.model_dump() for one in members])


def read_members(text: str) -> tuple[Member, ...]:
    """Return what the column ``members`` says."""
    return tuple(Member.model_validate(one) for one in json.loads(text))


def member_of(store: Store, id: str) -> Member:
    """Return a trial as it is now; ``weights`` is empty where they were not kept.

    Raises:
        OSError: a file of it cannot be read.
    """
    path = store.trials / id / CHECKPOINT
    weights = ""
    if path.is_file():
        with path.open("rb") as file:
            weights = hashlib.file_digest(file, "sha256").hexdigest()
    return Member(id=id, weights=weights, scores=scores_hash(store, id))


def scores_hash(store: Store, id: str) -> str:
    """Return a hash of what a complete trial's record says of its test cases; empty where it has no such record.

    A record that was published and taken over has the same.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    record = store.record(id)
    if record is None or record.status != "complete":
        return ""
    try:
        rows = pq.read_table(store.trials / id / "cases.parquet", columns=list(CASE_COLUMNS)).to_pylist()
    except (OSError, pa.ArrowException):
        return ""
    return digest(sorted([_text(row[name]) for name in CASE_COLUMNS] for row in rows))


def _text(value: Any) -> str:
    return "nan" if value is None else str(value)  # what has no value is either, by who has written the file


def has_changed(store: Store, members: Sequence[Member], weights: bool = False) -> bool:
    """Return whether any trial is not what it was; ``weights`` compares them too, where they are here."""
    if not weights:
        return any(scores_hash(store, one.id) != one.scores for one in members)
    return any(
        now.scores != one.scores or now.weights not in ("", one.weights)
        for one in members
        for now in [member_of(store, one.id)]
    )


def read_ensembles(folder: Path) -> pd.DataFrame | None:
    """Return the scores of a study's ensembles, or None where there are none; ``folder`` is that of the study's output.

    Raises:
        UserError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / ENSEMBLES
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path, columns=list(COLUMNS), page_checksum_verification=True)
        for text in table["members"].unique().to_pylist():
            read_members(text)
        return table.to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(
            path, f"scores of ensembles that cannot be read ({str(error).splitlines()[0]})", "the file as it was written",
            "Remove it, and give 'medctx ensemble' again.",
        ) from error  # fmt: skip


def write_ensembles(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``ensembles.parquet``, whole or not at all, from rows with the keys :data:`COLUMNS`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {name: pa.float64() if name == "value" else pa.string() for name in COLUMNS}
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(list(types.items())))
    with whole(folder / ENSEMBLES) as partial:
        pq.write_table(table, partial, write_page_checksum=True)
