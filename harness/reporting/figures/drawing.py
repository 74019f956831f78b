"""Which of the planned figures are drawn: those that show something else than the files that lie there."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.files.whole import write_text
from harness.records.schema import safe_name
from harness.reporting.figures.fingerprint import fingerprint
from harness.reporting.figures.planned import Drawing, FigureEntry, PlannedFigure, Style
from harness.reporting.figures.style import SUFFIXES
from harness.reporting.helpers import Share, alone

_DRAWN = "drawn.json"  # what each figure in a folder was drawn from


Draw = Callable[[Iterable[PlannedFigure]], list[FigureEntry]]
"""From planned figures to what the page says of each."""


@contextmanager
def drawing_in(folder: Path, style: Style = "page", share: Share = alone) -> Iterator[Draw]:
    """Yield what has figures drawn and saved in ``folder``, by helpers from when it is asked on.

    When this context ends, all are drawn, and the files of other figures are removed.

    Raises:
        RuntimeError: of ``share``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known, prints = _drawn(folder), dict[str, str]()
    (folder / _DRAWN).unlink(missing_ok=True)  # what is half written shall not pass for whole
    unfinished: dict[str, Callable[[], list[None]]] = {}

    def begin(figure: PlannedFigure, found: Drawing | str) -> FigureEntry:
        if isinstance(found, str):
            return FigureEntry(figure.name, figure.title, reason=found.rstrip("."), section=figure.section)
        name = safe_name(figure.name)
        prints[name] = fingerprint(found, style)
        if known.get(name) != [prints[name], _sizes(folder, name)]:
            unfinished[name] = share(_write, [(found, name, folder, style)])
        return FigureEntry(figure.name, figure.title, found.caption, section=figure.section)

    try:
        yield lambda figures: [begin(figure, figure.find()) for figure in figures]
        for name in reversed([*unfinished]):  # helpers begin with the first
            unfinished[name]()
            del unfinished[name]
    finally:
        _note(folder, {name: one for name, one in prints.items() if name not in unfinished})
    for path in folder.iterdir():
        if path.suffix[1:] in SUFFIXES and path.stem not in prints:
            path.unlink()


def _write(drawing: Drawing, name: str, folder: Path, style: Style) -> None:
    from harness.reporting.figures.writing import write_figure  # it takes long to import

    gc.freeze()  # a figure is full of cycles: looked for without what else is there, it is let go at once
    try:
        write_figure(drawing, name, folder, style)
        gc.collect()
    finally:
        gc.unfreeze()


def _drawn(folder: Path) -> dict[str, Any]:
    try:
        noted = json.loads((folder / _DRAWN).read_text())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _note(folder: Path, prints: dict[str, str]) -> None:
    """Write down what the figures that lie in a folder were drawn from, and how large their files are."""
    if not prints:
        (folder / _DRAWN).unlink(missing_ok=True)
        return
    noted = {name: [one, _sizes(folder, name)] for name, one in prints.items()}
    write_text(folder / _DRAWN, json.dumps(noted, indent=1) + "\n")


def _sizes(folder: Path, name: str) -> list[int]:
    """Return the bytes of a figure's files; a file that is cut or gone is not the one that was written."""
    paths = [folder / f"{name}.{suffix}" for suffix in SUFFIXES]
    return [path.stat().st_size if path.is_file() else -1 for path in paths]
