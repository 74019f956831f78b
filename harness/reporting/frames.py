"""Records of a study as tidy frames. The only code of the report that reads trials from disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from harness.errors import UserError
from harness.files.whole import whole
from harness.records.damage import damage_around, is_history_whole
from harness.records.ensembles import has_changed, read_ensembles, read_members
from harness.records.schema import (
    CASE_COLUMNS,
    RESCORED,
    Cost,
    Protocol,
    TrialRecord,
    read_history,
)
from harness.records.store import Store
from harness.reporting.helpers import Share, alone, cut
from harness.reporting.wording import UNSET, factor_value, is_number
from harness.spec import as_tuples, canonical_json
from harness.study.members import OVER, groups_of_members
from harness.study.study import Study

COST_COLUMNS = tuple(name for name in Cost.model_fields if name != "steps")  # the protocol has the steps
PROTOCOL_COLUMNS = tuple(name for name in Protocol.model_fields if name != "dataset")  # a factor has it
_OUTCOME = ("status", "cause", "message", "traceback", "selected_step")
_ENVIRONMENT = ("commit", "device", "versions")
HISTORY_COLUMNS = ("step", "kind", "name", "value")
_AT_ONCE = 250  # trials that are read in one go; of small tables, ten thousand take ten times the memory of their numbers


def row_dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as mappings."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def trial_folder(results: Path, trial_id: str) -> Path:
    """Return where a trial's records lie."""
    return results / "trials" / trial_id


def _parts(ids: Sequence[str], results: Path) -> list[tuple[list[str], Path]]:
    """Return the arguments of functions that read some trials each."""
    return [(some, results) for some in cut(ids, _AT_ONCE)]


def trial_frame(
    study: Study, results: Path, share: Share = alone, counted: Collection[str] | None = None
) -> pd.DataFrame:
    """Return one row per cell of the study, in its order; with ``counted`` the others are pending, whatever is on disk.

    Columns: ``id``; the study's factors (:data:`UNSET` where a cell does not set one); ``status``: complete,
    failed, running, pending (no record yet) or damaged (a record that cannot be read); ``cause``, ``message``,
    ``traceback``, ``selected_step``; :data:`COST_COLUMNS` (seconds, bytes, counts); :data:`PROTOCOL_COLUMNS` (lists as
    tuples, mappings as canonical JSON); ``declared_steps``, of a trial and of a pretraining within them; ``commit``,
    ``device``, ``versions`` (a mapping).
    """
    columns = [
        "id",
        *study.factors,
        *_OUTCOME,
        *COST_COLUMNS,
        *PROTOCOL_COLUMNS,
        "declared_steps",
        *_ENVIRONMENT,
    ]
    ids = [cell.spec.id for cell in study.cells if counted is None or cell.spec.id in counted]
    outcomes = dict(zip(ids, chain.from_iterable(share(_outcomes, _parts(ids, results))()), strict=True))
    rows = [
        {"id": cell.spec.id, **{key: factor_value(cell.factors.get(key)) for key in study.factors},
         **outcomes.get(cell.spec.id, {"status": "pending"}), "declared_steps": cell.steps}
        for cell in study.cells
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    # plain strings: the report walks through these columns many times, and Arrow's make each anew
    return frame.astype(dict.fromkeys(frame.select_dtypes("string"), object))


def case_frame(trials: pd.DataFrame, results: Path, share: Share = alone) -> pd.DataFrame:
    """Return the per-case rows of complete trials: ``id`` and :data:`CASE_COLUMNS`, all but ``value`` categorical.

    ``trial_frame`` has the factors and the protocol of each ``id``.
    """
    ids = _complete(trials)
    if not ids:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in ("id", *CASE_COLUMNS)})
    try:
        parts, lengths = zip(*share(_read_cases, _parts(ids, results))(), strict=True)
        frame = pa.concat_tables(parts).unify_dictionaries().to_pandas()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise UserError(
            results / "trials", f"scores that cannot be read ({str(error).splitlines()[0]})", "cases.parquet as a trial wrote it",
            "Remove the folder of that trial; 'medctx run' trains it again.",
        ) from error  # fmt: skip
    frame.insert(0, "id", pd.Categorical.from_codes(np.repeat(np.arange(len(ids)), [*chain(*lengths)]), ids))
    del parts
    pa.default_memory_pool().release_unused()
    return frame


