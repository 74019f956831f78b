"""A plain table: formatted cells, headed columns, and the raw numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pandas as pd

from harness.study.names import Names


@dataclass(frozen=True)
class Cell:
    """A formatted entry.

    Attributes:
        text: what is printed.
        bold: whether it is the best of its column among comparable rows.
        underlined: whether it is the second best.
        tone: ``good`` or ``bad`` for a difference, by its sign and the metric's direction.
        value: the number that the page sorts by.
        trials: ids of the trials that it rests on.
        anchor: its id on a page, for links.
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
    """``kind`` is ``text``, ``number`` (aligned right) or ``prose`` (wrapped); ``group`` heads adjacent columns.

    ``part`` is what a study calls it that chooses columns. In print, a ``minor`` column is left out, and rows with one value of
    a column that ``splits`` the table stand together.
    """

    heading: str
    kind: str = "text"
    group: str = ""
    part: str = ""
    minor: bool = False
    splits: bool = False

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
        data: the raw numbers at full precision, tidy, for CSV.
        breaks: indices of rows above which a rule is drawn.
        footnotes: plain sentences.
        protocol: sentences on what the numbers rest on, for a table that stands alone; a page has them once for all.
        refused: whether it shows a reason in place of numbers.
        metric: whose scores it shows; a page switches between metrics.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    data: pd.DataFrame
    breaks: frozenset[int] = frozenset()
    footnotes: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    refused: bool = False
    metric: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """All sentences below a table that stands alone."""
        return (*self.footnotes, *self.protocol)

    def with_parts(self, parts: Sequence[str]) -> Table:
        """Return the table without the columns of parts that are not named; as it is where none is."""
        kept = [place for place, column in enumerate(self.columns) if not column.part or column.part in parts]
        if not parts:
            return self
        rows = tuple(tuple(row[place] for place in kept) for row in self.rows)
        return replace(self, columns=tuple(self.columns[place] for place in kept), rows=rows)

    def groups(self) -> list[tuple[str, int]]:
        """Return the groups of adjacent columns with their widths; empty where no column has one."""
        runs = [(group, len(list(columns))) for group, columns in groupby(self.columns, lambda c: c.group)]
        return runs if any(group for group, _ in runs) else []


def factor_columns(names: Names, keys: Iterable[str]) -> list[Column]:
    """Return a column of text for each factor."""
    return [Column(names.factor(key)) for key in keys]


def factor_cells(names: Names, values: Mapping[str, Any]) -> list[Cell]:
    """Return a cell for the value of each factor."""
    return [Cell(names.value(key, value)) for key, value in values.items()]


def breaks_between(groups: Sequence[Any]) -> frozenset[int]:
    """Return the rows that are of another group than the row above."""
    return frozenset(i for i in range(1, len(groups)) if groups[i] != groups[i - 1])
