"""Which of the planned figures are drawn: those that show something else than the files that lie there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from PIL import Image

from harness.files.whole import write_text
from harness.records.schema import safe_name
from harness.reporting.figures.fingerprint import fingerprint
from harness.reporting.figures.planned import Drawing, FigureEntry, PlannedFigure, Style
from harness.reporting.figures.style import DPI, SUFFIXES
from harness.reporting.helpers import Share, alone

_DRAWN = "drawn.json"  # what each figure in a folder was drawn from


@contextmanager
def all_drawn(
    figures: Iterable[PlannedFigure], folder: Path, style: Style = "page", share: Share = alone
) -> Iterator[list[FigureEntry]]:
    """Draw and save figures in ``folder``; files of figures that cannot be drawn, or are no longer planned, are removed.

    Helpers draw while this context lasts. When it ends, the list that it yields has an entry for each figure.

    Raises:
        RuntimeError: of ``figures_written``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    share(_import_canvases, [()])  # by a helper that is there, while this process finds what to draw
    found = [(figure, figure.find()) for figure in figures]
    drawings = {safe_name(figure.name): one for figure, one in found if isinstance(one, Drawing)}
    for path in folder.iterdir():
        if path.suffix[1:] in SUFFIXES and path.stem not in drawings:
            path.unlink()
    prints = {name: fingerprint(drawing, style) for name, drawing in drawings.items()}
    known = _drawn(folder)
    kept = {name: one for name, one in prints.items() if known.get(name) == [one, _sizes(folder, name)]}
    _note(folder, kept)  # first, so that a figure that was half written is not taken for a whole one
    entries: list[FigureEntry] = []
    with _written({name: one for name, one in drawings.items() if name not in kept}, folder, style, share):
        yield entries
    _note(folder, prints)
    entries += [_entry(figure, one, folder) for figure, one in found]


def _written(
    drawings: Mapping[str, Drawing], folder: Path, style: Style, share: Share
) -> AbstractContextManager[None]:
    if not drawings:
        return nullcontext()
    from harness.reporting.figures.writing import figures_written  # it takes long to import

    return figures_written(drawings, folder, style, share)


def _import_canvases() -> None:
    import harness.reporting.figures.writing  # noqa: F401


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


def _entry(planned: PlannedFigure, found: Drawing | str, folder: Path) -> FigureEntry:
    if isinstance(found, str):
        return FigureEntry(planned.name, planned.title, reason=found.rstrip("."), section=planned.section)
    with Image.open(folder / f"{safe_name(planned.name)}.png") as picture:
        width = picture.width / DPI
    return FigureEntry(planned.name, planned.title, found.caption, width, section=planned.section)
