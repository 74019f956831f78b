"""The files of a table, one for each format, and the sidecar of the trials that its cells rest on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.files.whole import write_text
from harness.records.schema import safe_name
from harness.reporting.formats.html import to_html_page
from harness.reporting.formats.latex import to_latex
from harness.reporting.formats.markdown import to_markdown
from harness.reporting.formats.table import Table


def write_table(table: Table, folder: Path, label: str) -> None:
    """Write ``<folder>/<name>.{md,csv,tex,html}`` and, of cells that rest on trials, ``<name>.trials.json``.

    ``label`` goes before the name in LaTeX's label.
    """

    folder.mkdir(parents=True, exist_ok=True)
    renderers: dict[str, Callable[[Table], str]] = {
        "md": to_markdown,
        "csv": to_csv,
        "tex": lambda table: to_latex(table, label),
        "html": to_html_page,
    }
    for suffix, render in renderers.items():
        write_text(folder / f"{safe_name(table.name)}.{suffix}", render(table))
    traced = cell_trials(table)
    if traced:
        text = json.dumps(traced, indent=1, ensure_ascii=False) + "\n"
        write_text(folder / f"{safe_name(table.name)}.trials.json", text)


def cell_trials(table: Table) -> list[dict[str, Any]]:
    """Return which trials the cells rest on: the words of a row, the ids, and the texts of their cells by column."""
    found = []
    for row in table.rows:
        named = list(zip(table.columns, row, strict=True))
        words = {column.full_heading: cell.text for column, cell in named if column.kind == "text"}
        for trials in dict.fromkeys(cell.trials for cell in row if cell.trials):
            cells = {column.full_heading: cell.text for column, cell in named if cell.trials == trials}
            found.append({"row": words, "cells": cells, "trials": list(trials)})
    return found


def to_csv(table: Table) -> str:
    """Return the raw numbers, tidy, at full precision."""
    return table.data.to_csv(index=False, lineterminator="\n")
