"""A plain table: formatted cells, headed columns, and the raw numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import pandas as pd


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
