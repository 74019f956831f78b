"""Records small enough to keep with the code: written by ``medctx publish``, taken over by ``run`` and ``report``.

::

    <results>/published/<study>/records/trials.jsonl.gz   a line per trial: its record and its history, thinned
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
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

from pydantic import ValidationError

from harness.errors import UserError
from harness.records.faults import is_final
from harness.records.schema import (
    CASE_COLUMNS,
    RESCORED,
    TrialRecord,
    append_history,
    read_history,
    safe_name,
    write_cases,
    write_record,
)
from harness.records.store import Store
from harness.search.findings import JOURNAL
from harness.spec import TrialSpec
from harness.study.cells import Cell
from harness.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED, RECORDS, TRIALS, CASES = "published", "records", "trials.jsonl.gz", "cases.parquet"
_MOST_LINES = 40  # of a history
_LOSSES = {"step", "losses", "learning_rate"}
_FIGURES = ("png", "pdf")
_BESIDE = (JOURNAL, RESCORED)
_SOURCES = "## Other tables and records"
_OF_PREDICTIONS = "qualitative"  # how the names of their figures begin
_Records = dict[str, tuple[TrialRecord, list[dict[str, Any]]]]  # id -> record and history


def publish(
    study: Study, cells: Iterable[Cell], store: Store, answer: str, captions: Mapping[str, tuple[str, str]]
) -> Path:
    """Write the records of a study, and what its report wrote, below ``published``; return that folder.

    What was published before and is not in the store (a pretraining that was taken over from there) stays, and so do
    pictures of predictions that are not here any more. The folder is replaced as a whole.

    Args:
        study: whose report has been written.
        cells: its trials with their pretrainings and the suggestions of its searches.
        store: where the records are.
        answer: of the report.
        captions: title and text of its figures by the name of the file, in order.

    Raises:
        UserError: no trial is complete, or what was published before cannot be read.
    """
    folder, written = store.results / PUBLISHED / study.name, store.results / study.name
    lines, cases = _gathered(study, cells, store, folder / RECORDS / TRIALS)
    partial = folder.with_name(f".{study.name}.{uuid4().hex}")
    try:
        _write_records(lines, cases, written, partial / RECORDS)
        for part, suffixes in {"tables": (), "figures": _FIGURES}.items():
            for path in sorted((written / part).glob("*")):
                if not suffixes or path.suffix[1:] in suffixes:
                    (partial / part).mkdir(exist_ok=True)
                    _copy(path, partial / part / path.name)
        page = _page(study, answer, captions, partial)
        (partial / "README.md").write_text(
            page + _pictures_kept(folder, partial) + _sources(study, lines, partial)
        )
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def _gathered(
    study: Study, cells: Iterable[Cell], store: Store, before: Path
) -> tuple[list[str], list[tuple[str, Path]]]:
    """Return a line for each record, and the files of per-case rows with their ids; ``before`` is what was published."""
    lines, cases, complete = [], [], 0
    earlier = {record.id: line for line, record, _ in _read(before)} if before.is_file() else {}
    for cell in cells:
        record = store.record(cell.spec.id)
        if record is None:
            lines += [earlier[cell.spec.id]] if cell.spec.id in earlier else []
            continue
        trial = store.trials / record.id
        history = thinned(list(read_history(trial)))
        lines.append(json.dumps({"record": _nameless(record).model_dump(mode="json"), "history": history}))
        complete += record.status == "complete"
        if (trial / CASES).is_file():
            cases.append((record.id, trial / CASES))
    if not complete:
        raise UserError(
            f"study {study.name}", "no complete trial", "at least one", f"Give 'medctx run {study.name}' first."
        )  # fmt: skip
    return lines, cases


def _write_records(
    lines: Sequence[str], cases: Sequence[tuple[str, Path]], written: Path, folder: Path
) -> None:
    """Write records, their per-case rows, and what lies beside them in a study's output ``written``."""
    folder.mkdir(parents=True)
    # without a time, so that the same records are the same bytes
    (folder / TRIALS).write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    _write_cases(cases, folder / CASES)
    for name in _BESIDE:
        if (written / name).is_file():
            shutil.copyfile(written / name, folder / name)


