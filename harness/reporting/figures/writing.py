"""Figures to files."""

from __future__ import annotations

from collections.abc import Callable
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
