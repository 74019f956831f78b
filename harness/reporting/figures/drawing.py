"""Draws and saves the planned figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.records.schema import safe_name
from harness.reporting.figures.planned import FigureEntry, PlannedFigure
from harness.reporting.figures.style import SUFFIXES
from harness.reporting.figures.writing import WriteFigure, figure_writer


def draw_all(figures: Iterable[PlannedFigure], folder: Path) -> list[FigureEntry]:
    """Draw and save figures in ``folder``; files of figures that cannot be drawn, or are no longer planned, are removed.

    Raises:
        RuntimeError: of ``figure_writer``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    planned = list(figures)
    with figure_writer(folder, len(planned)) as write:
        entries = [_draw(figure, write) for figure in planned]
    drawn = {safe_name(entry.name) for entry in entries if not entry.reason}
    for path in folder.iterdir():
        if path.suffix[1:] in SUFFIXES and path.stem not in drawn:
            path.unlink()
    return entries


def _draw(planned: PlannedFigure, write: WriteFigure) -> FigureEntry:
    found = planned.draw()
    if isinstance(found, str):
        return FigureEntry(planned.name, planned.title, reason=found.rstrip("."), section=planned.section)
    figure, caption = found
    write(figure, planned.name)
    width = float(figure.get_figwidth())
    return FigureEntry(planned.name, planned.title, caption, width, section=planned.section)