def _write_cases(files: Sequence[tuple[str, Path]], target: Path) -> None:
    """Write the rows of several trials into one file, with the ``id`` of each; none where there are none."""
    import pandas as pd

    if not files:
        return
    rows = pd.concat([pd.read_parquet(path).assign(id=id) for id, path in files], ignore_index=True)
    words = [name for name in rows.columns if name != "value"]
    rows.astype(dict.fromkeys(words, "category")).to_parquet(target, index=False, compression="zstd")


def _page(study: Study, answer: str, captions: Mapping[str, tuple[str, str]], folder: Path) -> str:
    """Return the Markdown page of a published study: scores and figures in the order of its report."""
    scores = [folder / "tables" / f"{safe_name(metric)}.md" for metric in study.report.metrics]
    parts = [f"# {study.name}", study.question, f"**{answer}**", *(f"    {line}" for line in study.commands)]
    parts += [path.read_text().strip() for path in scores if path.is_file()]
    for name, (title, text) in captions.items():
        if (folder / "figures" / f"{name}.png").is_file():
            parts.append(f"![{title}](figures/{quote(name)}.png)\n\n**{title}.** {text}")
    return "\n\n".join(parts) + "\n"


def _sources(study: Study, lines: Iterable[str], folder: Path) -> str:
    """Return the end of the page: links to the tables that are not on it and to the records, and the code of the trials."""
    shown = {safe_name(metric) for metric in study.report.metrics}
    tables = [path.stem for path in sorted((folder / "tables").glob("*.md")) if path.stem not in shown]
    links = [f"[{name}](tables/{quote(name)}.md)" for name in tables] + [f"[records]({RECORDS})"]
    environments = [json.loads(line)["record"]["environment"] or {} for line in lines]
    commits = Counter(one.get("commit") or "unknown" for one in environments)
    told = ", ".join(f"{commit} ({number})" for commit, number in commits.items())
    return f"\n{_SOURCES}\n\n{', '.join(links)}. Commits that the trials ran at: {told}.\n"


def _copy(path: Path, target: Path) -> None:
    """Copy a file; a PNG with a palette of 256 colours, a third of its size."""
    if path.suffix != ".png":
        shutil.copyfile(path, target)
        return
    from PIL import Image

    with Image.open(path) as picture:
        # other methods join the colours of thin lines
        few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(target, optimize=True)


def _pictures_kept(before: Path, partial: Path) -> str:
    """Take over pictures of predictions that were published before and could not be drawn again; return their part of the page."""
    parts = []
    for path in sorted((before / "figures").glob(f"{_OF_PREDICTIONS}*")):
        target = partial / "figures" / path.name
        if target.exists():
            continue
        target.parent.mkdir(exist_ok=True)
        _copy(path, target)
        if path.suffix == ".png":
            place = f"](figures/{quote(path.name)})"
            head, _, caption = (before / "README.md").read_text().partition(place)
            title = head.rpartition("![")[2]
            caption = caption.partition("![")[0].partition(f"\n{_SOURCES}")[0]
            parts.append(f"\n![{title}{place}{caption.rstrip()}\n")
    return "".join(parts)


def _nameless(record: TrialRecord) -> TrialRecord:
    """Return a record without the name of the host: what it is stays, whose it is does not."""
    if record.environment is None:
        return record
    return record.model_copy(update={"environment": record.environment.model_copy(update={"host": ""})})


