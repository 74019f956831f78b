"""Figures to files."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from harness.files.whole import whole
from harness.reporting.figures import style
from harness.reporting.figures.planned import Drawing, Style
from harness.reporting.helpers import Share


@contextmanager
def figures_written(
    drawings: Mapping[str, Drawing], folder: Path, size: Style, share: Share
) -> Iterator[None]:
    """Draw figures, and write each as ``<folder>/<name>.{pdf,svg,png}``; all are there when this context ends.

    Helpers draw from its beginning on, this process what is left at its end.

    Raises:
        RuntimeError: of ``share``.
    """
    finish = share(_write_and_forget, [(drawing, name, folder, size) for name, drawing in drawings.items()])
    yield
    try:
        finish()
    finally:
        gc.unfreeze()


def _write_and_forget(drawing: Drawing, name: str, folder: Path, size: Style) -> None:
    gc.freeze()  # a figure is full of cycles: looked for without what else is there, it is let go at once
    write_figure(drawing, name, folder, size)
    gc.collect()


def _drawn(drawing: Drawing, size: Style) -> Figure:
    """Return a figure; one that would be longer than a page in a column takes the page's width."""
    with style.fitting(size):
        figure = drawing.plot(*drawing.series)
    too_long = size == "column" and figure.get_figheight() > style.MOST_HEIGHT
    return _drawn(drawing, "page") if too_long else figure


@style.applied
def write_figure(drawing: Drawing, name: str, folder: Path, size: Style) -> None:
    """Draw a figure and write its three files, each whole or not at all, without dates."""
    figure = _drawn(drawing, size)
    figure.set_dpi(style.DPI)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")  # laid out once, not for every format
    for suffix, write in _PRINTERS.items():
        buffer = BytesIO()
        write(figure, buffer)
        with whole(folder / f"{name}.{suffix}") as partial:
            partial.write_bytes(buffer.getvalue())


# The canvases' own methods: figure.savefig would draw everything twice.
_PRINTERS: dict[str, Callable[[Figure, BytesIO], Any]] = {
    "png": lambda figure, file: FigureCanvasAgg(figure).print_png(file),
    "svg": lambda figure, file: FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None}),
    "pdf": lambda figure, file: FigureCanvasPdf(figure).print_pdf(file, metadata={"CreationDate": None}),
}
