"""A plain table, its files, and its plain renderers: Markdown, CSV and the sidecar of trial ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from harness.record import safe_name, write_text


@dataclass(frozen=True)
class Cell:
    """A formatted entry.

    Attributes:
        text: what is printed.
        bold: the best of its column among comparable rows.
        underlined: the second best.
        tone: ``good`` or ``bad`` for a difference, by its sign and the metric's direction.
        value: what it sorts by, where that is a number.
        trials: ids of the trials that it rests on.
        anchor: what links on a page find it by.
    """

    text: str
    bold: bool = False
    underlined: bool = False
    tone: str = ""
    value: float | None = None
    trials: tuple[str, ...] = ()
    anchor: str = ""


@dataclass(frozen=True)
class Column:
    """``kind`` is ``text``, ``number`` (aligned right) or ``prose`` (wrapped); ``group`` heads adjacent columns."""

    heading: str
    kind: str = "text"
    group: str = ""

    @property
    def full_heading(self) -> str:
        """The heading with its group's, where there is one line only."""
        return f"{self.group}: {self.heading}" if self.group else self.heading


@dataclass(frozen=True)
class Table:
    """A plain table, ready to be rendered.

    Attributes:
        name: of its files.
        title: in a few words.
        caption: what is shown, with unit and metric convention.
        columns: one per cell of a row.
        rows: of cells.
        breaks: indices of rows above which a rule is drawn.
        footnotes: plain sentences.
        data: the raw numbers at full precision, tidy, for CSV.
        refused: whether it says why it shows no number.
        metric: whose scores it shows, so that a page can switch between them.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    breaks: frozenset[int]
    footnotes: tuple[str, ...]
    data: pd.DataFrame
    refused: bool = False
    metric: str = ""

    def groups(self) -> list[tuple[str, int]]:
        """Return the groups of adjacent columns with their widths; empty where no column has one."""
        runs = [(group, len(list(columns))) for group, columns in groupby(self.columns, lambda c: c.group)]
        return runs if any(group for group, _ in runs) else []


def write_table(table: Table, folder: Path, label: str) -> None:
    """Write ``<folder>/<name>.{md,csv,tex,html}`` and, of cells that rest on trials, ``<name>.trials.json``.

    ``label`` goes before the name in LaTeX's label.
    """
    from harness.report.html_table import to_html_page
    from harness.report.latex_table import to_latex

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


def to_markdown(table: Table) -> str:
    """Return a GitHub-flavoured Markdown table with caption and footnotes."""
    marks = {"text": ":--", "prose": ":--", "number": "--:"}
    lines = [
        "| " + " | ".join(_markdown(column.full_heading) for column in table.columns) + " |",
        "| " + " | ".join(marks[column.kind] for column in table.columns) + " |",
    ]
    for row in table.rows:
        lines.append("| " + " | ".join(_markdown_cell(cell) for cell in row) + " |")
    notes = "".join(f"- {_markdown(note)}\n" for note in table.footnotes)
    return f"**{_markdown(table.title)}.** {_markdown(table.caption)}\n\n" + "\n".join(lines) + f"\n\n{notes}"


def _markdown_cell(cell: Cell) -> str:
    text = _markdown(cell.text)
    return f"**{text}**" if cell.bold else f"<u>{text}</u>" if cell.underlined else text


def _markdown(text: str) -> str:
    for character in "\\|*_`<[":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