def thinned(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return about 40 evenly spaced lines of losses, the last one, and all lines that say something else too."""
    plain = [i for i, line in enumerate(history) if line.keys() <= _LOSSES]
    if len(plain) <= _MOST_LINES + 1:  # it was thinned before
        return history
    left_out = {*plain} - {*plain[:: max(1, -(-len(plain) // _MOST_LINES))], *plain[-1:]}
    return [line for i, line in enumerate(history) if i not in left_out]


def adopt_findings(study: Study, store: Store) -> None:
    """Take over what a published search remembers, and scores by other conventions, where there is nothing of it yet."""
    for name in _BESIDE:
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
    cells: Iterable[Cell], store: Store, content_here: Callable[[TrialSpec], str]
) -> dict[str, str]:
    """Return the missing trials that were published and made from other data than is here, and the hash of theirs.

    None of a dataset of which all missing trials are published: nothing is trained then that would stand beside them,
    and its data are not needed to write their report.

    Args:
        cells: the trials of a study.
        store: where they are missing.
        content_here: returns the content hash of the data of a trial, as they are here.

    Raises:
        UserError: as ``adopt``, and what ``content_here`` raises.
    """
    missing = _missing(cells, store)
    offered = {id: record for _, found in _offered(cells, store) for id, (record, _) in found.items()}
    trained = {spec.dataset: spec for id, spec in missing.items() if id not in offered}
    published = {record.spec.dataset for record in offered.values()}
    contents = {dataset: content_here(spec) for dataset, spec in trained.items() if dataset in published}
    return {
        id: record.protocol.content_hash
        for id, record in offered.items()
        if record.protocol and record.spec.dataset in contents
        and record.protocol.content_hash != contents[record.spec.dataset]
    }  # fmt: skip


def _offered(cells: Iterable[Cell], store: Store) -> Iterator[tuple[Path, _Records]]:
    """Yield the folders of published records that missing trials can be taken from, each trial once."""
    wanted = {*_missing(cells, store)}
    for records in _published(store.results):
        if not wanted:
            return
        found = {
            record.id: (record, history)
            for _, record, history in _read(records / TRIALS)
            if record.id in wanted and is_final(record)
        }
        if found:
            yield records, found
            wanted -= found.keys()


def _missing(cells: Iterable[Cell], store: Store) -> dict[str, TrialSpec]:
    """Return the trials that the store lacks and that could be published, by id."""
    specs = (cell.spec for cell in cells if cell.spec.kind == "train")
    return {spec.id: spec for spec in specs if store.record(spec.id) is None}


def _published(results: Path) -> list[Path]:
    """Return the folders of published records, without what a run of ``publish`` is writing or left when it was killed."""
    found = (results / PUBLISHED).glob(f"*/{RECORDS}")
    return sorted(path for path in found if not path.parent.name.startswith("."))


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
    for records in _published(results):
        if not left:
            break
        found |= _read_cases(records / CASES, left)
        left -= found.keys()
    return found


def _read_cases(path: Path, wanted: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Return the published rows of those of the ``wanted`` trials that a file has; none where there is no file."""
    import pandas as pd

    if not path.is_file():
        return {}
    try:
        rows = pd.read_parquet(path, filters=[("id", "in", list(wanted))])
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(path, str(error).splitlines()[0]) from error
    return {str(id): own for id, own in rows.groupby("id", observed=True)}


def _read(path: Path) -> Iterator[tuple[str, TrialRecord, list[dict[str, Any]]]]:
    """Yield each line of published records, and the record and the history that it holds."""
    try:
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            entry = json.loads(line)
            record = TrialRecord.model_validate(entry["record"])
            if record.spec.id != record.id:
                raise ValueError(f"trial {record.id} whose settings are those of {record.spec.id}")
            yield line, record, entry["history"]
    except (OSError, EOFError, KeyError, TypeError, ValueError, ValidationError, zlib.error) as error:
        raise _unreadable(path, str(error).splitlines()[0]) from error


def _unreadable(path: Path, found: str) -> UserError:
    return UserError(
        path, found, "the records of a published study", "Restore the file, or remove its folder."
    )


def _put(found: _Records, cases: Path, store: Store) -> int:
    """Write records into the store, each whole or not at all, and return how many were not there yet."""
    by_id = _read_cases(cases, found)
    put = 0
    for id, (record, history) in found.items():
        if record.status == "complete" and record.spec.tested and id not in by_id:
            raise _unreadable(cases, f"no scores of the complete trial {id}")
        partial = store.trials / f".{id}.{uuid4().hex}"
        partial.mkdir(parents=True)
        if id in by_id:
            write_cases(partial, by_id[id][list(CASE_COLUMNS)].astype(object).to_dict("records"))
        append_history(partial, history)
        write_record(partial, record)
        try:
            partial.rename(store.trials / id)
            put += 1
        except OSError:  # another run was faster
            shutil.rmtree(partial)
    return put
