"""A study's records, tables and figures below ``published``, small enough for git, with a page that shows them."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from harness.errors import UserError
from harness.publishing.records import BESIDE, CASES, PUBLISHED, RECORDS, TRIALS, contents_folders, read_lines
from harness.records.contents import CONTENTS, keep_contents, read_contents
from harness.records.schema import TrialRecord, read_history, safe_name
from harness.records.store import Store
from harness.study.cells import Cell
from harness.study.study import Study

_MOST_LINES = 40  # of a history
_LOSSES = {"step", "losses", "learning_rate"}
_FIGURES = ("png", "pdf")
_SOURCES = "## Other tables and records"
_OF_IMAGES = "qualitative"  # how the names of figures begin that show parts of images


def publish(
    study: Study,
    cells: Iterable[Cell],
    store: Store,
    answer: str,
    captions: Mapping[str, tuple[str, str]],
    counted: Collection[str] | None = None,
) -> Path:
    """Write the records of a study, and what its report wrote, below ``published``; return that folder.

    What was published before and is not in the store (a pretraining that was taken over from there) stays. Pictures of
    predictions stay in the report: they show parts of images, which are seldom anyone's to hand on. The folder is replaced
    as a whole.

    Args:
        study: whose report has been written.
        cells: its trials with their pretrainings and the suggestions of its searches.
        store: where the records are.
        answer: of the report.
        captions: title and text of its figures by the name of the file, in order.
        counted: the ids of the trials that the report counts; by default all.

    Raises:
        UserError: no trial is complete, or what was published before cannot be read.
    """
    folder, written = store.results / PUBLISHED / study.name, store.results / study.name
    lines, cases = _gathered(study, cells, counted, store, folder / RECORDS / TRIALS)
    contents = _contents(lines, store.results)
    partial = folder.with_name(f".{study.name}.{uuid4().hex}")
    try:
        _write_records(lines, cases, written, partial / RECORDS)
        for one in contents:
            keep_contents(partial / RECORDS / CONTENTS, one)
        for part, suffixes in {"tables": (), "figures": _FIGURES}.items():
            for path in sorted((written / part).glob("*")):
                if path.name.startswith(_OF_IMAGES):
                    continue
                if not suffixes or path.suffix[1:] in suffixes:
                    (partial / part).mkdir(exist_ok=True)
                    _copy(path, partial / part / path.name)
        page = _page(study, answer, captions, partial) + _sources(study, lines, partial)
        (partial / "README.md").write_text(page)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def _gathered(
    study: Study, cells: Iterable[Cell], counted: Collection[str] | None, store: Store, before: Path
) -> tuple[list[str], list[tuple[str, Path]]]:
    """Return a line for each record, and the files of per-case rows with their ids; ``before`` is what was published."""
    lines, cases, complete = [], [], 0
    earlier = {record.id: line for line, record, _ in read_lines(before)} if before.is_file() else {}
    for cell in cells:
        record = store.record(cell.spec.id) if counted is None or cell.spec.id in counted else None
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


def _contents(lines: Iterable[str], results: Path) -> list[dict[str, str]]:
    """Return the hash of each case's files, of all data that records were made from, as far as that is known."""
    protocols = (json.loads(line)["record"]["protocol"] for line in lines)
    hashes = sorted({protocol["content_hash"] for protocol in protocols if protocol})
    folders = contents_folders(results)
    return [found for content_hash in hashes if (found := read_contents(folders, content_hash))]


def _write_records(
    lines: Sequence[str], cases: Sequence[tuple[str, Path]], written: Path, folder: Path
) -> None:
    """Write records, their per-case rows, and what lies beside them in a study's output ``written``."""
    folder.mkdir(parents=True)
    # without a time, so that the same records are the same bytes
    (folder / TRIALS).write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    _write_cases(cases, folder / CASES)
    for name in BESIDE:
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
