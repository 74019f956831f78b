"""Records small enough to keep with the code: written by ``medctx publish``, taken as complete by ``medctx run``.

::

    <results>/published/<study>/records/trials.jsonl.gz   a line per complete trial: its record and its history, thinned
    <results>/published/<study>/records/cases.parquet     the per-case rows of all of them, with their ids
    <results>/published/<study>/records/optuna.journal    what its searches remember, where it searches
    <results>/published/<study>/records/conventions.parquet  scores by other conventions, after ``medctx rescore``
    <results>/published/<study>/tables, figures           as the report wrote them
    <results>/published/<study>/README.md                 question, answer, command, tables of scores and figures on a page

A pretraining is published and not taken over: it has no weights, so it is computed again where a new trial starts
from it.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import ValidationError

from harness.errors import UserError
from harness.record import (
    CASE_COLUMNS,
    RESCORED,
    TrialRecord,
    append_history,
    read_history,
    write_cases,
    write_record,
)
from harness.search import JOURNAL
from harness.store import Store
from harness.study import Cell, Study

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED, RECORDS, TRIALS, CASES = "published", "records", "trials.jsonl.gz", "cases.parquet"
_MOST_LINES = 40  # of a history
_LOSSES = {"step", "losses", "learning_rate"}
_FIGURES = ("png", "pdf")
_BESIDE = (JOURNAL, RESCORED)


def publish(study: Study, cells: Iterable[Cell], store: Store, answer: str) -> Path:
    """Write the complete trials of a study, and what its report wrote, below ``published``; return that folder.

    Args:
        study: whose report has been written.
        cells: its trials with their pretrainings and the suggestions of its searches.
        store: where the records are.
        answer: of the report.

    Raises:
        UserError: no trial is complete.
    """
    import pandas as pd

    folder, written = store.results / PUBLISHED / study.name, store.results / study.name
    lines, frames = [], []
    for cell in cells:
        record = store.record(cell.spec.id)
        if record is None or record.status not in ("complete", "pruned"):
            continue
        trial = store.trials / record.id
        history = thinned(list(read_history(trial)))
        lines.append(json.dumps({"record": record.model_dump(mode="json"), "history": history}))
        if (trial / CASES).is_file():
            frames.append(pd.read_parquet(trial / CASES).assign(id=record.id))
    if not lines:
        raise UserError(
            f"study {study.name}", "no complete trial", "at least one", f"Give 'medctx run {study.name}' first."
        )  # fmt: skip
    records = folder / RECORDS
    records.mkdir(parents=True, exist_ok=True)
    # without a time, so that the same records are the same bytes
    (records / TRIALS).write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    if frames:
        cases = pd.concat(frames, ignore_index=True)
        words = [name for name in cases.columns if name != "value"]
        cases.astype(dict.fromkeys(words, "category")).to_parquet(
            records / CASES, index=False, compression="zstd"
        )
    for name in _BESIDE:
        if (written / name).is_file():
            shutil.copyfile(written / name, records / name)
    for part, suffixes in {"tables": (), "figures": _FIGURES}.items():
        shutil.rmtree(folder / part, ignore_errors=True)
        for path in sorted((written / part).glob("*")):
            if not suffixes or path.suffix[1:] in suffixes:
                (folder / part).mkdir(exist_ok=True)
                shutil.copyfile(path, folder / part / path.name)
    (folder / "README.md").write_text(_page(study, answer, folder))
    return folder


def _page(study: Study, answer: str, folder: Path) -> str:
    """Return the Markdown page of a published study: scores in the order of its report, then all figures."""
    scores = [folder / "tables" / f"{metric}.md" for metric in study.report.metrics]
    parts = [f"# {study.name}", study.question, f"**{answer}**", *(f"    {line}" for line in study.commands)]
    parts += [path.read_text().strip() for path in scores if path.is_file()]
    figures = sorted((folder / "figures").glob("*.png"))
    parts += [f"![{path.stem.replace('_', ' ')}](figures/{quote(path.name)})" for path in figures]
    return "\n\n".join(parts) + "\n"


def thinned(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return about 40 evenly spaced lines of losses, the last one, and all lines that say something else too."""
    plain = [i for i, line in enumerate(history) if line.keys() <= _LOSSES]
    left_out = {*plain} - {*plain[:: max(1, -(-len(plain) // _MOST_LINES))], *plain[-1:]}
    return [line for i, line in enumerate(history) if i not in left_out]


def adopt_findings(study: Study, store: Store) -> None:
    """Take over what a published search remembers, and scores by other conventions, where there is nothing of it yet."""
    for name in _BESIDE:
        published = store.results / PUBLISHED / study.name / RECORDS / name
        own = store.results / study.name / name
        if published.is_file() and not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(published, own)


def adopt(cells: Iterable[Cell], store: Store) -> int:
    """Take over what has been published of missing trials, by whichever study; return how many.

    Raises:
        UserError: a published record that cannot be read, or is not what its id says.
    """
    wanted = {
        cell.spec.id for cell in cells if cell.spec.kind == "train" and store.record(cell.spec.id) is None
    }
    taken = 0
    for records in sorted((store.results / PUBLISHED).glob(f"*/{RECORDS}")) if wanted else ():
        found = {
            record.id: (record, history) for record, history in _read(records / TRIALS) if record.id in wanted
        }
        if found:
            _put(found, records / CASES, store)
            wanted -= found.keys()
            taken += len(found)
    return taken


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
    for path in sorted((results / PUBLISHED).glob(f"*/{RECORDS}/{CASES}")):
        rows = pd.read_parquet(path, filters=[("id", "in", list(left))])
        found |= {str(id): own for id, own in rows.groupby("id", observed=True)}
        left -= found.keys()
    return found


def _read(path: Path) -> Iterator[tuple[TrialRecord, list[dict[str, Any]]]]:
    try:
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            entry = json.loads(line)
            record = TrialRecord.model_validate(entry["record"])
            if record.spec.id != record.id:
                raise ValueError(f"trial {record.id} whose settings are those of {record.spec.id}")
            yield record, entry["history"]
    except (OSError, EOFError, KeyError, ValueError, ValidationError) as error:
        raise UserError(
            path, str(error).splitlines()[0], "the records of a published study", "Restore the file, or remove its folder."
        ) from error  # fmt: skip


def _put(found: dict[str, tuple[TrialRecord, list[dict[str, Any]]]], cases: Path, store: Store) -> None:
    """Write records into the store, each whole or not at all."""
    import pandas as pd

    rows = (
        pd.read_parquet(cases, filters=[("id", "in", list(found))])
        if cases.is_file()
        else pd.DataFrame({"id": []})
    )
    by_id = {str(id): own for id, own in rows.groupby("id", observed=True)}
    for id, (record, history) in found.items():
        partial = store.trials / f".{id}.adopted"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        if id in by_id:
            write_cases(partial, by_id[id][list(CASE_COLUMNS)].astype(object).to_dict("records"))
        append_history(partial, history)
        write_record(partial, record)
        try:
            partial.rename(store.trials / id)
        except OSError:  # another run was faster
            shutil.rmtree(partial)