def _read_cases(ids: Sequence[str], results: Path) -> tuple[pa.Table, list[int]]:
    """Return the rows of some trials, and their numbers; pyarrow's data set of many small files takes twice as long to read."""
    words = [name for name in CASE_COLUMNS if name != "value"]
    paths = [trial_folder(results, id) / "cases.parquet" for id in ids]
    tables = [pq.ParquetFile(path, read_dictionary=words).read(use_threads=False) for path in paths]
    joined = pa.concat_tables([table.select(CASE_COLUMNS) for table in tables])
    return joined.unify_dictionaries().combine_chunks(), [*map(len, tables)]


def history_frame(
    trials: pd.DataFrame, results: Path, torn: Collection[str] = (), share: Share = alone
) -> pd.DataFrame:
    """Return training curves of complete trials but the ``torn`` ones: ``id``, ``step``, ``kind``, ``name``, ``value``.

    ``kind`` is ``loss`` (``name``: a term, or ``total``), or ``dice`` of validation (``name``: a region, or
    ``mean``).
    """
    ids = [id for id in _complete(trials) if id not in torn]
    points = chain.from_iterable(share(_points, _parts(ids, results))())
    frame = pd.DataFrame(points, columns=["id", *HISTORY_COLUMNS])
    return frame.astype({"id": "category", "kind": "category", "name": "category"})


def damaged_histories(trials: pd.DataFrame, results: Path) -> list[str]:
    """Return the ids of complete trials whose ``history.jsonl`` is not as it was written."""
    return [id for id in _complete(trials) if not is_history_whole(trial_folder(results, id))]


def rescored_frame(study: Study, results: Path) -> pd.DataFrame | UserError | None:
    """Return the scores by other conventions, of ``rescore``, or None where nobody asked for them.

    Of a damaged file the error is returned: one table less, and no report that fails.
    """
    path = results / study.name / RESCORED
    try:
        return pd.read_parquet(path).drop(columns="source", errors="ignore") if path.is_file() else None
    except (OSError, ValueError, pa.ArrowException) as error:
        return UserError(
            path, f"scores that cannot be read ({str(error).splitlines()[0]})", "the file as 'medctx rescore' wrote it",
            "Remove it, and give 'medctx rescore' again.",
        )  # fmt: skip


def ensemble_frame(study: Study, trials: pd.DataFrame, results: Path) -> pd.DataFrame | UserError | None:
    """Return the scores of a study's ensembles, of ``ensemble``, or None where it has none.

    Args:
        study: its trials say which ensembles are its own; those of other trials are left out.
        trials: of ``trial_frame``.
        results: the results folder.

    Returns:
        ``id``, ``over``, ``members`` (ids of trials, a tuple), the columns of a trial's cases, and ``state``: ``whole``,
        ``unfinished`` (cases are missing), or ``changed``: a member's record is another one now. Of a damaged file the error.
    """
    try:
        frame = read_ensembles(results / study.name)
    except UserError as error:
        return error
    if frame is None:
        return None
    store, tested = Store(results, writable=False), dict(zip(trials["id"], trials["test_cases"], strict=True))
    planned = {
        (over, frozenset(cell.spec.id for cell in cells))
        for over in OVER
        for cells in groups_of_members(study, over)
    }
    parts = []
    for (_, over, text), rows in frame.groupby(["id", "over", "members"], sort=False):
        members = read_members(str(text))
        ids = tuple(one.id for one in members)
        if (over, frozenset(ids)) not in planned:
            continue
        state = "changed"
        if not has_changed(store, members):  # then all of them are complete
            state = "whole" if {*rows["case"]} == {*tested[ids[0]]} else "unfinished"
        parts.append(rows.assign(members=[ids] * len(rows), state=state))
    return pd.concat(parts, ignore_index=True) if parts else None


