"""Records small enough to keep with the code: written by ``medctx publish``, taken over by ``run`` and ``report``.

::

    <results>/published/<study>/records/trials.jsonl.gz   a line per trial: its record and its history, thinned
    <results>/published/<study>/records/cases.parquet     the per-case rows of all of them, with their ids
    <results>/published/<study>/records/optuna.journal    what its searches remember, where it searches
    <results>/published/<study>/records/conventions.parquet  scores by other conventions, after ``medctx rescore``
    <results>/published/<study>/records/ensembles.parquet    scores of ensembles, after ``medctx ensemble``
    <results>/published/<study>/records/contents          the hash of each case's files, of the data that they were made from
    <results>/published/<study>/tables, figures           as the report wrote them
    <results>/published/<study>/README.md                 question, answer, command, tables of scores and figures on a page

A pretraining is published and not taken over: it has no weights, so it is computed again where a new trial starts
from it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.errors import UserError
from harness.records.contents import CONTENTS
from harness.records.ensembles import ENSEMBLES
from harness.records.schema import RESCORED, TrialRecord
from harness.search.findings import JOURNAL

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED, RECORDS, TRIALS, CASES = "published", "records", "trials.jsonl.gz", "cases.parquet"
BESIDE = (JOURNAL, RESCORED, ENSEMBLES)
"""Files of a study's output that lie beside its published records."""


def case_rows(results: Path, wanted: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Return the per-case rows of those of the ``wanted`` trials that a results folder has, its own or published."""
    import pandas as pd

    left = {*wanted}
    found = {
        id: pd.read_parquet(path)
        for id in sorted(left)
        if (path := results / "trials" / id / CASES).is_file()
    }
    left -= found.keys()
    for records in published_folders(results):
        if not left:
            break
        found |= read_cases(records / CASES, left)
        left -= found.keys()
    return found


def read_cases(path: Path, wanted: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Return the published rows of those of the ``wanted`` trials that a file has; none where there is no file."""
    import pandas as pd

    if not path.is_file():
        return {}
    try:
        rows = pd.read_parquet(path, filters=[("id", "in", list(wanted))])
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(path, str(error).splitlines()[0]) from error
    return {str(id): own for id, own in rows.groupby("id", observed=True)}


def read_lines(path: Path) -> Iterator[tuple[str, TrialRecord, list[dict[str, Any]]]]:
    """Yield each line of published records, and the record and the history that it holds."""
    try:
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            entry = json.loads(line)
            record = TrialRecord.model_validate(entry["record"])
            if record.spec.id != record.id:
                raise ValueError(f"trial {record.id} whose settings are those of {record.spec.id}")
            yield line, record, entry["history"]
    except (OSError, EOFError, KeyError, TypeError, ValueError, ValidationError, zlib.error) as error:
        raise unreadable(path, str(error).splitlines()[0]) from error


def unreadable(path: Path, found: str) -> UserError:
    """Return the error for published records that are not what they should be."""
    return UserError(
        path, found, "the records of a published study", "Restore the file, or remove its folder."
    )


def published_folders(results: Path) -> list[Path]:
    """Return the folders of published records, without what a run of ``publish`` is writing or left when it was killed."""
    found = (results / PUBLISHED).glob(f"*/{RECORDS}")
    return sorted(path for path in found if not path.parent.name.startswith("."))


def contents_folders(results: Path) -> list[Path]:
    """Return the folders that say what content hashes stand for, a results folder's own first."""
    return [results / CONTENTS, *(records / CONTENTS for records in published_folders(results))]