def with_numbers(trials: pd.DataFrame) -> pd.DataFrame:
    """Return ``trials`` with missing values in place of :data:`UNSET`, and columns of numbers as numeric ones."""
    columns = {}
    for name in trials.select_dtypes(object).columns:
        known = [None if isinstance(value, str) and value == UNSET else value for value in trials[name]]
        numbers = all(value is None or is_number(value) for value in known)
        column = pd.Series(known, trials.index, None if numbers else object)
        columns[name] = pd.to_numeric(column) if numbers else column
    return trials.assign(**columns)


def write_frames(trials: pd.DataFrame, cases: pd.DataFrame, folder: Path) -> None:
    """Write ``<folder>/trials.parquet`` and ``cases.parquet``, joined by ``id``, for analyses of one's own.

    What parquet has no column for, such as a factor of words and numbers, is written as JSON.
    """
    plain = with_numbers(trials)
    for name in plain.select_dtypes(object).columns:
        plain[name] = [value if value is None or isinstance(value, str) else canonical_json(value)
                       for value in plain[name].astype(object).where(plain[name].notna(), None)]  # fmt: skip
    for name, frame in {"trials": plain, "cases": cases}.items():
        with whole(folder / f"{name}.parquet") as partial:
            frame.to_parquet(partial, index=False)


def _complete(trials: pd.DataFrame) -> list[str]:
    return list(trials.loc[trials["status"] == "complete", "id"])


def _outcomes(ids: Sequence[str], results: Path) -> list[dict[str, Any]]:
    store = Store(results, writable=False)
    return [_outcome(store, id) for id in ids]


def _outcome(store: Store, trial_id: str) -> dict[str, Any]:
    folder = trial_folder(store.results, trial_id)
    try:
        text = (folder / "trial.json").read_bytes()  # once: there may be thousands
        if damage := damage_around(folder, text):
            return {"status": "damaged", "cause": "damaged record", "message": damage}
        return _record_columns(TrialRecord.model_validate_json(text))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return {"status": store.status(trial_id)}
    except (ValidationError, OSError) as error:
        return {"status": "damaged", "cause": "damaged record", "message": str(error).splitlines()[0]}


def _record_columns(record: TrialRecord) -> dict[str, Any]:
    columns: dict[str, Any] = {"status": record.status, "selected_step": record.selected_step}
    if record.cause:
        cause = record.cause
        columns |= {"cause": cause.kind, "message": cause.message, "traceback": cause.traceback}
    if record.cost:
        columns |= {name: getattr(record.cost, name) for name in COST_COLUMNS}
    if record.protocol:
        columns |= {name: _plain(getattr(record.protocol, name)) for name in PROTOCOL_COLUMNS}
    if record.environment:
        columns |= {name: getattr(record.environment, name) for name in _ENVIRONMENT}
    return columns


def _plain(value: Any) -> Any:
    return canonical_json(value) if isinstance(value, dict) else as_tuples(value)


def _points(ids: Sequence[str], results: Path) -> list[tuple[str, int, str, str, float]]:
    return [(id, *point) for id in ids for point in _points_of(trial_folder(results, id))]


def _points_of(folder: Path) -> Iterator[tuple[int, str, str, float]]:
    for line in read_history(folder):
        for name, value in line.get("losses", {}).items():
            yield line["step"], "loss", name, float(value)
        for name, value in line.get("validation", {}).items():
            yield line["step"], "dice", name, float(value)
        if "mean" in line:
            yield line["step"], "dice", "mean", float(line["mean"])
